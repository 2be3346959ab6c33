"""SAM's 2-cycle around a minimum."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.claims.test_adahessian import Quadratic


@pytest.mark.claim("sam")
def test_two_cycle() -> None:
    """On H = h I with gradient descent it ends in a 2-cycle of amplitude lr h rho / (2 - lr h), to
    1e-12.

    H = h I, gradient descent: x jumps between +-c with |c| = lr h rho / (2 - lr h).
    """
    h, lr, rho = 3.0, 0.2, 0.1
    o = refopt.optimizer("sam", lr=lr, rho=rho)
    x = np.array([0.6, 0.8])
    s, oracle = o.init(x), Oracle(Quadratic(h * np.eye(2)))
    for t in range(1, 200):
        oracle.begin(t)
        before = x
        x, s = o.step(x, s, oracle)
    amplitude = lr * h * rho / (2 - lr * h)
    np.testing.assert_allclose(np.linalg.norm(x), amplitude, rtol=1e-12)
    np.testing.assert_allclose(x, -before, rtol=1e-12)
