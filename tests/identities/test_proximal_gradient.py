"""Limits of the proximal gradient method, and the lasso."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


@pytest.mark.identity("proximal-gradient")
def test_limits() -> None:
    """With g = 0 it is gradient descent; with f = 0 the proximal point method, bit for bit.

    g = 0: gradient descent. f = 0: the proximal point method.
    """
    p = refopt.problem("logistic")
    a = refopt.minimize(p, "proximal-gradient", lr=0.1, steps=30)
    b = refopt.minimize(p, "sgd", lr=0.1, steps=30)
    np.testing.assert_array_equal(a.x, b.x)
    zero = refopt.from_functions(
        lambda x: 0.0 * x[0], lambda x: 0.0 * x, prox=lambda x, step: x / (1 + step), x0=np.array([4.0, -1.0])
    )
    r = refopt.minimize(zero, "proximal-gradient", lr=1.0, steps=5)
    np.testing.assert_array_equal(r.x, np.array([4.0, -1.0]) / 32)


@pytest.mark.identity("proximal-gradient")
def test_lasso_solution() -> None:
    """Reaches the lasso solution of scikit-learn's coordinate descent, to 1e-9."""
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    a, l1 = rng.standard_normal((50, 8)), 0.1
    b = a @ np.array([1.0, -2.0, 0, 0, 0, 0, 0.5, 0]) + 0.1 * rng.standard_normal(50)
    p = refopt.from_functions(
        lambda x: 0.5 * np.mean((a @ x - b) ** 2),
        lambda x: a.T @ (a @ x - b) / 50,
        penalty=lambda x: l1 * np.sum(np.abs(x)),
        prox=lambda x, step: np.sign(x) * np.maximum(np.abs(x) - l1 * step, 0.0),
        x0=np.zeros(8),
    )
    lr = 50 / np.linalg.norm(a, 2) ** 2
    r = refopt.minimize(p, "proximal-gradient", lr=lr, steps=5000, tol=1e-12)
    assert r.status == "converged"
    want = linear.Lasso(alpha=l1, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(a, b).coef_
    np.testing.assert_allclose(r.x, want, atol=1e-9)
    np.testing.assert_array_equal(r.x == 0, want == 0)


def test_stationarity_is_the_gradient_mapping() -> None:
    """With g = 0 the measure that tol is compared with is the gradient's largest entry, whatever the rate."""
    from refopt.core.oracle import Oracle

    p = refopt.problem("logistic")
    x = np.linspace(-1, 1, p.dimension)
    want = np.max(np.abs(p.grad(x)))
    for lr in (0.01, 0.5):
        o = refopt.optimizer("proximal-gradient", lr=lr)
        assert o.stationarity(x, o.init(x), Oracle(p)) == pytest.approx(want, rel=1e-12)
