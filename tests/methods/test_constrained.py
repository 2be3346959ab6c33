"""Projected gradient, and accelerated gradient for nonconvex penalties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.objective import objective
from refopt.core.oracle import Oracle
from scipy.optimize import nnls


def nonnegative(seed: int = 0) -> tuple[Any, np.ndarray, float]:
    """Least squares on x >= 0 with an active constraint: the problem, its solution by SciPy, and 1 / L."""
    rng = np.random.default_rng(seed)
    A, b = rng.standard_normal((30, 6)), rng.standard_normal(30)
    p = refopt.from_functions(
        lambda x: np.sum((A @ x - b) ** 2) / 2, lambda x: A.T @ (A @ x - b),
        project=lambda x: np.maximum(x, 0.0), prox=lambda x, step: np.maximum(x, 0.0), x0=np.ones(6),
    )  # fmt: skip
    return p, nnls(A, b)[0], 1.0 / np.linalg.norm(A, 2) ** 2


@pytest.mark.claim("projected-gradient")
def test_projected_bounds() -> None:
    """Convex, γ = 1/L: f(x_T) - f* <= ||x_0 - x*||² / (2 γ T), and the gradient mapping never grows, 60 steps."""
    p, best, lr = nonnegative()
    assert 0 < np.sum(best == 0.0) < 6
    seen = [np.ones(6)]
    refopt.minimize(p, "projected-gradient", lr=lr, steps=60, callback=seen.append)
    start = np.sum((seen[0] - best) ** 2)
    for t in range(1, 61):
        assert p.value(seen[t]) - p.value(best) <= start / (2 * lr * t)
    mapping = np.linalg.norm(np.diff(seen, axis=0), axis=1) / lr
    assert np.all(np.diff(mapping) <= 1e-13)


@pytest.mark.identity("projected-gradient")
def test_nonnegative_least_squares() -> None:
    """It reaches SciPy's nonnegative least squares, to 1e-9; as a prox, the projection gives the same bits."""
    p, best, lr = nonnegative(1)
    r = refopt.minimize(p, "projected-gradient", lr=lr, steps=2000, tol=1e-10)
    assert r.status == "converged"
    np.testing.assert_allclose(r.x, best, rtol=0, atol=1e-9)
    a, b = (
        refopt.minimize(p, name, lr=lr, steps=20).x for name in ("projected-gradient", "proximal-gradient")
    )
    np.testing.assert_array_equal(a, b)
    o = refopt.optimizer("projected-gradient", lr=0.0)
    assert refopt.minimize(p, o, steps=5, tol=1e-9).status == "converged"


def damping(n: int) -> list[float]:
    """1 / t_k of FISTA's t_k."""
    t = [1.0]
    while len(t) < n:
        t.append((1.0 + math.sqrt(1.0 + 4.0 * t[-1] ** 2)) / 2.0)
    return [1.0 / v for v in t]


@pytest.mark.identity("nonconvex-ag")
def test_smooth_limit_is_nesterov() -> None:
    """Without g it is Nesterov's method with FISTA's weights, 40 steps, to 1e-13; α_k² is Π (1 - α_i)."""
    p = refopt.problem("quadratic", n=6)
    lr, seen = 0.9 / p.lipschitz, []
    smooth = refopt.from_functions(p.value, p.grad, prox=lambda x, step: x, x0=p.start())
    refopt.minimize(smooth, "nonconvex-ag", lr=lr, steps=40, callback=seen.append)
    last = y = p.start()
    alphas, product = damping(41), 1.0
    for k in range(40):
        x = y - lr * p.grad(y)
        y = x + alphas[k + 1] * (1.0 / alphas[k] - 1.0) * (x - last)
        last = x
        np.testing.assert_allclose(seen[k], x, rtol=0, atol=1e-13)
        product *= 1.0 - alphas[k] if k else 1.0
        assert alphas[k] ** 2 == pytest.approx(product, rel=1e-12)


