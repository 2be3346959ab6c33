"""MAID: written out from its boxes, certain descent of the true objective, and the limit of exact solves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

P = refopt.problem("bilevel-quadratic", n_upper=2, n_lower=3, condition_number=2.0, seed=2)
X = P.start(1)
MU, TOP = P.lower_strong_convexity, P.lower_lipschitz


def phi(u: np.ndarray) -> float:
    return float(P.upper_value({"upper": u, "lower": P.response(u)}))


def solved(u: np.ndarray, y: np.ndarray, eps: float) -> np.ndarray:
    z, root = y, np.sqrt(MU / TOP)
    while np.linalg.norm(P.A @ z - P.B.T @ u) > eps * MU:
        new = z - (P.A @ z - P.B.T @ u) / TOP
        y, z = new, new + (1 - root) / (1 + root) * (new - y)
    return z


def conjugate(b: np.ndarray, delta: float) -> np.ndarray:
    q, r = np.zeros_like(b), b
    d = r
    while np.linalg.norm(r) > delta:
        a = r @ r / (d @ P.A @ d)
        q, new = q + a * d, r - a * (P.A @ d)
        d, r = new + (new @ new) / (r @ r) * d, new
    return q


@pytest.mark.identity("maid")
@pytest.mark.parametrize(("lj", "lh", "beta0"), [(0.0, 0.0, 0.1), (0.02, 0.03, 5.0)])
def test_written_out(lj: float, lh: float, beta0: float) -> None:
    """Eight steps equal both boxes written out, solvers and bounds included, to 1e-9; with a large first step trials are
    refused, and with loose starts the accuracy is raised.
    """
    given: dict[str, Any] = {
        "eps": 0.5,
        "delta": 0.4,
        "eta": 0.05,
        "decrease": 0.3,
        "rho": 0.6,
        "tau": 0.7,
        "nu": 1.2,
    }
    r = refopt.minimize(
        P, "maid", X, lr=beta0, **given, mixed_lipschitz=lj, inverse_lipschitz=lh, schedule=lambda t: 1 / t, trials=2,
        steps=8,
    )  # fmt: skip
    L, J = float(np.linalg.eigvalsh(P.P)[-1]), float(np.linalg.norm(P.B, 2))
    u, y, eps, delta, beta = X["upper"], X["lower"], 0.5, 0.4, beta0
    refused = raised = 0

    def F(u: np.ndarray, y: np.ndarray) -> float:
        return float(P.upper_value({"upper": u, "lower": y}))

    for t in range(1, 9):
        done, retry = False, 0
        while not done:
            y = solved(u, y, eps)
            g = P.P @ y
            size = np.linalg.norm(g)
            p = P.D @ (u - P.c) + P.B @ conjugate(g, delta)
            c = L * J / MU + lh * size * J + lj * size / MU
            if c * eps + J / MU * delta + lj / MU * eps**2 > 0.95 * np.linalg.norm(p):
                eps, delta, retry, raised = 0.7 * eps, 0.7 * delta, retry + 1, raised + 1
                continue
            for i in range(2 + retry):
                v = u - beta / t * 0.6**i * p
                w = solved(v, y, eps)
                most = F(v, w) + np.linalg.norm(P.P @ w) * eps + L * eps**2 / 2
                if most - (F(u, y) - size * eps) <= -0.3 * 0.05 * beta / t * 0.6**i * (p @ p):
                    u, y, done = v, w, True
                    beta, eps, delta = 10 / 9 * beta * 0.6**i, 1.2 * eps, 1.2 * delta
                    break
                refused += 1
            if not done:
                eps, delta, retry = 0.7 * eps, 0.7 * delta, retry + 1
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-9)
    np.testing.assert_allclose(r.x["lower"], y, rtol=1e-9)
    np.testing.assert_allclose([r.state[k] for k in ("eps", "delta", "beta")], [eps, delta, beta], rtol=1e-12)
    assert raised > 0 and refused > 0 and r.state["t"] == 8


@pytest.mark.claim("maid")
@pytest.mark.parametrize("start", [1.0, 1e-3])
def test_certain_descent(start: float) -> None:
    """From loose and from tight accuracies every step of x decreases the true F(x, y*(x)), never the other way, and 12
    steps come to the least one within a hundredth of the first gap.
    """
    seen = [X["upper"]]
    r = refopt.minimize(
        P, "maid", X, eps=start, delta=start, steps=12, callback=lambda x: seen.append(x["upper"].copy())
    )
    values = [phi(u) for u in seen]
    for a, b, u, v in zip(values, values[1:], seen, seen[1:]):
        assert b < a or np.array_equal(u, v) or a - P.optimum < 1e-12
    assert phi(r.x["upper"]) - P.optimum < 1e-2 * (values[0] - P.optimum)


@pytest.mark.claim("maid")
def test_exact_solves_are_armijo() -> None:
    """As ε and δ go to zero it is gradient descent on F(x, y*(x)) with Armijo's backtracking of the constant λ η: with
    1e-13, five steps of which three have refused trials, to 1e-10.
    """
    r = refopt.minimize(
        P,
        "maid",
        X,
        lr=9.0,
        eps=1e-13,
        delta=1e-13,
        nu=1.0,
        eta=0.5,
        decrease=0.9,
        rho=0.7,
        trials=20,
        steps=5,
    )
    u, beta, refused = X["upper"], 9.0, []
    for _ in range(5):
        p, i = P.hypergradient(u), 0
        while phi(u - beta * p) - phi(u) > -0.45 * beta * (p @ p):
            beta, i = 0.7 * beta, i + 1
        u, beta = u - beta * p, 10 / 9 * beta
        refused.append(i)
    assert refused == [7, 0, 0, 1, 1]
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-10)
    assert r.state["beta"] == pytest.approx(beta, rel=1e-12)


@pytest.mark.claim("maid")
@pytest.mark.parametrize("start", [100.0, 1e-2])
def test_converges_from_any_accuracy(start: float) -> None:
    """From accuracies of 100 and of 0.01, in 18 steps the true hypergradient falls below 1e-3 of its first length, and ε
    with it; every step's direction p is nearer to the hypergradient than (1 - η) ‖p‖ = ‖p‖/100.
    """
    o, oracle, x = refopt.optimizer("maid", eps=start, delta=start, eta=0.99, nu=1.25), Oracle(P), X
    s, nearness = o.init(x), []
    for t in range(1, 19):
        oracle.begin(t)
        before, (x, s) = x["upper"], o.step(x, s, oracle)
        p = (before - x["upper"]) / (0.9 * s["beta"])
        nearness.append(np.linalg.norm(p - P.hypergradient(before)) / np.linalg.norm(p))
    assert max(nearness) <= 0.01
    length = np.linalg.norm(P.hypergradient(x["upper"]))
    assert length < 1e-3 * np.linalg.norm(P.hypergradient(X["upper"])) and s["eps"] < length


@pytest.mark.identity("maid")
def test_it_stands_where_rounding_does() -> None:
    """At the solution, where no decrease is certain any more, a step is one round of its ten trials, x stays bit for bit, and ε does
    not fall below what y can have.
    """
    r = refopt.minimize(P, "maid", X, steps=40)
    assert np.linalg.norm(P.hypergradient(r.x["upper"])) < 1e-7
    more = refopt.minimize(P, "maid", X, steps=60)
    np.testing.assert_array_equal(more.x["upper"], r.x["upper"])
    assert more.state["eps"] > 1e-17
    assert more.calls["upper_value"] - r.calls["upper_value"] == 20 * 11


def test_bounds_must_be_known() -> None:
    """A problem without them names the hyperparameter; no step without an accepted trial moves x."""
    with pytest.raises(refopt.errors.ArgumentError, match="give strong_convexity="):
        refopt.minimize(refopt.problem("ridge-hyperparameter"), "maid", steps=1)
    r = refopt.minimize(P, "maid", X, retries=1, eps=1e3, steps=1)
    np.testing.assert_array_equal(r.x["upper"], X["upper"])
    assert r.state["eps"] == 500.0
