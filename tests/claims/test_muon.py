"""Muon's equivariance."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.claim("muon")
def test_orthogonal_equivariance() -> None:
    """f(P g Q) = P f(g) Q for orthogonal P and Q over 20 steps, to 1e-12.

    Started at zero, f(P g Q) = P f(g) Q for orthogonal P, Q over 20 steps.
    """
    rng = np.random.default_rng(0)
    p, q = np.linalg.qr(rng.standard_normal((4, 4)))[0], np.linalg.qr(rng.standard_normal((6, 6)))[0]
    o = refopt.optimizer("muon", weight_decay=0.1)
    x = y = np.zeros((4, 6))
    sx, sy = o.init(x), o.init(y)
    for _ in range(20):
        g = rng.standard_normal((4, 6))
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, p @ g @ q, sy)
    # Five quintics amplify rounding up to 485 times.
    np.testing.assert_allclose(y, p @ x @ q, atol=1e-12)


def test_scale_of_the_gradient_does_not_matter() -> None:
    """With eps = 0 the trajectory is that of any multiple of the gradients (a power of two: to the bit)."""
    rng = np.random.default_rng(0)
    o = refopt.optimizer("muon", eps=0.0)
    x = y = rng.standard_normal((3, 5))
    sx, sy = o.init(x), o.init(y)
    for _ in range(10):
        g = rng.standard_normal((3, 5))
        x, sx = o.update(x, g, sx)
        y, sy = o.update(y, 1024.0 * g, sy)
    np.testing.assert_array_equal(x, y)
