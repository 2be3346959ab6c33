"""What Hutchinson's diagonal gives AdaHessian.

AdaHessian against a literal transcription, and its limits.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator


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


@pytest.mark.identity("adahessian")
def test_algorithm_1() -> None:
    """Equals Algorithm 1 transcribed line by line on an indefinite quadratic with the same probes, to
    1e-12.
    """
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 4))
    h = (a + a.T) / 2
    eta, b1, b2, k, eps, lam = 0.02, 0.8, 0.7, 0.5, 1e-2, 0.1
    o = refopt.optimizer("adahessian", lr=eta, beta1=b1, beta2=b2, hessian_power=k, eps=eps, weight_decay=lam)
    x = theta = rng.standard_normal(4)
    s, oracle = o.init(x), Oracle(Quadratic(h), 11)
    m, v = np.zeros(4), np.zeros(4)
    for t in range(1, 50):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        g = h @ theta
        z = generator(11, "method", t).integers(0, 2, size=4) * 2 - 1
        d = z * (h @ z)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * d * d
        m_hat = m / (1 - b1**t)
        denominator = np.sqrt(v / (1 - b2**t)) ** k + eps
        theta = theta - eta * (m_hat / denominator + lam * theta)
        np.testing.assert_allclose(x, theta, rtol=1e-12, atol=1e-13)


def test_kernels_are_averaged() -> None:
    """A 4-D leaf's D is constant over its last two axes: the mean of h, or of |h|."""
    rng = np.random.default_rng(0)
    h = rng.standard_normal((2, 3, 2, 2))
    paper, code = refopt.optimizer("adahessian"), refopt.optimizer("adahessian", dialect="official")
    np.testing.assert_allclose(paper._spatial(h), np.broadcast_to(h.mean((2, 3), keepdims=True), h.shape))
    np.testing.assert_allclose(
        code._spatial(h), np.broadcast_to(np.abs(h).mean((2, 3), keepdims=True), h.shape)
    )
    np.testing.assert_array_equal(paper._spatial(h[0, 0]), h[0, 0])


@pytest.mark.identity("adahessian")
@pytest.mark.parametrize("average", ["none", "rows"])
def test_a_mean_over_probes(average: str) -> None:
    """A diagonal Hessian is the same from every probe, so from the mean of three: the same run, to 1e-13."""
    h = np.array([[1.0, 4.0, 0.5], [2.0, 0.1, 3.0]])
    problem = refopt.from_functions(
        lambda x: 0.5 * float(np.sum(h * x * x)), lambda x: h * x, hvp=lambda x, v: h * v, x0=np.ones((2, 3))
    )
    one, three = (
        refopt.minimize(problem, "adahessian", lr=0.1, probes=n, average=average, steps=6).x for n in (1, 3)
    )
    np.testing.assert_allclose(three, one, rtol=1e-13)


@pytest.mark.identity("adahessian")
def test_a_diagonal_is_kept_between_refreshes() -> None:
    """update_every = 3 on a quadratic: the Hessian is asked for in steps 1, 4, 7; the diagonal of between is the last."""
    h = np.array([1.0, 4.0, 0.5])
    problem = refopt.from_functions(
        lambda x: 0.5 * float(np.sum(h * x * x)), lambda x: h * x, hvp=lambda x, v: h * v, x0=np.ones(3)
    )
    often = refopt.minimize(problem, "adahessian", lr=0.1, steps=7)
    seldom = refopt.minimize(problem, "adahessian", lr=0.1, update_every=3, average_stale=True, steps=7)
    assert (often.calls["hvp"], seldom.calls["hvp"]) == (7, 3)
    np.testing.assert_allclose(seldom.x, often.x, rtol=1e-13)
