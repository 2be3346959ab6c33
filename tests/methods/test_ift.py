"""Implicit hypergradients: against the dense one, the stated error, unrolled steps, and what a run reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.bilevel.base import descend, hypergradient
from refopt.core.oracle import Oracle

P = refopt.problem("bilevel-quadratic", seed=3)
X = P.start(1)


def dense(x: Any) -> np.ndarray:
    """The hypergradient's formula at a pair that need not be a best response."""
    g = P.upper_grad(x)
    return g["upper"] + P.B @ np.linalg.solve(P.A, g["lower"])


def implicit(x: Any, name: str, **given: Any) -> np.ndarray:
    return hypergradient(Oracle(P), x, refopt.optimizer(name, **given).inverse)


@pytest.mark.claim("ift-neumann")
def test_error_of_the_series() -> None:
    """K terms leave (I - aH)^(K+1) H⁻¹ ∇_y F of the inverse, so that the hypergradient's error is B times it (1e-12)
    for K = 0 … 8; the fitted rate is 1 - a λ_min to 1e-3, and a above 2/λ_max diverges.
    """
    a, exact = 0.6, dense(X)
    g, errors = P.upper_grad(X)["lower"], []
    for k in (0, 1, 2, 5, 8, 60, 80):
        found = implicit(X, "ift-neumann", alpha=a, terms=k)
        left = np.linalg.matrix_power(np.eye(4) - a * P.A, k + 1) @ np.linalg.solve(P.A, g)
        np.testing.assert_allclose(found - exact, -P.B @ left, rtol=1e-6, atol=1e-12)
        errors.append(np.linalg.norm(found - exact))
    assert (errors[-1] / errors[-2]) ** (1 / 20) == pytest.approx(1 - a * P.lower_strong_convexity, abs=1e-3)
    far = implicit(X, "ift-neumann", alpha=2.1 / P.lower_lipschitz, terms=400)
    assert np.linalg.norm(far - exact) > 1e6


@pytest.mark.identity("ift-neumann")
def test_differentiated_steps() -> None:
    """K terms of size a are the derivative through K + 1 steps of size a from a y that is held (complex steps, 1e-12);
    without the factor a in front the implicit part is 1/a times as large.
    """
    a, k = 0.4, 3
    at = {"upper": X["upper"], "lower": P.response(X["upper"])}
    found = implicit(at, "ift-neumann", alpha=a, terms=k)

    def unrolled(u: np.ndarray) -> Any:
        y = at["lower"].astype(complex)
        for _ in range(k + 1):
            y = y - a * (P.A @ y - P.B.T @ u)
        away = u - P.c
        return y @ P.P @ y / 2 + away @ P.D @ away / 2

    ends = P.upper_grad(at)
    for i in range(3):
        h = 1e-30j * np.eye(3)[i]
        # At a best response the steps do not move, so that F's derivatives are those at the pair.
        assert np.imag(unrolled(at["upper"] + h)) / 1e-30 == pytest.approx(found[i], rel=1e-12)
    raw = implicit(at, "ift-neumann", alpha=a, terms=k, scaled=False)
    np.testing.assert_allclose((raw - ends["upper"]) * a, found - ends["upper"], rtol=1e-12)


@pytest.mark.claim("ift-cg")
def test_conjugate_gradients() -> None:
    """As many passes as unknowns give the dense hypergradient (1e-10); one pass is a step of steepest descent; after k
    passes the error in H's norm is within 2((√κ-1)/(√κ+1))^k.
    """
    exact, g = dense(X), P.upper_grad(X)["lower"]
    np.testing.assert_allclose(implicit(X, "ift-cg", cg_steps=4), exact, rtol=1e-10)
    step = (g @ g) / (g @ P.A @ g) * g
    np.testing.assert_allclose(
        implicit(X, "ift-cg", cg_steps=1), P.upper_grad(X)["upper"] + P.B @ step, rtol=1e-12
    )
    q, root = np.linalg.solve(P.A, g), 5.0**0.5
    for k in (1, 2, 3):
        left = refopt.optimizer("ift-cg", cg_steps=k).inverse(lambda v: P.A @ v, g) - q
        bound = 2 * ((root - 1) / (root + 1)) ** k * np.sqrt(q @ P.A @ q)
        assert 1e-8 < np.sqrt(left @ P.A @ left) <= bound
    o = refopt.optimizer("ift-cg", cg_steps=4, rtol=0.9)
    oracle = Oracle(P)
    hypergradient(oracle, X, o.inverse)
    assert oracle.counts.calls["lower_hvp"] < 4


@pytest.mark.identity("ift-neumann", "ift-cg")
@pytest.mark.parametrize("name", ["ift-neumann", "ift-cg"])
def test_written_out(name: str) -> None:
    """Six steps equal the algorithm written out with dense matrices, a falling rate included, to 1e-12."""
    given = {"terms": 4, "alpha": 0.3} if name == "ift-neumann" else {"cg_steps": 4}
    r = refopt.minimize(
        P, name, X, lr=0.2, lower_lr=0.5, lower_steps=3, schedule=lambda t: 1 / t, steps=6, **given
    )
    u, y = X["upper"], X["lower"]
    series = sum(np.linalg.matrix_power(np.eye(4) - 0.3 * P.A, j) for j in range(5)) * 0.3
    inverse = series if name == "ift-neumann" else np.linalg.inv(P.A)
    for t in range(1, 7):
        for _ in range(3):
            y = y - 0.5 * (P.A @ y - P.B.T @ u)
        u = u - 0.2 / t * (P.D @ (u - P.c) + P.B @ (inverse @ (P.P @ y)))
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-9)
    np.testing.assert_allclose(r.x["lower"], y, rtol=1e-9)
    assert r.state["t"] == 6
    assert r.calls == {"lower_grad": 18, "upper_grad": 6, "lower_hvp": 24, "lower_mixed": 6}
    # By default the series has the lower player's rate.
    assert refopt.optimizer("ift-neumann", lower_lr=0.25, terms=0).inverse(lambda v: v, 1.0) == 0.25


