"""XGrad's linear iteration on a quadratic."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.claims.test_adahessian import Quadratic


@pytest.mark.parametrize("steps", [0.5, 1.0, 3.0])
def test_rate_on_a_quadratic(steps: float) -> None:
    """(x, v) is multiplied by [[1 - a, -(mu - s a)], [a, mu - s a]] with a = lr h."""
    lr, mu, h = 0.2, 0.9, 0.7
    a = lr * h
    matrix = np.array([[1 - a, -(mu - steps * a)], [a, mu - steps * a]])
    o = refopt.optimizer("xgrad", base="momentum", lr=lr, momentum=mu, steps=steps)
    x, oracle = np.array([1.0]), Oracle(Quadratic(np.array([[h]])))
    s, z, sizes = o.init(x), np.array([1.0, 0.0]), []
    for t in range(1, 201):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        z = matrix @ z
        np.testing.assert_allclose(x[0], z[0], rtol=1e-9, atol=1e-13)
        sizes.append(np.hypot(x[0], s["base"]["v"][0]))
    radius = np.max(np.abs(np.linalg.eigvals(matrix)))
    assert (sizes[199] / sizes[99]) ** 0.01 == pytest.approx(radius, rel=0.02)
