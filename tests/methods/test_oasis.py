"""OASIS beside a literal transcription, and in the two limits where its diagonal is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator


def cosh(seed: int = 0, rows: int = 10) -> Any:
    """f_i(x) = log cosh(a_iᵀ x - b_i): convex, with a Hessian that changes and is not diagonal."""
    rng = np.random.default_rng(seed)
    A, b = rng.standard_normal((rows, 4)) * [0.3, 1.0, 2.0, 0.7], rng.standard_normal(rows)

    def of(batch: Any) -> Any:
        return (A, b) if batch is None else (A[batch], b[batch])

    def value(x: Any, batch: Any = None) -> float:
        a, c = of(batch)
        return float(np.mean(np.log(np.cosh(a @ x - c))))

    def grad(x: Any, batch: Any = None) -> Any:
        a, c = of(batch)
        return a.T @ np.tanh(a @ x - c) / len(a)

    def hvp(x: Any, v: Any, batch: Any = None) -> Any:
        a, c = of(batch)
        return a.T @ ((1.0 - np.tanh(a @ x - c) ** 2) * (a @ v)) / len(a)

    return refopt.from_functions(value, grad, hvp=hvp, x0=np.array([1.0, -0.5, 0.3, 0.8]), n_examples=rows)


@pytest.mark.identity("oasis")
@pytest.mark.parametrize("batch", [None, 4])
def test_algorithm_1(batch: int | None) -> None:
    """Equals Algorithm 1 transcribed over 25 steps, on all examples and on batches (both gradients on the step's), to 1e-10."""
    p, beta2, alpha, eta0, seed = cosh(), 0.9, 0.15, 0.05, 5
    rows: list[Any] = []
    r = refopt.minimize(p, "oasis", lr=eta0, beta2=beta2, alpha=alpha, start_probes=3, steps=25, seed=seed, batch_size=batch,
        sampling="cyclic", schedule=lambda t: 1.0 - 0.02 * t, callback=lambda x: rows.append(x))  # fmt: skip
    assert r.calls["grad"] == (25 if batch is None else 49)
    w, w_old, g_old, D, eta, theta, both = p.x0, None, None, None, eta0, np.inf, set()
    for k in range(25):
        at = None if batch is None else (k * batch + np.arange(batch)) % 10
        rng = generator(seed, "method", k + 1)
        draws = []
        for _ in range(3 if k == 0 else 1):
            z = rng.integers(0, 2, size=4) * 2.0 - 1.0
            draws.append(z * p.hvp(w, z, batch=at))
        D = np.mean(draws, axis=0) if k == 0 else beta2 * D + (1 - beta2) * draws[0]
        D_hat = np.maximum(np.abs(D), alpha)
        g = p.grad(w, batch=at)
        if k > 0:
            y = g - (g_old if at is None else p.grad(w_old, batch=at))
            moved = w - w_old
            quotient = np.sqrt(moved @ (D_hat * moved)) / (2 * np.sqrt(y @ (y / D_hat)))
            new = min(np.sqrt(1 + theta) * eta, quotient)
            both.add(bool(new == quotient))
            theta, eta = new / eta, new
        w_old, g_old = w, g
        w = w - (1.0 - 0.02 * (k + 1)) * eta * g / D_hat
        np.testing.assert_allclose(rows[k], w, rtol=1e-10, atol=1e-11)
    assert both == {True, False}


@pytest.mark.identity("oasis")
def test_with_a_unit_diagonal_it_is_adaptive_gradient_descent() -> None:
    """D̂ = I, by α = 1 above every curvature: Malitsky and Mishchenko's η = min(sqrt(1+θ) η, ‖Δx‖/2‖Δg‖), to 1e-11."""
    p = cosh(1)
    small = refopt.from_functions(
        lambda x: 0.1 * p.value(x), lambda x: 0.1 * p.grad(x), hvp=lambda x, v: 0.1 * p.hvp(x, v), x0=p.x0
    )
    rows: list[Any] = []
    refopt.minimize(small, "oasis", lr=0.3, alpha=1.0, steps=30, callback=lambda x: rows.append(x))
    x, eta, theta = p.x0, 0.3, None
    old = x, small.grad(x)
    x = x - eta * old[1]
    for k in range(1, 30):
        g = small.grad(x)
        new = np.linalg.norm(x - old[0]) / (2 * np.linalg.norm(g - old[1]))
        if theta is not None:
            new = min(new, np.sqrt(1 + theta) * eta)
        theta, eta, old = new / eta, new, (x, g)
        x = x - eta * g
        np.testing.assert_allclose(rows[k], x, rtol=1e-11, atol=1e-12)


@pytest.mark.claim("oasis")
def test_a_diagonal_hessian_leaves_a_rate_of_one_half() -> None:
    """On a diagonal quadratic of condition 1e4 D is exact: every rate from the second on is 1/2, and the error halves."""
    h = np.array([1e-2, 1.0, 3.0, 1e2])
    p = refopt.from_functions(
        lambda x: 0.5 * float(h @ (x * x)),
        lambda x: h * x,
        hvp=lambda x, v: h * v,
        x0=np.array([1.0, -2.0, 3.0, 1.0]),
    )
    rows = [p.x0]
    r = refopt.minimize(p, "oasis", alpha=1e-3, lr=0.25, steps=20, callback=lambda x: rows.append(x))
    np.testing.assert_allclose(np.stack(rows[2:]), 0.5 * np.stack(rows[1:-1]), rtol=1e-10)
    np.testing.assert_allclose(rows[1], 0.75 * rows[0], rtol=1e-13)
    np.testing.assert_allclose([r.state["eta"], r.state["theta"]], [0.5, 1.0], rtol=1e-10)


@pytest.mark.identity("oasis")
def test_a_fixed_rate() -> None:
    """Not adaptive, on a quadratic of negative and positive curvature: x - lr g / |h|, from one gradient a step."""
    h = np.array([2.0, -4.0])
    p = refopt.from_functions(
        lambda x: 0.5 * float(h @ (x * x)), lambda x: h * x, hvp=lambda x, v: h * v, x0=np.ones(2)
    )
    r = refopt.minimize(p, "oasis", lr=lambda t: 0.1 * t, adaptive=False, steps=2)
    np.testing.assert_allclose(r.x, [0.9 * 0.8, 1.1 * 1.2], rtol=1e-14)
    assert dict(r.calls) == {"grad": 2, "hvp": 11}


@pytest.mark.identity("oasis")
def test_a_gradient_that_does_not_change() -> None:
    """A linear function: the quotient is infinite, and the rate grows by sqrt(1 + θ); without a gradient nothing moves."""
    c = np.array([1.0, -2.0])
    p = refopt.from_functions(lambda x: float(c @ x), lambda x: c, hvp=lambda x, v: 0.0 * v, x0=np.zeros(2))
    rows = [np.zeros(2)]
    refopt.minimize(p, "oasis", lr=0.5, alpha=1.0, steps=4, callback=lambda x: rows.append(x))
    # θ: ∞, then 1 (the rate is kept), sqrt(2).
    rates = [0.5, 0.5, 0.5 * 2**0.5, 0.5 * 2**0.5 * (1 + 2**0.5) ** 0.5]
    np.testing.assert_allclose(-np.diff(rows, axis=0) / c, np.stack([rates, rates], axis=1), rtol=1e-13)
    still = refopt.from_functions(lambda x: 0.0, lambda x: 0.0 * x, hvp=lambda x, v: 0.0 * v, x0=np.ones(2))
    np.testing.assert_array_equal(refopt.minimize(still, "oasis", steps=4).x, [1.0, 1.0])