@pytest.mark.claim(
    "ift-neumann", "ift-cg", says="Both reach the solution of a quadratic over a quadratic (1e-6)."
)
@pytest.mark.parametrize("name", ["ift-neumann", "ift-cg"])
def test_solution(name: str) -> None:
    """The known solution; `tol` is held against the hypergradient and the lower gradient."""
    p = refopt.problem("bilevel-quadratic", n_upper=2, n_lower=2, condition_number=2.0, seed=1)
    more = {"terms": 40} if name == "ift-neumann" else {}
    r = refopt.minimize(p, name, **more, lr=0.3, lower_lr=1.0, lower_steps=6, steps=200, tol=1e-7)
    assert r.status == "converged"
    for player in ("upper", "lower"):
        np.testing.assert_allclose(r.x[player], p.solution[player], atol=1e-6)


@pytest.mark.identity("ridge-hyperparameter", "bilevel-quadratic")
@pytest.mark.parametrize("single", [True, False])
def test_closed_forms(single: bool) -> None:
    """Responses are stationary and closed hypergradients are the implicit ones, by conjugate gradients (1e-9)."""
    for p in (refopt.problem("ridge-hyperparameter", blocks=3, single=single), P):
        u = p.start(2)["upper"]
        x = {"upper": u, "lower": p.response(u)}
        assert np.max(np.abs(p.lower_grad(x)["lower"])) < 1e-13
        o = refopt.optimizer("ift-cg", cg_steps=40, rtol=1e-14)
        np.testing.assert_allclose(hypergradient(Oracle(p), x, o.inverse), p.hypergradient(u), rtol=1e-9)


def test_both_levels_are_reported() -> None:
    """F and f at the end, and in the history where whole evaluations are asked for; descent of the lower level alone."""
    r = refopt.minimize(P, "ift-cg", X, steps=4, record="full", record_every=1)
    assert r.fun == float(P.upper_value(r.x)) and r.lower_fun == float(P.lower_value(r.x))
    assert r.history["value"][-1] == r.fun and r.history["lower_value"][-1] == r.lower_fun
    assert r.history["lower_value"][0] == float(P.lower_value(X)) and len(r.history["step"]) == 5
    s = refopt.minimize(P, "ift-cg", X, steps=4, record_every=1)
    assert np.all(np.isnan(s.history["lower_value"][:-1])) and s.history["lower_value"][-1] == s.lower_fun
    assert refopt.minimize(refopt.problem("quadratic", n=2), "sgd", steps=1).lower_fun is None
    y = descend(Oracle(P), X, 1.0, 200)["lower"]
    np.testing.assert_allclose(y, P.response(X["upper"]), rtol=1e-9)


@pytest.mark.identity("ift-neumann", "ift-cg")
def test_measure_of_the_tolerance() -> None:
    """`tol` is held against the larger of the lower gradient's and the dense hypergradient's largest entry (1e-9)."""
    o = refopt.optimizer("ift-cg")
    solved = {"upper": P.solution["upper"], "lower": P.solution["lower"] + 1e-3}
    for x in (X, solved, {"upper": X["upper"], "lower": P.response(X["upper"])}):
        want = max(np.max(np.abs(P.lower_grad(x)["lower"])), np.max(np.abs(dense(x))))
        assert o.stationarity(x, o.init(x), Oracle(P)) == pytest.approx(want, rel=1e-9)
    near = {"upper": np.zeros(3), "lower": np.full(4, 10.0)}
    assert o.stationarity(near, o.init(near), Oracle(P)) == pytest.approx(
        np.max(np.abs(dense(near))), rel=1e-9
    )
    game = refopt.problem("bilinear-game")
    with pytest.raises(refopt.errors.CapabilityError, match="tol, which is held against the hypergradient"):
        refopt.minimize(game, "lv-hba", tol=1e-3)


@pytest.mark.identity("ift-neumann", "ift-cg")
def test_what_is_missing_is_said() -> None:
    """A problem of one level, a start without players, an update without an oracle, and a run that diverges: typed
    errors, and a status.
    """
    with pytest.raises(refopt.errors.CapabilityError, match="bilevel-quadratic"):
        refopt.minimize(refopt.problem("quadratic", n=2), "ift-cg")
    o = refopt.optimizer("ift-cg")
    with pytest.raises(refopt.errors.ArgumentTypeError, match="x: wanted a dict"):
        o.init(np.ones(2))
    with pytest.raises(refopt.errors.ArgumentError, match="names upper and lower"):
        o.init({"w": np.ones(2)})
    with pytest.raises(refopt.errors.CapabilityError, match="update"):
        o.update(X, X, o.init(X))
    assert refopt.minimize(P, "ift-cg", lower_lr=1e200, lower_steps=50, steps=10).status == "diverged"
