"""Propositions of the decoupled weight decay paper."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.streams import schedule


@pytest.mark.claim("adamw")
def test_decay_without_gradient() -> None:
    """The paper's decay shrinks x by prod(1 - eta_t lambda) whatever the rate, torch's by prod(1 -
    lr_t lambda).

    g = 0: x shrinks by prod(1 - eta_t lambda) (paper) or prod(1 - lr_t lambda) (torch).
    """
    for dialect, unit in (("paper", 1.0), ("torch", 0.05)):
        o = refopt.optimizer("adamw", dialect=dialect, lr=0.05, weight_decay=0.1, schedule=schedule)
        x = np.array([3.0, -1.0])
        s, want = o.init(x), x
        for t in range(1, 40):
            x, s = o.update(x, np.zeros(2), s)
            want = want * (1 - unit * schedule(t) * 0.1)
            np.testing.assert_allclose(x, want, rtol=1e-13)


@pytest.mark.claim("sgdw")
def test_proposition_1() -> None:
    """Proposition 1: without momentum, decoupled decay lambda is an L2 penalty lambda / alpha, to
    1e-13.

    SGD without momentum: decoupled decay lambda equals the penalty lambda / (2 alpha) |x|².
    """
    alpha, lam = 0.05, 0.02
    decoupled = refopt.optimizer("sgdw", lr=alpha, momentum=0.0, weight_decay=lam, schedule=schedule)
    coupled = refopt.optimizer("sgd", lr=alpha, weight_decay=lam / alpha, decay="coupled", schedule=schedule)
    x = y = np.array([1.0, -2.0])
    sx, sy = decoupled.init(x), coupled.init(y)
    rng = np.random.default_rng(0)
    for _ in range(50):
        g = rng.standard_normal(2)
        x, sx = decoupled.update(x, g, sx)
        y, sy = coupled.update(y, g, sy)
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-14)


@pytest.mark.claim("adamw")
def test_proposition_3() -> None:
    """Proposition 3: with a fixed preconditioner, decoupled decay is a scaled L2 penalty, to 1e-12.

    A fixed preconditioner diag(s)^-1: decoupled decay equals the penalty lambda/(2 alpha) |x sqrt(s)|².

    Adam with beta1 = 0 and squared gradients of constant size has the fixed preconditioner 1 / (|g| + eps).
    """
    alpha, lam, eps = 0.05, 0.02, 0.1
    size = np.array([0.5, 2.0])
    scale = size + eps
    o = refopt.optimizer("adamw", lr=alpha, beta1=0.0, beta2=0.9, eps=eps, weight_decay=lam)
    x = y = np.array([1.0, -2.0])
    s, rng = o.init(x), np.random.default_rng(0)
    for _ in range(50):
        g = size * rng.choice([-1.0, 1.0], 2)
        x, s = o.update(x, g, s)
        penalised = g + lam / alpha * scale * y  # the gradient of f + lambda / (2 alpha) |y sqrt(s)|²
        y = y - alpha * penalised / scale
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)
