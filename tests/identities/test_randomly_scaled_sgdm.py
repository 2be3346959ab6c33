"""The two forms of randomly scaled momentum, and its average."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator

from tests.claims.test_adahessian import Quadratic

H = np.diag([0.5, 2.0, 4.0])


@pytest.mark.parametrize("random", [True, False])
def test_momentum_form(random: bool) -> None:
    """M <- b M + (1 - b) g, x <- x - e s M, b = beta / (1 + eta mu), e = beta eta / (1 + eta mu - beta)."""
    eta, beta, mu, seed = 0.05, 0.8, 0.7, 4
    o = refopt.optimizer("randomly-scaled-sgdm", lr=eta, beta=beta, mu=mu, random=random)
    oracle, x = Oracle(Quadratic(H), seed), np.array([1.0, -2.0, 0.5])
    s, y, M = o.init(x), x, np.zeros(3)
    b, e = beta / (1 + eta * mu), beta * eta / (1 + eta * mu - beta)
    for t in range(1, 41):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        M = b * M + (1 - b) * (H @ y)
        scale = generator(seed, "method", t).exponential() if random else 1.0
        y = y - e * scale * M
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("beta", [0.8, 1.0])
def test_reported_average(beta: float) -> None:
    """(1 - beta) / (1 - beta^n) sum beta^{n-t} x_t over the points where gradients were taken."""
    o = refopt.optimizer("randomly-scaled-sgdm", lr=0.01, beta=beta)
    oracle, x = Oracle(Quadratic(H), 0), np.array([1.0, -2.0, 0.5])
    s, seen = o.init(x), []
    for t in range(1, 21):
        oracle.begin(t)
        seen.append(x)
        x, s = o.step(x, s, oracle)
    weights = beta ** np.arange(19.0, -1.0, -1.0)
    np.testing.assert_allclose(s["average"], weights @ np.stack(seen) / weights.sum(), rtol=1e-13)
