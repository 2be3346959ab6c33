"""Why the scaling is exponential."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from scipy.integrate import quad

from tests.claims.test_adahessian import Quadratic


def test_exponential_scaling_is_unbiased() -> None:
    """E[F(x + s d) - F(x)] = E[F'(x + s d) d] holds for Exp(1), not for a uniform s of mean 1; s is Exp(1)."""

    def F(z: float) -> float:
        return abs(z - 0.3) + z**4

    def slope(z: float) -> float:
        return float(np.sign(z - 0.3)) + 4 * z**3

    x, d = -0.5, 0.9
    kink = (0.3 - x) / d

    def mean(f: object, density: object, top: float) -> float:
        return sum(
            quad(lambda s: f(x + s * d) * density(s), a, b, limit=200)[0] for a, b in ((0, kink), (kink, top))
        )

    for density, top, exact in ((lambda s: np.exp(-s), 60.0, True), (lambda s: 0.5, 2.0, False)):
        gain = mean(lambda z: F(z) - F(x), density, top)
        linear = mean(lambda z: slope(z) * d, density, top)
        assert (gain == pytest.approx(linear, rel=1e-9)) is exact

    # The step over its own direction is s: mean 1, and P(s > 1) = 1/e, within 5 sigma of 4000 draws.
    o = refopt.optimizer("randomly-scaled-sgdm", lr=1.0, beta=1.0)
    oracle, y = Oracle(Quadratic(np.eye(1)), 5), np.ones(1)
    draws = []
    for t in range(1, 4001):
        oracle.begin(t)
        new, s = o.step(y, o.init(y), oracle)
        draws.append(float((new - y)[0] / s["delta"][0]))
    assert abs(np.mean(draws) - 1.0) < 5 / 4000**0.5
    assert abs(np.mean(np.array(draws) > 1.0) - np.exp(-1)) < 5 * 0.4823 / 4000**0.5
