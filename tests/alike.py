"""Two methods on the same gradients: the loop that identities and invariances share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Leaves = dict[str, np.ndarray]


def assert_same_run(
    a: Any,
    b: Any,
    run: tuple[Leaves, list[Leaves]],
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    change: Callable[[Leaves], Leaves] | None = None,
) -> None:
    """Two methods are at the same point after every step: to the bit, or as close as is said.

    Parameters
    ----------
    a, b : Method
    run : tuple
        The start and the gradients, as `tests.streams.stream` gives them.
    rtol, atol : float
        Entry by entry; both 0: the same bits.
    change : callable, optional
        What is done to a gradient before `b` gets it.
    """
    x, gradients = run
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g if change is None else change(g), sb)
        for k in x:
            assert np.all(np.isfinite(x[k])), k
            np.testing.assert_allclose(x[k], y[k], rtol=rtol, atol=atol, err_msg=k)
