"""SSO: gradient descent as one step, least squares in one, and what it asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

FIXED = {"line_search": False}


def logistic(n: int = 30, scales: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Any:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, 3)) * scales
    return refopt.problem("logistic", data=(a, (a[:, 0] + 0.5 * rng.standard_normal(n) > 0).astype(int)))


class Regression:
    """½‖z - y‖² of a model z = z(x), linear or bent."""

    def __init__(self, bent: float = 0.0) -> None:
        rng = np.random.default_rng(1)
        self.a, self.y, self.bent = rng.standard_normal((6, 3)), rng.standard_normal(6), bent

    def residual(self, x: np.ndarray) -> np.ndarray:
        z = self.a @ x
        return z + self.bent * z**2

    def vjp(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        return self.a.T @ ((1 + 2 * self.bent * (self.a @ x)) * u)

    def loss_gradient(self, x: np.ndarray) -> np.ndarray:
        return self.residual(x) - self.y


@pytest.mark.identity("sso")
def test_one_step_is_gradient_descent() -> None:
    """m = 1 at a fixed size is gradient descent with that size, whatever η: 15 steps on batches, to 1e-12."""
    p = logistic()
    common = {"steps": 15, "batch_size": 10}
    a = refopt.minimize(p, "sgd", lr=0.3, **common)
    for eta in (0.1, 30.0):
        b = refopt.minimize(p, "sso", lr=eta, inner_lr=0.3, inner_steps=1, **FIXED, **common)
        np.testing.assert_allclose(a.x, b.x, rtol=1e-12)
    named = refopt.problem("softmax", data=(p.inputs[:12], np.arange(12) % 3))
    a = refopt.minimize(named, "sgd", lr=0.3, steps=5)
    b = refopt.minimize(named, "sso", lr=2.0, inner_lr=0.3, inner_steps=1, steps=5, **FIXED)
    for k in a.x:
        np.testing.assert_allclose(a.x[k], b.x[k], rtol=1e-12, atol=1e-14)


@pytest.mark.claim("sso")
def test_exact_inner_solution() -> None:
    """A linear model with the inner problem solved: θ - η (AᵀA)⁻¹ Aᵀd, and with the squared loss and η = 1 the
    least-squares solution after one step, to 1e-9; both by fixed steps and by Armijo's rule.
    """
    p, x = Regression(), np.array([0.4, -1.0, 0.7])
    best = np.linalg.lstsq(p.a, p.y, rcond=None)[0]
    for eta in (1.0, 0.3):
        for more in ({"inner_lr": eta / np.linalg.norm(p.a, 2) ** 2, **FIXED}, {"inner_lr": 1.0}):
            o = refopt.optimizer("sso", lr=eta, inner_steps=600, inner_tol=0.0, **more)
            oracle = Oracle(p)
            got, s = o.step(x, o.init(x), oracle)
            np.testing.assert_allclose(got, x + eta * (best - x), rtol=1e-7)
            assert s == {"t": 1}
            assert oracle.counts.calls["loss_gradient"] == 1
            assert oracle.counts.calls["vjp"] == 600


@pytest.mark.identity("sso")
@pytest.mark.parametrize("search", [False, True])
def test_written_out(search: bool) -> None:
    """Three steps of five inner ones on a bent model, under a schedule of η, equal the surrogate's descent written
    out, with Armijo's rule (c = ½, 0.9, 1.8) and without, to 1e-11.
    """
    p, eta0, first = Regression(0.3), 0.8, 0.05 if not search else 1.0
    o = refopt.optimizer(
        "sso", lr=eta0, schedule=lambda t: t**-0.5, inner_lr=first, inner_steps=5, line_search=search
    )
    x = theta = np.array([0.4, -0.6, 0.7])
    s, oracle, tried = o.init(x), Oracle(p), 0
    for t in range(1, 4):
        x, s = o.step(x, s, oracle)
        eta, w, size = eta0 / t**0.5, theta, first
        z0, d = p.residual(theta), p.loss_gradient(theta)

        def q(v: np.ndarray) -> float:
            z = p.residual(v)
            return float(d @ z + (z - z0) @ (z - z0) / (2 * eta))

        for _ in range(5):
            g = p.vjp(w, d + (p.residual(w) - z0) / eta)
            while search and q(w - size * g) > q(w) - 0.5 * size * (g @ g):
                size *= 0.9
                tried += 1
            w = w - size * g
            size *= 1.8 if search else 1.0
        theta = w
        np.testing.assert_allclose(x, theta, rtol=1e-11)
    assert oracle.counts.calls == {"residual": 3 + 15 + tried, "loss_gradient": 3, "vjp": 15}


@pytest.mark.claim("sso")
def test_cheaper_where_gradients_of_the_loss_are_dear() -> None:
    """On badly scaled logistic regression 200 inner steps leave, at as many gradients of the loss (10), less than half
    of the gap that gradient descent with 1/L leaves.
    """
    p = logistic(60, (0.3, 1.0, 3.0))
    a = refopt.minimize(p, "sso", lr=4 * 60.0, inner_steps=200, steps=10)
    b = refopt.minimize(p, "sgd", lr=1 / p.lipschitz, steps=10)
    assert a.calls["loss_gradient"] == b.calls["grad"] == 10
    best = refopt.minimize(p, "sgd", lr=1 / p.lipschitz, steps=2000, record_every=2000).fun
    assert a.fun - best < 0.5 * (b.fun - best)


@pytest.mark.identity("sso")
def test_inner_steps_end() -> None:
    """The inner loop ends at the first gradient of the surrogate whose norm is at most the tolerance, asked for and
    not gone along.
    """
    p, x, oracle = Regression(), np.array([0.4, -1.0, 0.7]), Oracle(Regression())
    size = 1.0 / np.linalg.norm(p.a, 2) ** 2
    o = refopt.optimizer("sso", lr=1.0, inner_lr=size, inner_steps=500, inner_tol=0.1, line_search=False)
    got, _ = o.step(x, o.init(x), oracle)
    w, n, z0, d = x, 0, p.residual(x), p.loss_gradient(x)
    while np.linalg.norm(g := p.vjp(w, d + p.residual(w) - z0)) > 0.1:
        w, n = w - size * g, n + 1
    np.testing.assert_allclose(got, w, rtol=1e-12)
    assert oracle.counts.calls["vjp"] == n + 1 < 400


def test_a_search_that_ends_nowhere_stays() -> None:
    """At a point where no trial lowers the surrogate, a hundred are made and none taken."""
    p = Regression()
    p.vjp = lambda x, u: np.array([-np.sum(p.a.T @ u), 0.0, 0.0]) * 0 - p.a.T @ u  # type: ignore[method-assign]
    o, x, oracle = refopt.optimizer("sso", inner_steps=1, lr=1.0), np.ones(3), Oracle(p)
    got, _ = o.step(x, o.init(x), oracle)
    np.testing.assert_array_equal(got, x)
    assert oracle.counts.calls["residual"] == 101


def test_a_regulariser_outside_is_refused() -> None:
    with pytest.raises(refopt.errors.CapabilityError, match="l2 term"):
        refopt.minimize(refopt.problem("logistic", data=([[1.0], [-1.0]], [0, 1]), l2=0.1), "sso", steps=1)
