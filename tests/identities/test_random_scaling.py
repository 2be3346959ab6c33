"""The momentum form of randomly scaled SGDM, and its output."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator

from tests.streams import stream


@pytest.mark.identity("randomly-scaled-sgdm")
@pytest.mark.parametrize("mu", [0.0, 0.7])
def test_momentum_form(mu: float) -> None:
    """Equals its momentum form M = b M + (1 - b) g, x -= e s M, b = beta / (1 + lr mu), e = beta lr /
    (1 + lr mu - beta), to 1e-12.

    M_n = b M + (1 - b) g, x -= e s M with b = beta / (1 + lr mu), e = beta lr / (1 + lr mu - beta).
    """
    beta, lr = 0.8, 0.05
    x, gradients = stream(0, "random", steps=60, shapes={"w": (4,)})
    o = refopt.optimizer("randomly-scaled-sgdm", lr=lr, beta=beta, mu=mu, seed=9)
    s, y, m = o.init(x), x["w"], np.zeros(4)
    b, e = beta / (1 + lr * mu), beta * lr / (1 + lr * mu - beta)
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        m = b * m + (1 - b) * g["w"]
        y = y - e * generator(9, "method", t).exponential() * m
        np.testing.assert_allclose(x["w"], y, rtol=1e-12, atol=1e-13)


@pytest.mark.identity("randomly-scaled-sgdm")
@pytest.mark.parametrize("beta", [0.8, 1.0])
def test_average(beta: float) -> None:
    """The averaged point is (1 - beta)/(1 - beta^n) sum beta^(n-t) x_t, to 1e-12."""
    x, gradients = stream(0, "random", steps=30, shapes={"w": (4,)})
    o, visited = refopt.optimizer("randomly-scaled-sgdm", lr=0.05, beta=beta, seed=1), []
    s = o.init(x)
    for g in gradients:
        visited.append(x["w"])
        x, s = o.update(x, g, s)
        n = len(visited)
        weights = beta ** np.arange(n)[::-1]
        np.testing.assert_allclose(s["average"]["w"], weights @ np.array(visited) / weights.sum(), rtol=1e-12)


def test_the_run_s_seed_is_used() -> None:
    p = refopt.problem("quadratic", n=4)
    a, b, c = (refopt.minimize(p, "randomly-scaled-sgdm", steps=5, seed=s).x for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert np.any(a != c)