@pytest.mark.identity("nonconvex-ag")
@pytest.mark.parametrize("which", ["optimal", "ghadimi-lan"])
def test_transcribed(which: str) -> None:
    """The algorithm written out with soft thresholds on a SCAD penalty, both dampings, 30 steps, to 1e-13."""
    p, lr = folded("scad"), 0.1
    l1, seen = 0.3, []
    refopt.minimize(p, "nonconvex-ag", lr=lr, damping=which, steps=30, callback=seen.append)
    x = bar = np.zeros(8)
    alphas = damping(30)
    for k in range(1, 31):
        alpha = alphas[k - 1] if which == "optimal" else 2.0 / (k + 1)
        delta = lr / alpha if which == "optimal" else k * lr / 2.0
        y = alpha * x + (1 - alpha) * bar
        g = p.grad(y)
        x, bar = soft(x - delta * g, delta * l1), soft(y - lr * g, lr * l1)
        np.testing.assert_allclose(seen[k - 1], bar, rtol=0, atol=1e-13)


def soft(z: np.ndarray, t: float) -> np.ndarray:
    return np.sign(z) * np.maximum(np.abs(z) - t, 0.0)


def folded(kind: str, l1: float = 0.3, a: float = 3.7, gamma: float = 2.0) -> Any:
    """Least squares with the SCAD or the MCP penalty: l1 ||x||_1 in the prox, the concave rest in value and gradient."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((60, 8))
    b = A @ np.array([2.0, -1.5, 0, 0, 0, 0, 3.0, 0]) + 0.2 * rng.standard_normal(60)

    def rest(x: np.ndarray) -> float:
        w = np.abs(x)
        if kind == "mcp":
            return float(np.sum(np.where(w < gamma * l1, -(w**2) / (2 * gamma), gamma * l1**2 / 2 - l1 * w)))
        middle = -((w - l1) ** 2) / (2 * (a - 1))
        far = l1**2 * (a + 1) / 2 - l1 * w
        return float(np.sum(np.where(w <= l1, 0.0, np.where(w < a * l1, middle, far))))

    def slope(x: np.ndarray) -> np.ndarray:
        w, s = np.abs(x), np.sign(x)
        if kind == "mcp":
            return np.where(w < gamma * l1, -x / gamma, -l1 * s)
        return np.where(w <= l1, 0.0, np.where(w < a * l1, s * (l1 - w) / (a - 1), -l1 * s))

    return refopt.from_functions(
        lambda x: np.sum((A @ x - b) ** 2) / 120 + rest(x), lambda x: A.T @ (A @ x - b) / 60 + slope(x),
        penalty=lambda x: l1 * np.sum(np.abs(x)), prox=lambda x, step: soft(x, step * l1), x0=np.zeros(8),
        lipschitz=max(np.linalg.norm(A, 2) ** 2 / 60, 1.0 / gamma if kind == "mcp" else 1.0 / (a - 1)),
    )  # fmt: skip


@pytest.mark.claim("nonconvex-ag")
@pytest.mark.parametrize("kind", ["scad", "mcp"])
def test_scad_and_mcp_are_unbiased(kind: str) -> None:
    """With SCAD and with MCP it finds the support, where coefficients are those of least squares, unshrunk, to 1e-8."""
    p = folded(kind)
    r = refopt.minimize(p, "nonconvex-ag", steps=3000, tol=1e-11)
    assert r.status == "converged"
    np.testing.assert_array_equal(np.nonzero(r.x)[0], [0, 1, 6])
    rng = np.random.default_rng(0)
    A = rng.standard_normal((60, 8))
    b = A @ np.array([2.0, -1.5, 0, 0, 0, 0, 3.0, 0]) + 0.2 * rng.standard_normal(60)
    free = np.linalg.lstsq(A[:, [0, 1, 6]], b, rcond=None)[0]
    np.testing.assert_allclose(r.x[[0, 1, 6]], free, rtol=0, atol=1e-8)


@pytest.mark.claim("nonconvex-ag")
def test_accelerated_bound() -> None:
    """Convex: F(x̄_N) - F* <= α_N² ||x_0 - x*||² / (2 β), at every N up to 150; α_N <= 2 / (N + 1).

    Proximal gradient is above the bound at the end.
    """
    rng = np.random.default_rng(3)
    A = rng.standard_normal((20, 12)) * np.geomspace(0.03, 1.0, 12)
    b = A @ rng.standard_normal(12)
    p = refopt.from_functions(
        lambda x: np.sum((A @ x - b) ** 2) / 2, lambda x: A.T @ (A @ x - b),
        penalty=lambda x: 0.02 * np.sum(np.abs(x)), prox=lambda x, step: soft(x, 0.02 * step), x0=np.zeros(12),
        lipschitz=np.linalg.norm(A, 2) ** 2,
    )  # fmt: skip
    best = refopt.minimize(p, "nonconvex-ag", steps=4000, record_every=4000).x
    start, seen, slow = np.full(12, 0.5), [], []
    refopt.minimize(p, "nonconvex-ag", start, steps=150, callback=seen.append)
    refopt.minimize(p, "proximal-gradient", start, steps=150, callback=slow.append)
    low, distance, beta = objective(p, best), np.sum((start - best) ** 2), 0.99 / p.lipschitz
    for n, (x, alpha) in enumerate(zip(seen, damping(150)), start=1):
        assert alpha <= 2.0 / (n + 1) * (1 + 1e-14)
        assert objective(p, x) - low <= alpha**2 * distance / (2 * beta)
    assert objective(p, seen[-1]) < objective(p, slow[-1])


@pytest.mark.identity("projected-gradient", "nonconvex-ag")
@pytest.mark.parametrize("name", ["projected-gradient", "nonconvex-ag"])
def test_rates_of_the_step(name: str) -> None:
    """A rate that falls with the step is that of the step, from t = 1: two steps by hand, to 1e-15; and a schedule.

    The rate of the next step is the one by which stationarity is measured.
    """
    p = refopt.from_functions(
        lambda x: x @ x / 2,
        lambda x: x,
        prox=lambda x, step: x,
        project=lambda x: x,
        x0=np.ones(1),
        lipschitz=0.99,
    )
    r = refopt.minimize(p, name, lr=lambda t: 0.5**t, steps=2)
    np.testing.assert_allclose(r.x, _twice(0.5, 0.25), rtol=1e-15)
    schedule = {"lr": 1.0} if name == "projected-gradient" else {}
    r = refopt.minimize(p, name, schedule=lambda t: 0.5**t, steps=2, **schedule)
    np.testing.assert_allclose(r.x, _twice(0.5, 0.25), rtol=1e-15)
    low = refopt.from_functions(
        lambda x: x @ x / 2, lambda x: x, prox=lambda x, step: np.maximum(x, 0.9), project=lambda x: np.maximum(x, 0.9),
        x0=np.ones(1),
    )  # fmt: skip
    o = refopt.optimizer(name, lr=lambda t: {1: 0.5, 2: 0.01, 3: 0.0}[t])
    x, oracle = np.ones(1), Oracle(low)
    s = o.init(x)
    assert s["t"] == 0
    assert o.stationarity(x, s, oracle) == pytest.approx(0.1 / 0.5, rel=1e-13)
    assert o.stationarity(x, {**s, "t": 1}, oracle) == pytest.approx(1.0, rel=1e-13)
    assert o.stationarity(x, {**s, "t": 2}, oracle) == 0.0


def _twice(first: float, second: float) -> float:
    """x after two steps on x² / 2 from 1."""
    # After one step of the accelerated method x and x̄ are the same, and so is y.
    return (1.0 - first) * (1.0 - second)


def test_what_it_asks_for() -> None:
    """No rate and no L: an error that says so; a rate of zero stays; tol is compared with the gradient mapping."""
    p = refopt.from_functions(lambda x: x @ x, lambda x: 2 * x, prox=lambda x, step: x, x0=np.ones(2))
    with pytest.raises(refopt.errors.ArgumentError, match="lr"):
        refopt.minimize(p, "nonconvex-ag", steps=2)
    r = refopt.minimize(p, "nonconvex-ag", lr=0.0, steps=2)
    np.testing.assert_array_equal(r.x, 1.0)
    assert refopt.minimize(p, "nonconvex-ag", lr=0.0, steps=2, tol=1e-9).status == "converged"
    assert refopt.minimize(p, "nonconvex-ag", lr=0.2, steps=2, tol=1.9).nit > 0
