"""sl-BAMM and LV-HBA: written out with matrices, fixed points in closed form, many lower solutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

P = refopt.problem("bilevel-quadratic", seed=3)
X = P.start(1)
SCALAR = refopt.problem("bilevel-quadratic", scalar=True)
FLAT = refopt.problem("merely-convex-lower", n=2)


@pytest.mark.identity("bamm")
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("frozen", [None, 0.2])
def test_bamm_written_out(exact: bool, frozen: float | None) -> None:
    """Eight steps equal the algorithm written out with the matrices of ψ, schedules included, to 1e-11."""
    r = refopt.minimize(
        P, "bamm", X, lr=0.3, lower_lr=0.2, multiplier_lr=0.4, mu=0.7, p=3.0, tau=0.3, exact_multiplier=exact,
        frozen_mu=frozen, schedule=lambda t: 1 / t, steps=8,
    )  # fmt: skip
    u, y, v = X["upper"], X["lower"], np.zeros(4)
    for k in range(8):
        m = 0.7 * (k + 1) ** (-1 / 3)
        w = m if frozen is None else frozen
        H = (1 - w) * P.A + w * P.P
        res = H @ v - P.P @ y
        eta = res @ res / (res @ H @ res) if exact else 0.4 * (k + 1) ** -0.15
        du = P.D @ (u - P.c) + (1 - w) * P.B @ v
        dy = (1 - w) * (P.A @ y - P.B.T @ u) + w * P.P @ y
        u, y, v = u - 0.3 / (k + 1) * (k + 1) ** -0.45 * m**3 * du, y - 0.2 * dy, v - eta * res
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-11)
    np.testing.assert_allclose(r.x["lower"], y, rtol=1e-11)
    np.testing.assert_allclose(r.state["v"], v, rtol=1e-11)
    assert r.state["t"] == 8


@pytest.mark.identity("bamm")
def test_bamm_with_terms_of_both() -> None:
    """F's own mixed derivative has its share: against y_2 of the toy problem, written out, to 1e-12."""
    x = FLAT.start(1)
    r = refopt.minimize(FLAT, "bamm", x, lr=0.3, mu=0.5, p=2.0, tau=0.0, steps=5)
    u, y, v = x["upper"], x["lower"], np.zeros((2, 2))
    for k in range(5):
        m = 0.5 * (k + 1) ** -0.5
        Fy = np.stack([y[0] - 1, y[1] - u])
        fy = np.stack([y[0] - u, 0 * u])
        Hv = (1 - m) * np.stack([v[0], 0 * u]) + m * v
        du = (u - y[1]) - ((1 - m) * -v[0] + m * -v[1])
        u, y, v = u - 0.3 * m**3 * du, y - 0.1 * ((1 - m) * fy + m * Fy), v - 0.1 * (Hv - Fy)
    np.testing.assert_allclose(r.x["upper"], u, rtol=1e-12)
    np.testing.assert_allclose(r.state["v"], v, rtol=1e-12)


@pytest.mark.identity("bamm")
def test_bamm_first_step() -> None:
    """With μ = 0 the first step of x is α ∇_x F, from v = 0; a multiplier's steepest descent along which ψ has no
    curvature, or no residual, does not move.
    """
    r = refopt.minimize(P, "bamm", X, mu=0.0, steps=1)
    np.testing.assert_allclose(r.x["upper"], X["upper"] - 0.1 * P.upper_grad(X)["upper"], rtol=1e-13)
    for level in (0.5, 1.0):
        at = {"upper": np.ones(2), "lower": np.stack([np.ones(2), level * np.ones(2)])}
        r = refopt.minimize(FLAT, "bamm", at, mu=0.0, exact_multiplier=True, steps=1)
        np.testing.assert_array_equal(r.state["v"], 0.0)


@pytest.mark.claim("bamm")
def test_bamm_fixed_points() -> None:
    """At a fixed μ the scalar problem ends at x = 1/(1 + (1-μ)²), y = v = (1-μ) x: 0.552486 and 0.497238 at 0.1 (1e-9);
    μ = 0, for strong convexity below, gives the solution and asks F for no second derivative.
    """
    given: dict[str, Any] = {"lr": 0.3, "lower_lr": 0.3, "multiplier_lr": 0.3, "tau": 0.0, "steps": 400}
    r = refopt.minimize(SCALAR, "bamm", frozen_mu=0.1, p=1e9, **given)
    assert r.x["upper"][0] == pytest.approx(0.5524861878453039, abs=1e-9)
    assert r.x["lower"][0] == pytest.approx(0.49723756906077354, abs=1e-9)
    r = refopt.minimize(SCALAR, "bamm", mu=0.0, **given)
    assert r.x["upper"][0] == pytest.approx(0.5, abs=1e-9)
    assert set(r.calls) == {"upper_grad", "lower_grad", "lower_hvp", "lower_mixed"}


