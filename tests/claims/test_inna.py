"""Where INNA and INNAprop become known methods, and where they stand still."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import stream


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
    x, gradients = stream(0, "ill", steps=50)
    a = refopt.optimizer("innaprop", lr=0.1, alpha=1.0, beta=1.0, sigma=0.7, eps=1e-3, weight_decay=0.1)
    b = refopt.optimizer("adamw", dialect="torch", lr=0.1, beta1=0.0, beta2=0.7, eps=1e-3, weight_decay=0.1)
    y, sa, sb = x, a.init(x), b.init(x)
    for g in gradients:
        x, sa = a.update(x, g, sa)
        y, sb = b.update(y, g, sb)
        for k in x:
            np.testing.assert_allclose(x[k], y[k], rtol=1e-13, atol=1e-13)


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
