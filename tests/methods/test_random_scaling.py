"""The identity behind random scaling.

The momentum form of randomly scaled SGDM, and its output.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator

from tests.streams import stream


@pytest.mark.claim("randomly-scaled-sgdm")
def test_exponential_scaling_identity() -> None:
    """E[F(x + s D) - F(x)] = E<grad F(x + s D), D> for s ~ Exp(1): the drawn s obey it to 5 standard
    errors.

    F(z) = |z - 0.3| + z^4: E[F(x + sD) - F(x)] = E[F'(x + sD) D] for Exp(1), and not for s = 1.
    """
    x, d, n = -0.5, 0.9, 40_000

    def f(z: np.ndarray) -> np.ndarray:
        return np.abs(z - 0.3) + z**4

    def slope(z: np.ndarray) -> np.ndarray:
        return np.sign(z - 0.3) + 4 * z**3

    o = refopt.optimizer("randomly-scaled-sgdm", seed=5)
    s = np.array([o.scalars(t, {})["s"] for t in range(1, n + 1)])
    difference = f(x + s * d) - f(x) - slope(x + s * d) * d
    assert abs(difference.mean()) <= 5 * difference.std() / np.sqrt(n)
    assert abs(float(f(x + d) - f(x) - slope(np.array(x + d)) * d)) > 0.2
    # Exp(1): mean 1 and variance 1, within 5 standard errors (fourth central moment 9).
    assert abs(s.mean() - 1) <= 5 / np.sqrt(n)
    assert abs(s.var() - 1) <= 5 * np.sqrt(8 / n)


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