@pytest.mark.identity("bamm")
def test_bamm_without_second_derivatives_of_the_upper_objective() -> None:
    """With μ = 0 it runs where F has none, and at the rate 0 for x the multiplier becomes H⁻¹ ∇_y F (1e-9); where F has a
    share, in ψ or in x's rate and ψ, it is refused by name.
    """
    p = refopt.problem("ridge-hyperparameter", n=3)
    rate = 1 / float(np.linalg.eigvalsh(p.hessians(p.start()["upper"])).max())
    r = refopt.minimize(p, "bamm", mu=0.0, lr=0.0, lower_lr=rate, multiplier_lr=rate, tau=0.0, steps=300)
    want = np.linalg.solve(p.hessians(r.x["upper"])[0], p.upper_grad(r.x)["lower"][0])
    np.testing.assert_allclose(r.state["v"][0], want, atol=1e-9)
    for given in ({"mu": 0.5}, {"mu": 0.0, "frozen_mu": 0.1}):
        with pytest.raises(refopt.errors.CapabilityError, match="upper_hvp"):
            refopt.minimize(p, "bamm", steps=1, **given)
    assert "upper_hvp" not in refopt.optimizer("bamm", frozen_mu=0.0).needs


@pytest.mark.claim("bamm", "merely-convex-lower")
def test_bamm_among_many_solutions() -> None:
    """Where y_2 is free below, implicit differentiation has no inverse; sl-BAMM comes from 1 away to within 0.08 of the
    optimistic solution, all ones, in 1600 steps, and nearer to it with every doubling.
    """
    away = []
    for steps in (400, 800, 1600):
        r = refopt.minimize(
            FLAT, "bamm", {"upper": 0 * np.ones(2), "lower": np.zeros((2, 2))}, lr=0.5, steps=steps
        )
        away.append(max(np.max(np.abs(v - 1.0)) for v in r.x.values()))
    assert away[0] > away[1] > away[2] and away[2] < 0.08
    assert (
        np.linalg.matrix_rank(np.array([FLAT.lower_hvp(r.x, v.reshape(2, 2)).ravel() for v in np.eye(4)]))
        == 2
    )


@pytest.mark.identity("lv-hba")
def test_lv_hba_written_out() -> None:
    """On the constrained toy, ten steps equal the algorithm written out, multipliers and projections included (1e-12);
    with a bound of 0.01 the multipliers stay at it.
    """
    p = refopt.problem("merely-convex-lower", n=2, constrained=True)
    x, lr, eta, beta, g1, g2, c = p.start(2), 0.02, 0.05, 0.03, 5.0, 4.0, 0.5
    for bound in (1000.0, 0.01):
        r = refopt.minimize(
            p, "lv-hba", x, lr=lr, eta=eta, beta=beta, gamma1=g1, gamma2=g2, c=c, p=0.4, bound=bound,
            schedule=lambda t: 1 / t, steps=10,
        )  # fmt: skip
        u, y, th, lam, z = x["upper"], x["lower"], x["lower"], 0.0, 0.0
        one = np.ones(2)
        for k in range(10):
            ck = c * (k + 1) ** 0.4
            dth = np.stack([th[0] - u, one]) + lam + (th - y) / g1
            dlam = -(u.sum() + th.sum()) + (lam - z) / g2
            th, lam = th - eta * dth, np.clip(lam - eta * dlam, -bound, bound)
            du = (u - y[1]) / ck - y[0] + th[0] - lam
            dy = np.stack([y[0] - 1, y[1] - u]) / ck + np.stack([y[0] - u, one]) - (y - th) / g1
            z = np.clip(z + beta * (lam - z) / g2, -bound, bound)
            u, y = u - lr / (k + 1) * du, y - lr / (k + 1) * dy
            mean = (u.sum() + y.sum()) / 6
            u, y = u - mean, y - mean
        np.testing.assert_allclose(r.x["upper"], u, rtol=1e-12)
        np.testing.assert_allclose(r.x["lower"], y, rtol=1e-12)
        np.testing.assert_allclose(r.state["theta"], th, rtol=1e-12)
        np.testing.assert_allclose([r.state["lam"][0], r.state["z"][0]], [lam, z], rtol=1e-10)
        assert r.state["t"] == 10


