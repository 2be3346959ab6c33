"""Where INNA and INNAprop become known methods, and where they stand still.

INNA and INNAprop against literal transcriptions and each other.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import schedule, stream


@pytest.mark.claim("inna")
def test_critical_damping_is_gradient_descent() -> None:
    """alpha beta = 1: psi stays 0, and it is gradient descent with rate lr beta, to 1e-13.

    alpha beta = 1: psi stays zero and the step is -lr beta g.
    """
    x, gradients = stream(0, "random", steps=50)
    a = refopt.optimizer("inna", lr=0.1, alpha=4.0, beta=0.25, power=0.0)
    b = refopt.optimizer("sgd", lr=0.025)
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        for k in x:
            np.testing.assert_array_equal(sa["psi"][k], 0.0)
            np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-13)


@pytest.mark.claim("innaprop")
def test_innaprop_at_one_is_adamw() -> None:
    """alpha = beta = 1: AdamW with beta1 = 0, to 1e-13.

    alpha = beta = 1: AdamW without momentum, decay times the rate.
    """
    a = refopt.optimizer("innaprop", lr=0.1, alpha=1.0, beta=1.0, sigma=0.7, eps=1e-3, weight_decay=0.1)
    b = refopt.optimizer("adamw", dialect="torch", lr=0.1, beta1=0.0, beta2=0.7, eps=1e-3, weight_decay=0.1)
    assert_same_run(a, b, stream(0, "ill", steps=50), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_limit_on_a_quadratic(alpha: float) -> None:
    """It stops where the gradient is zero and psi = (1 - alpha beta) theta."""
    h, beta = np.array([0.5, 4.0]), 0.3
    o = refopt.optimizer("inna", lr=0.05, alpha=alpha, beta=beta, power=0.0)
    x = np.array([1.0, -2.0])
    s = o.init(x)
    for _ in range(8000):
        x, s = o.update(x, h * (x - 1.0), s)
    np.testing.assert_allclose(x, 1.0, atol=1e-10)
    np.testing.assert_allclose(s["psi"], 1 - alpha * beta, atol=1e-10)


SHAPES = {"w": (4,)}


@pytest.mark.identity("inna")
def test_equal_beta_and_rate_is_heavy_ball() -> None:
    """beta = rate: heavy ball with momentum 1 - alpha rate and rate rate^2, to 1e-12.

    beta = gamma: momentum 1 - alpha gamma, rate gamma^2, as heavy ball with its rate outside.
    """
    alpha, gamma = 1.5, 0.2
    a = refopt.optimizer("inna", lr=gamma, alpha=alpha, beta=gamma, power=0.0)
    b = refopt.optimizer("momentum", lr=gamma**2, momentum=1.0 - alpha * gamma)
    assert_same_run(a, b, stream(0, "random", steps=60), rtol=1e-12, atol=1e-12)


@pytest.mark.identity("inna")
def test_velocity_form() -> None:
    """Psi eliminated: equals the velocity form, to 1e-12.

    w <- (1 - a c) w + c^2 (1 - a b) / (1 - a c) g, theta <- theta - w - c (b - c) / (1 - a c) g.
    """
    a, b, c = 0.7, 0.3, 0.1
    x, gradients = stream(1, "ill", steps=60, shapes=SHAPES)
    o = refopt.optimizer("inna", lr=c, alpha=a, beta=b, power=0.0)
    s, theta, w = o.init(x), x["w"], np.zeros(4)
    for g in gradients:
        x, s = o.update(x, g, s)
        w = (1 - a * c) * w + c**2 * (1 - a * b) / (1 - a * c) * g["w"]
        theta = theta - w - c * (b - c) / (1 - a * c) * g["w"]
        scale = np.max(np.abs(theta))
        np.testing.assert_allclose(x["w"], theta, rtol=1e-12, atol=1e-12 * scale)


def test_rate_and_first_velocity() -> None:
    """gamma_k = lr (k + 1)^-q, and with a first velocity c the first step is -gamma c g."""
    x, g = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    plain = refopt.optimizer("inna", lr=0.1, alpha=0.5, beta=0.3)
    started = refopt.optimizer("inna", lr=0.1, alpha=0.5, beta=0.3, first_velocity=2.0)
    np.testing.assert_allclose(x - plain.update(x, g, plain.init(x))[0], 0.1 * 0.3 * g, rtol=1e-13)
    np.testing.assert_allclose(x - started.update(x, g, started.init(x))[0], 0.1 * 2.0 * g, rtol=1e-13)
    assert math.isclose(plain.rate(9), 0.1 / 3)


@pytest.mark.identity("innaprop")
def test_innaprop_algorithm_1() -> None:
    """Equals the paper's listing, in which theta's line uses the new psi, transcribed with Python
    floats, to 1e-12.
    """
    lr, a, b, sigma, eps, lam = 0.05, 0.7, 0.3, 0.6, 1e-3, 0.1
    x, gradients = stream(3, "ill", steps=60, shapes=SHAPES)
    o = refopt.optimizer(
        "innaprop", lr=lr, alpha=a, beta=b, sigma=sigma, eps=eps, weight_decay=lam, schedule=schedule
    )
    s, theta = o.init(x), [float(e) for e in x["w"]]
    psi, v = [(1 - a * b) * e for e in theta], [0.0] * 4
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        c = lr * schedule(t)
        for i in range(4):
            gi = float(g["w"][i])
            theta[i] *= 1 - c * lam
            v[i] = sigma * v[i] + (1 - sigma) * gi**2
            d = math.sqrt(v[i]) / math.sqrt(1 - sigma**t) + eps
            psi[i] = (1 - c / b) * psi[i] + c * (1 / b - a) * theta[i]
            theta[i] = (1 + c * (1 - a * b) / (b - c)) * theta[i] - c / (b - c) * psi[i] - c * b * gi / d
        np.testing.assert_allclose(x["w"], theta, rtol=1e-12, atol=1e-12)


@pytest.mark.identity("innaprop")
def test_innaprop_is_inna_on_scaled_gradients() -> None:
    """Is INNA fed with the scaled gradient, to 1e-13.

    g / d handed to INNA gives INNAprop, with decay first in both.
    """
    common = {"lr": 0.05, "alpha": 0.7, "beta": 0.3, "weight_decay": 0.1, "schedule": schedule}
    sigma, eps = 0.6, 1e-3
    a = refopt.optimizer("innaprop", sigma=sigma, eps=eps, **common)
    b = refopt.optimizer("inna", power=0.0, decay_first=True, **common)
    x, gradients = stream(2, "ill", steps=60)
    y, sa, sb = x, a.init(x), b.init(x)
    v = {k: np.zeros_like(leaf) for k, leaf in x.items()}
    for t, g in enumerate(gradients, 1):
        x, sa = a.update(x, g, sa)
        v = {k: sigma * v[k] + (1 - sigma) * g[k] ** 2 for k in v}
        y, sb = b.update(y, {k: g[k] / (np.sqrt(v[k] / (1 - sigma**t)) + eps) for k in v}, sb)
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-13)
