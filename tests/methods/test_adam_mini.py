"""When fewer rates lose nothing.

Adam-mini at its ends: blocks of one entry, one block.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentError, ShapeError

from tests.alike import assert_same_run
from tests.streams import schedule, stream


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


@pytest.mark.identity("adam-mini")
def test_single_entries_are_adamw() -> None:
    """Blocks of one entry: AdamW, to 1e-13.

    blocks="entry": AdamW.
    """
    common = {"lr": 0.05, "beta1": 0.8, "beta2": 0.7, "eps": 1e-3, "weight_decay": 0.1, "schedule": schedule}
    a = refopt.optimizer("adam-mini", blocks="entry", **common)
    b = refopt.optimizer("adamw", dialect="torch", **common)
    assert_same_run(a, b, stream(0, "ill", steps=40), rtol=1e-13, atol=1e-13)


def test_blocks_by_hand() -> None:
    """Two blocks of two entries, one float at a time."""
    lr, b1, b2, eps = 0.05, 0.8, 0.7, 1e-3
    x, gradients = stream(1, "ill", steps=40, shapes={"w": (4,)})
    o = refopt.optimizer("adam-mini", lr=lr, beta1=b1, beta2=b2, eps=eps, blocks=2)
    s, theta, m, v = o.init(x), [float(e) for e in x["w"]], [0.0] * 4, [0.0] * 2
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        now = [float(e) for e in g["w"]]
        for b in range(2):
            v[b] = b2 * v[b] + (1 - b2) * (now[2 * b] ** 2 + now[2 * b + 1] ** 2) / 2
        for i in range(4):
            m[i] = b1 * m[i] + (1 - b1) * now[i]
            theta[i] -= lr * (m[i] / (1 - b1**t)) / (math.sqrt(v[i // 2] / (1 - b2**t)) + eps)
        np.testing.assert_allclose(x["w"], theta, rtol=1e-13, atol=1e-14)


def test_bad_blocks() -> None:
    """An unknown word and a number that does not divide."""
    with pytest.raises(ArgumentError, match="blocks"):
        refopt.optimizer("adam-mini", blocks="column").init(np.zeros(4))
    with pytest.raises(ShapeError, match="divisor of 4"):
        refopt.optimizer("adam-mini", blocks=3).init(np.zeros(4))