@pytest.mark.identity("lv-hba")
def test_lv_hba_inequality() -> None:
    """Multipliers of an inequality are never negative: with the equality's sign said off, λ and z stay at 0 where the
    constraint is slack.
    """
    p = refopt.problem("merely-convex-lower", n=2, constrained=True)
    p.equality = False
    low = {"upper": -np.ones(2), "lower": -np.ones((2, 2))}
    r = refopt.minimize(p, "lv-hba", low, steps=1)
    assert r.state["lam"][0] == 0.0 and r.state["z"][0] == 0.0
    high = {"upper": np.ones(2), "lower": np.ones((2, 2))}
    r = refopt.minimize(p, "lv-hba", high, steps=1)
    assert r.state["lam"][0] == pytest.approx(0.01 * 6)
    free = refopt.minimize(SCALAR, "lv-hba", steps=1)
    assert set(free.state) == {"t", "theta"}
    tight = refopt.minimize(p, "lv-hba", high, bound=0.01, beta=1e3, steps=1)
    assert tight.state["z"][0] == 0.01


@pytest.mark.claim("lv-hba")
@pytest.mark.parametrize("c", [1.0, 5.0])
def test_lv_hba_fixed_point(c: float) -> None:
    """Without constraints, at a fixed penalty c, the scalar problem ends at x = (1 + cκ)/(1 + 2cκ), y = cκ/(1 + 2cκ),
    κ = γ/(1 + γ) (1e-8).
    """
    r = refopt.minimize(SCALAR, "lv-hba", lr=0.2, c=c, p=0.0, gamma1=3.0, eta=0.5, steps=800)
    k = c * 0.75
    assert r.x["upper"][0] == pytest.approx((1 + k) / (1 + 2 * k), abs=1e-8)
    assert r.x["lower"][0] == pytest.approx(k / (1 + 2 * k), abs=1e-8)
    assert set(r.calls) == {"upper_grad", "lower_grad"}


@pytest.mark.claim("lv-hba")
@pytest.mark.parametrize(("c", "gamma1"), [(1.0, 1.0), (10.0, 1.0), (10.0, 3.0)])
def test_lv_hba_among_coupled_constraints(c: float, gamma1: float) -> None:
    """With a lower level of many solutions and a constraint that couples the players, at a fixed penalty c, the toy ends
    at x, y_1, y_2 = -0.3 - 2 k, 0.7 + 3 k, -0.4 - k in every coordinate, k = (1 + 2/γ)/(25 c + 20/γ + 10), and
    λ = z = -1 - 1/(γ (5 c + 4/γ + 2)), to 1e-9: the error is O(1/c), and no second derivative is asked for.
    """
    p = refopt.problem("merely-convex-lower", n=2, constrained=True)
    given: dict[str, Any] = {"lr": 0.2, "eta": 0.2, "beta": 0.5, "gamma2": 1.0, "p": 0.0, "steps": 2000}
    r = refopt.minimize(p, "lv-hba", c=c, gamma1=gamma1, **given)
    k = (1 + 2 / gamma1) / (25 * c + 20 / gamma1 + 10)
    np.testing.assert_allclose(r.x["upper"], -0.3 - 2 * k, rtol=0, atol=1e-9)
    np.testing.assert_allclose(r.x["lower"], [[0.7 + 3 * k] * 2, [-0.4 - k] * 2], rtol=0, atol=1e-9)
    multiplier = -1 - 1 / (gamma1 * (5 * c + 4 / gamma1 + 2))
    np.testing.assert_allclose([r.state["lam"][0], r.state["z"][0]], multiplier, rtol=0, atol=1e-9)
    assert set(r.calls) == {"upper_grad", "lower_grad", "constraint", "constraint_vjp", "project"}


@pytest.mark.identity("merely-convex-lower")
def test_constrained_solution() -> None:
    """-0.3, 0.7 and -0.4 solve the toy with its constraint: of all lower solutions y_1 = x - λ, λ = 1 there, F is least
    at them (a scan of x by 0.01), and the point is feasible.
    """
    p = refopt.problem("merely-convex-lower", n=1, constrained=True)
    assert abs(p.constraint(p.solution)[0]) < 1e-15

    def upper(u: float) -> float:
        # Below: y_1 - x + λ = 0 and 1 + λ = 0, so y_1 = x + 1; then y_2 = -x - y_1.
        y = np.array([[u + 1.0], [-2.0 * u - 1.0]])
        return float(p.upper_value({"upper": np.array([u]), "lower": y}))

    grid = np.arange(-100, 101) / 100
    assert grid[np.argmin([upper(u) for u in grid])] == -0.3
    assert upper(-0.3) == pytest.approx(p.optimum)
