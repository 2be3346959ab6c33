"""When fewer rates lose nothing."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.claim("adam-mini")
@pytest.mark.parametrize("blocks", ["row", "tensor", 2])
def test_constant_size_inside_blocks(blocks: object) -> None:
    """Gradients of constant size inside each block: AdamW whatever the partition, to 1e-13.

    |g| constant inside every block at every step: AdamW exactly; not so for other gradients.
    """
    rng = np.random.default_rng(0)
    common = {"lr": 0.05, "weight_decay": 0.1}
    a = refopt.optimizer("adam-mini", blocks=blocks, **common)
    b = refopt.optimizer("adamw", dialect="torch", **common)
    x = y = rng.standard_normal((4, 3))
    sa, sb = a.init(x), b.init(y)
    for _ in range(30):
        size = np.ones((4, 1))
        if blocks == "row":
            size = rng.uniform(0.1, 10, (4, 1))
        elif blocks == 2:
            size = np.repeat(rng.uniform(0.1, 10, 2), 2)[:, None]
        g = size * rng.choice([-1.0, 1.0], (4, 3))
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-13)
    g = rng.standard_normal((4, 3))
    assert np.max(np.abs(a.update(x, g, sa)[0] - b.update(y, g, sb)[0])) > 1e-8
