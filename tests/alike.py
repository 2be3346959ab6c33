"""Two methods on the same gradients, one on a problem: the loops that identities and invariances share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from refopt.core.oracle import Oracle

Leaves = dict[str, np.ndarray]
# Arguments of the problem mlp: 20 examples of 5 features and 3 classes, 4 hidden units.
SMALL_MLP: dict[str, Any] = {
    "widths": (4,),
    "data": (np.random.default_rng(4).standard_normal((20, 5)), np.arange(20) % 3),
}


def steps_on(problem: Any, o: Any, steps: int, x: Any = None) -> list[tuple[Any, Any]]:
    """Return point and state after every step from `x`, by default the problem's start with seed 1."""
    x, oracle = problem.start(1) if x is None else x, Oracle(problem, 0)
    s, points = o.init(x), []
    for t in range(1, steps + 1):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        points.append((x, s))
    return points


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
