"""What Hutchinson's diagonal gives AdaHessian."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle


class Quadratic:
    """f(x) = xᵀ H x / 2 for any symmetric H."""

    def __init__(self, h: np.ndarray) -> None:
        self.h = h

    def value(self, x: np.ndarray) -> float:
        return 0.5 * float(x @ self.h @ x)

    def grad(self, x: np.ndarray) -> np.ndarray:
        return self.h @ x

    def hvp(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self.h @ v


@pytest.mark.claim("adahessian")
def test_diagonal_hessian_is_exact() -> None:
    """A diagonal Hessian is found exactly whatever the probe: one step on a quadratic lands on x -
    g/|h|, to 1e-14.

    beta = 0, eps = 0, lr = 1: x_i -> 0 where h_i > 0, and x_i -> 2 x_i where h_i < 0.
    """
    h = np.array([0.5, 20.0, -3.0])
    x = np.array([1.0, -2.0, 0.7])
    o = refopt.optimizer("adahessian", lr=1.0, beta1=0.0, beta2=0.0, eps=0.0)
    for seed in range(5):
        oracle = Oracle(Quadratic(np.diag(h)), seed)
        oracle.begin(1)
        new, _ = o.step(x, o.init(x), oracle)
        np.testing.assert_allclose(new, [0.0, 0.0, 1.4], atol=1e-14)


@pytest.mark.claim("adahessian")
def test_hutchinson_mean_and_variance() -> None:
    """z*(Hz) has mean diag(H) and variance sum of squared off-diagonal entries (20 000 probes, 5
    sigma).

    E[z (Hz)] = diag H and Var = sum of squares of the off-diagonal row, within 5 standard errors.
    """
    rng = np.random.default_rng(0)
    a = rng.standard_normal((5, 5))
    h = (a + a.T) / 2
    o, oracle = refopt.optimizer("adahessian"), Oracle(Quadratic(h), 7)
    x = np.zeros(5)
    n = 20_000
    draws = np.empty((n, 5))
    for k in range(n):
        oracle.begin(k + 1)
        draws[k] = o.diagonal(x, oracle)
    variance = (h**2).sum(1) - np.diag(h) ** 2
    assert np.all(np.abs(draws.mean(0) - np.diag(h)) <= 5 * np.sqrt(variance / n))
    # A sum of products of signs has fourth moment at most 9 times the squared variance.
    assert np.all(np.abs(draws.var(0) - variance) <= 5 * variance * np.sqrt(8 / n))
