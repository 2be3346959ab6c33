"""The Handbook's theorems on the proximal gradient method.

Limits of the proximal gradient method, and the lasso.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.objective import objective


def _problem(l2: float) -> object:
    return refopt.problem("logistic", l1=0.02, l2=l2)


def _run(p: object, steps: int) -> tuple[np.ndarray, list[np.ndarray]]:
    visited: list[np.ndarray] = []
    start = np.full(p.start().shape, 0.5)
    r = refopt.minimize(
        p, "proximal-gradient", start, steps=steps, callback=visited.append, record_every=steps
    )
    return r.x, [start, *visited]


def _optimum(p: Any) -> np.ndarray:
    """The minimiser by Nesterov's acceleration with restarts, to rounding."""
    x = y = p.start(0)
    t, f = 1.0, np.inf
    for _ in range(3000):
        new = p.prox(y - p.grad(y) / p.lipschitz, 1 / p.lipschitz)
        now = objective(p, new)
        if now > f:
            t, y = 1.0, x
            f = np.inf
            continue
        after = (1 + np.sqrt(1 + 4 * t * t)) / 2
        x, y, t, f = new, new + (t - 1) / after * (new - x), after, now
    return x


@pytest.mark.claim("proximal-gradient")
def test_sublinear_bound() -> None:
    """convex: F(x_T) - F* <= |x_0 - x*|^2 / (2 lr T) at every T up to 300.

    F(x_T) - F* <= |x_0 - x*|² / (2 lr T), with lr = 1 / L.
    """
    p = _problem(0.0)
    best = _optimum(p)
    _, visited = _run(p, 300)
    f_best = objective(p, best)
    lr = 1 / p.lipschitz
    distance = float(np.sum((visited[0] - best) ** 2))
    for t in range(1, 301):
        assert objective(p, visited[t]) - f_best <= distance / (2 * lr * t)


@pytest.mark.claim("proximal-gradient")
def test_linear_bound() -> None:
    """Strongly convex: |x_t - x*|^2 <= (1 - lr mu)^t |x_0 - x*|^2, and F never increases.

    |x_t - x*|² <= (1 - lr mu)^t |x_0 - x*|²; F does not increase.
    """
    p = _problem(0.5)
    best, _ = _run(p, 4000)
    _, visited = _run(p, 200)
    factor = 1 - p.strong_convexity / p.lipschitz
    distance = [float(np.sum((x - best) ** 2)) for x in visited]
    for t, d in enumerate(distance):
        assert d <= factor**t * distance[0] * (1 + 1e-10) + 1e-24
    f = np.array([objective(p, x) for x in visited])
    assert np.all(np.diff(f) <= 4 * np.finfo(float).eps * f[0])


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
