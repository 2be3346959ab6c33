"""Two-layer ReLU networks by convex programmes: written out, a duality gap, sampled neurons, and the problems themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.objective import objective
from refopt.core.oracle import Oracle
from refopt.core.params import flatten, unflatten
from refopt.core.rng import generator
from scipy.optimize import minimize

from tests.alike import steps_on
from tests.methods.matrices import close, complex_columns, flat_rows, ggn_product, product_columns

CONVEX = refopt.problem("convex-relu", n_examples=6)


def network_of(p: Any, x: np.ndarray) -> tuple[Any, dict[str, np.ndarray]]:
    """The non-convex problem on the same data, and the network that x stands for."""
    network = p.network(x)
    same = refopt.problem("two-layer-relu", width=len(network["a"]), l2=p.beta, data=(p.inputs, p.targets))
    return same, network


def dual_value(p: Any, x: np.ndarray) -> float:
    """A lower bound of the optimum over all networks in the plane: the dual at the residual, scaled until it is feasible.

    max -n ‖v‖²/2 + <v, y>, |Σ_i v_i relu(<u, x_i>)| <= β for all unit u; between the lines where a neuron turns on the sum is
    linear in u, so that its greatest values are at the lines and along its gradients.
    """
    n = len(p.targets)
    v = (p.targets - math.sqrt(n) * (p.residual(x) + p._target)) / n
    across = np.concatenate([p.inputs @ [[0, 1], [-1, 0]], -p.inputs @ [[0, 1], [-1, 0]]])
    pieces = np.concatenate([(pattern * v) @ p.inputs for pattern in p.patterns]).reshape(-1, 2)
    u = np.concatenate([across, pieces, -pieces])
    u = u[np.linalg.norm(u, axis=1) > 0]
    most = np.max(np.abs(np.maximum(p.inputs @ (u / np.linalg.norm(u, axis=1, keepdims=True)).T, 0.0).T @ v))
    v = v * min(1.0, p.beta / most)
    return float(-n * (v @ v) / 2 + v @ p.targets)


@pytest.mark.identity("relu-admm")
@pytest.mark.parametrize(("rho", "gamma"), [(0.05, 1.0), (0.4, 1.5)])
def test_admm_written_out(rho: float, gamma: float) -> None:
    """Fifteen rounds equal the five updates written out on the stacked matrices F and E, with a direct solver, to 1e-10."""
    p = CONVEX
    X, y, n = p.inputs, p.targets, 6
    on = [np.diag(pattern) for pattern in p.patterns]
    F = np.hstack([D @ X for D in on] + [-D @ X for D in on]) / math.sqrt(n)
    one = [(2 * D - np.eye(n)) @ X for D in on]
    E = np.zeros((2 * len(on) * n, F.shape[1]))
    for k, block in enumerate(one * 2):
        E[k * n : (k + 1) * n, 2 * k : 2 * k + 2] = block
    v, lam, s, nu = np.ones(F.shape[1]), np.zeros(F.shape[1]), np.zeros(len(E)), np.zeros(len(E))
    o, oracle = refopt.optimizer("relu-admm", rho=rho, dual_step=gamma), Oracle(p)
    x = v.reshape(p.start().shape)
    state = o.init(x)
    assert o.stationarity(x, state, oracle) == math.inf
    for t in range(1, 16):
        before, slack = v, s
        right = F.T @ y / math.sqrt(n) / rho + v - lam + E.T @ (s - nu)
        u = np.linalg.solve(np.eye(len(v)) + F.T @ F / rho + E.T @ E, right)
        groups = (u + lam).reshape(-1, 2)
        size = np.linalg.norm(groups, axis=1, keepdims=True)
        v = (np.maximum(1 - p.beta / rho / size, 0) * groups).ravel()
        s = np.maximum(E @ u + nu, 0)
        lam, nu = lam + gamma * (u - v), nu + gamma * (E @ u - s)
        x, state = o.step(x, state, oracle)
        np.testing.assert_allclose(x.ravel(), v, atol=1e-10)
        np.testing.assert_allclose(state["nu"], nu, atol=1e-10)
        np.testing.assert_allclose(state["lam"], lam, atol=1e-10)
        gaps = [u - v, E @ u - s, rho * (v - before), rho * (E.T @ (s - slack))]
        assert o.stationarity(x, state, oracle) == pytest.approx(
            max(np.max(np.abs(g)) for g in gaps), rel=1e-8
        )
        assert state["t"] == t
    assert np.any(v == 0.0) and np.any(s == 0.0) and np.any(v != 0.0)


@pytest.mark.claim("relu-admm")
@pytest.mark.parametrize("seed", [0, 3])
def test_global_optimum(seed: int) -> None:
    """The network that it ends at has the objective of the convex programme, to 1e-6, which is that of the dual over all
    networks, to 1e-5 of it, and no more than the best of three runs of L-BFGS on eight neurons.
    """
    p = refopt.problem("convex-relu", n_examples=5, seed=seed)
    r = refopt.minimize(p, "relu-admm", rho=0.03, steps=1500, tol=1e-7, record_every=1500)
    same, network = network_of(p, r.x)
    assert float(same.value(network)) == pytest.approx(r.fun, abs=1e-6)
    assert dual_value(p, r.x) <= r.fun + 1e-9
    assert dual_value(p, r.x) == pytest.approx(r.fun, rel=1e-5)
    q = refopt.problem("two-layer-relu", width=8, l2=p.beta, data=(p.inputs, p.targets))
    x0 = q.start()

    def both(w: np.ndarray) -> tuple[float, np.ndarray]:
        x = unflatten(w, x0)
        return float(q.value(x)), flatten(q.grad(x))

    best = min(
        float(minimize(both, flatten(q.start(k)), jac=True, method="L-BFGS-B", options={"maxiter": 60}).fun)
        for k in range(3)
    )
    assert r.fun <= best + 1e-6


@pytest.mark.identity("relu-admm")
def test_constants_in_the_constraint() -> None:
    """For any linear r and E with constants, it finds the bounded least squares with an l1 term of SLSQP, to 1e-6."""
    rng = np.random.default_rng(1)
    A, b, C, c = (
        rng.standard_normal((6, 3)),
        rng.standard_normal(6),
        rng.standard_normal((2, 3)),
        np.array([0.3, -0.2]),
    )

    def soft(z: np.ndarray, step: float) -> np.ndarray:
        return np.sign(z) * np.maximum(np.abs(z) - 0.2 * step, 0.0)

    p = refopt.from_functions(
        lambda x: 0.5 * np.sum((A @ x - b) ** 2), residual=lambda x: A @ x - b, jvp=lambda x, v: A @ v,
        vjp=lambda x, u: A.T @ u, prox=soft, penalty=lambda x: 0.2 * np.sum(np.abs(x)),
        constraint=lambda x: C @ x + c, x0=np.zeros(3), least_squares=True,
    )  # fmt: skip
    r = refopt.minimize(p, "relu-admm", rho=1.0, steps=2000, tol=1e-10, record_every=2000)
    assert r.status == "converged"
    # x = positive part less negative part, so that the l1 term is smooth.
    both = minimize(
        lambda z: 0.5 * np.sum((A @ (z[:3] - z[3:]) - b) ** 2) + 0.2 * np.sum(z), np.full(6, 0.1), method="SLSQP",
        bounds=[(0, None)] * 6, constraints={"type": "ineq", "fun": lambda z: -(C @ (z[:3] - z[3:]) + c)},
        options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip
    np.testing.assert_allclose(r.x, both.x[:3] - both.x[3:], atol=1e-6)
    assert np.max(C @ r.x + c) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.identity("relu-scp")
def test_scp_written_out() -> None:
    """Twelve steps equal FISTA on the lasso of the drawn features, written out, to 1e-12; the network's objective is the
    lasso's, decay and all (1e-13).
    """
    q = refopt.problem("two-layer-relu", width=7, l2=0.05)
    rng = generator(0, "method", 1)
    U = rng.standard_normal((7, 2))
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    A, y = np.maximum(q.inputs @ U.T, 0.0), q.targets
    L = np.linalg.eigvalsh(A.T @ A / 8)[-1]
    alpha = z = np.zeros(7)
    weight = 1.0
    o = refopt.optimizer("relu-scp", l1=0.05)
    assert o.stationarity(q.start(), o.init(q.start()), Oracle(q)) == math.inf
    for x, s in steps_on(q, o, 12):
        moved = z - A.T @ (A @ z - y) / 8 / L
        new = np.sign(moved) * np.maximum(np.abs(moved) - 0.05 / L, 0.0)
        after = (1 + math.sqrt(1 + 4 * weight**2)) / 2
        z = new + (weight - 1) / after * (new - alpha)
        alpha, weight = new, after
        np.testing.assert_allclose(s["alpha"], alpha, atol=1e-12)
        np.testing.assert_allclose(x["W"], U * np.sqrt(np.abs(alpha))[:, None], atol=1e-7)
        np.testing.assert_allclose(x["a"] * np.abs(x["a"]), alpha, atol=1e-12)
        lasso = np.sum((A @ s["alpha"] - y) ** 2) / 16 + 0.05 * np.sum(np.abs(s["alpha"]))
        assert float(q.value(x)) == pytest.approx(lasso, rel=1e-13)
        g = A.T @ (A @ s["alpha"] - y) / 8
        least = np.where(
            s["alpha"] == 0, np.maximum(np.abs(g) - 0.05, 0), np.abs(g + 0.05 * np.sign(s["alpha"]))
        )
        assert o.stationarity(x, s, Oracle(q)) == pytest.approx(float(np.max(least)), rel=1e-9)
    assert 0 < np.sum(alpha == 0.0) < 7


@pytest.mark.claim("relu-scp")
def test_samples_bound_from_above() -> None:
    """At the lasso's optimum of 5, 30 and 150 neurons the objective is above that of the convex programme, and with
    150 within a fiftieth of it; for β = 0 it is least squares (1e-5).
    """
    p = refopt.problem("convex-relu", n_examples=5)
    best = refopt.minimize(p, "relu-admm", rho=0.03, steps=1500, record_every=1500).fun
    ends = []
    for width in (5, 30, 150):
        q = refopt.problem("two-layer-relu", width=width, l2=p.beta, data=(p.inputs, p.targets))
        r = refopt.minimize(q, "relu-scp", l1=p.beta, steps=2000, tol=1e-5, record_every=2000)
        assert r.status == "converged"
        ends.append(r.fun)
    assert min(ends) > best - 1e-6
    assert best < ends[2] < 1.02 * best < ends[0]
    q = refopt.problem("two-layer-relu", width=3, data=(p.inputs, p.targets))
    r = refopt.minimize(q, "relu-scp", l1=0.0, steps=2000, tol=1e-8, record_every=2000)
    A = np.maximum(p.inputs @ r.state["U"].T, 0.0)
    np.testing.assert_allclose(r.state["alpha"], np.linalg.lstsq(A, p.targets, rcond=None)[0], rtol=1e-5)


@pytest.mark.identity("relu-scp")
def test_scp_beside_a_generic_solver() -> None:
    """The objective that it ends at is the one that SLSQP finds for the convex programme of the drawn neurons, to 1e-8."""
    q = refopt.problem("two-layer-relu", width=5, l2=0.05)
    r = refopt.minimize(q, "relu-scp", l1=0.05, steps=5000, tol=1e-9, record_every=5000)
    assert r.status == "converged"
    A, y = np.maximum(q.inputs @ r.state["U"].T, 0.0), q.targets
    # Weights as positive part less negative part, so that the l1 term is smooth.
    both = minimize(
        lambda z: np.sum((A @ (z[:5] - z[5:]) - y) ** 2) / 16 + 0.05 * np.sum(z),
        np.full(10, 0.1), method="SLSQP", bounds=[(0, None)] * 10, options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip
    assert float(q.value(r.x)) == pytest.approx(float(both.fun), abs=1e-8)


def test_scp_needs_a_network() -> None:
    p = refopt.problem("quadratic", n=3)
    with pytest.raises(refopt.errors.ArgumentTypeError, match="W and a"):
        refopt.minimize(p, "relu-scp", steps=1)
    dead = refopt.problem("two-layer-relu", width=2, data=(np.zeros((3, 2)), np.ones(3)))
    r = refopt.minimize(dead, "relu-scp", steps=2)
    np.testing.assert_array_equal(r.x["a"], 0.0)


@pytest.mark.identity("two-layer-relu")
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_derivatives(l2: float) -> None:
    """f is the formula written out (1e-14); gradient, Hessian, Jacobian, Gauss-Newton and example gradients equal complex steps,
    on all examples and a batch.
    """
    p = refopt.problem("two-layer-relu", width=4, l2=l2, dimension=3)
    x = p.start(2)
    for batch in (None, np.array([1, 5, 6])):
        chosen = np.arange(8) if batch is None else batch
        out = np.maximum(p.inputs[chosen] @ x["W"].T, 0) @ x["a"]
        want = np.mean((out - p.targets[chosen]) ** 2) / 2 + l2 / 2 * np.sum(flatten(x) ** 2)
        assert float(p.value(x, batch)) == pytest.approx(want, rel=1e-14)
        close(flatten(p.grad(x, batch)), complex_columns(lambda w, b=batch: p.value(w, b).reshape(1), x)[0])
        close(
            product_columns(lambda v, b=batch: p.hvp(x, v, b), x),
            complex_columns(lambda w, b=batch: p.grad(w, b), x),
        )
        jacobian = complex_columns(lambda w, b=batch: p.residual(w, b), x)
        close(product_columns(lambda v, b=batch: p.jvp(x, v, b), x), jacobian)
        close(product_columns(lambda u, b=batch: p.vjp(x, u, b), p.residual(x, batch)), jacobian.T)
        close(product_columns(lambda v, b=batch: ggn_product(p, x, v, b), x), jacobian.T @ jacobian)
        close(flat_rows(p.example_grads(x, batch)).mean(0), flatten(p.grad(x, batch)))
        one = p.grad(x, chosen[1:2])
        close(flat_rows(p.example_grads(x, batch))[1], flatten(one))


@pytest.mark.claim("two-layer-relu")
def test_homogeneity() -> None:
    """Without decay <w_j, ∂f/∂w_j> = a_j ∂f/∂a_j for every neuron, so that a_j² - ‖w_j‖² is kept by the gradient flow, and
    <θ, ∇f> is twice the mean of loss' times prediction: to 1e-13.
    """
    p = refopt.problem("two-layer-relu", width=5, dimension=3)
    x = p.start(1)
    g = p.grad(x)
    np.testing.assert_allclose(np.sum(x["W"] * g["W"], axis=1), x["a"] * g["a"], rtol=1e-12, atol=1e-14)
    out = np.maximum(p.inputs @ x["W"].T, 0) @ x["a"]
    assert flatten(x) @ flatten(g) == pytest.approx(2 * np.mean((out - p.targets) * out), rel=1e-13)


@pytest.mark.identity("convex-relu")
def test_convex_programme() -> None:
    """Residual, constraint and their derivatives equal sums over the patterns written out; prox is the shortening of groups; at a
    feasible point the network has the same predictions and objective (1e-12), at others not; patterns are all twelve.
    """
    p = CONVEX
    rng = np.random.default_rng(0)
    x, n = rng.standard_normal(p.start().shape), 6
    assert len(p.patterns) == 12
    out = sum(pattern * (p.inputs @ (v - w)) for pattern, v, w in zip(p.patterns, x[0], x[1]))
    np.testing.assert_allclose(p.residual(x), (out - p.targets) / math.sqrt(n), rtol=1e-12)
    cones = [-(2 * pattern - 1) * (p.inputs @ v) for half in x for pattern, v in zip(p.patterns, half)]
    np.testing.assert_allclose(p.constraint(x), np.concatenate(cones), rtol=1e-12)
    close(product_columns(lambda v: p.jvp(x, v), x), complex_columns(p.residual, x))
    close(product_columns(lambda u: p.vjp(x, u), p.residual(x)), complex_columns(p.residual, x).T)
    close(
        product_columns(lambda u: p.constraint_vjp(x, u), p.constraint(x)), complex_columns(p.constraint, x).T
    )
    np.testing.assert_array_equal(p.constraint_hvp(x, p.constraint(x), x), 0.0)
    close(flatten(p.grad(x)), complex_columns(lambda w: p.value(w).reshape(1), x)[0])
    close(product_columns(lambda v: p.hvp(x, v), x), complex_columns(p.grad, x))
    short = p.prox(x, 7.0)
    size = np.linalg.norm(x, axis=-1, keepdims=True)
    np.testing.assert_allclose(short, np.maximum(1 - 0.7 / size, 0) * x, atol=1e-14)
    assert float(p.penalty(x)) == pytest.approx(0.1 * np.sum(size), rel=1e-14)
    # One point in the cone of each pattern: a u that makes it.
    inside = np.zeros_like(x)
    drawn = np.random.default_rng(1).standard_normal((500, 2))
    for k, pattern in enumerate(p.patterns[::3]):
        made = drawn[np.all((drawn @ p.inputs.T >= 0) == pattern, axis=1)]
        inside[k % 2, 3 * k] = made[0]
    assert np.max(p.constraint(inside)) <= 0.0
    same, network = network_of(p, inside)
    assert float(same.value(network)) == pytest.approx(objective(p, inside), rel=1e-12)
    same, network = network_of(p, x)
    assert abs(float(same.value(network)) - objective(p, x)) > 0.01


@pytest.mark.claim("convex-relu")
def test_more_patterns_are_no_worse() -> None:
    """The optimum over one pattern is above that over all, and both above the dual of all (1e-6)."""
    whole = refopt.problem("convex-relu")
    few = refopt.problem("convex-relu", samples=1)
    low, high = (refopt.minimize(p, "relu-admm", rho=0.03, steps=800, record_every=800) for p in (whole, few))
    assert len(few.patterns) == 1
    assert low.fun < high.fun - 1e-3
    assert dual_value(whole, low.x) <= low.fun + 1e-9
    with pytest.raises(refopt.errors.ShapeError, match="data"):
        refopt.problem("convex-relu", data=(np.ones((3, 2)), np.ones((3, 2))))
