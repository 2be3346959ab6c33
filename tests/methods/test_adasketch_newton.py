"""AdaSketch-Newton: written out, beside SLSQP, its merit, its accuracy, and the problem that it is tried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.linear.iterative_sketching import iterative_sketching
from refopt.optimizers.constrained.adasketch_newton import Lagrangian
from scipy.optimize import minimize

from tests.alike import steps_on
from tests.methods.matrices import close, complex_columns, product_columns

Solve = Callable[..., np.ndarray]


def exactly(A: np.ndarray, b: np.ndarray, z: np.ndarray, rtol: float, seed: int) -> np.ndarray:
    return np.linalg.solve(A, b)


def by_rows(A: np.ndarray, b: np.ndarray, z: np.ndarray, rtol: float, seed: int) -> np.ndarray:
    return iterative_sketching(A, b, z, sketch="kaczmarz", sketch_size=1, rtol=rtol, atol=0.0, seed=seed).x


def written_out(p: Any, steps: int, solve: Solve, **o: Any) -> list[dict[str, Any]]:
    """The method line by line, its norms spectral or Frobenius, and what was decided at each step."""
    x, n, seen = p.start(1), p.dimension, []
    lam, eta1, eta2, delta = np.zeros(p.constraint(x).size), o["eta1"], o["eta2"], o["delta"]
    size = {"spectral": lambda A: np.linalg.svd(A)[1][0], "frobenius": lambda A: np.sum(A**2) ** 0.5}[
        o["norms"]
    ]
    for t in range(1, steps + 1):
        rng = generator(0, "method", t)
        J = complex_columns(p.constraint, x)
        gL, c = p.grad(x) + J.T @ lam, p.constraint(x)
        H = complex_columns(lambda w, lam=lam: p.grad(w) + p.constraint_vjp(w, lam), x)
        m = c.size
        basis = np.linalg.svd(J)[2][m:].T
        flawed = bool(m < n and min(np.linalg.eigvalsh(basis.T @ H @ basis)) < o["curvature"])
        B = H + (o["xi"] + size(H)) * np.eye(n) if flawed else H
        K = np.block([[B, J.T], [J, np.zeros((m, m))]])
        b = -np.concatenate([gL, c])
        xi_G = np.linalg.svd(J)[1][-1] ** 2
        psi = 20 * max(size(B) ** 2, 1) / (min(xi_G, 1) * min(o["xi"], 1))
        upsilon = max(size(J), size(H), 1)

        def limit(eta1: float, eta2: float, upsilon: float = upsilon, psi: float = psi) -> float:
            return (0.5 - o["beta"]) * eta2 / ((1 + eta1 + eta2) * upsilon**2 * psi**2)

        delta = max(min(delta, limit(eta1, eta2)), o["least_delta"])
        z, changes = np.zeros(n + m), 0
        while True:
            rtol = o["theta"](t) * delta / (size(K) * psi)
            z = solve(K, b, z, rtol, int(rng.integers(2**62)))
            merit_slope = np.concatenate([gL + eta2 * H @ gL + eta1 * J.T @ c, c + eta2 * J @ gL]) @ z
            if merit_slope <= -eta2 / 2 * (b @ b):
                break
            eta1, eta2, changes = eta1 * o["nu"] ** 2, eta2 / o["nu"], changes + 1
            delta = max(min(delta / o["nu"] ** 4, limit(eta1, eta2)), o["least_delta"])

        def merit(x: np.ndarray, lam: np.ndarray, eta1: float = eta1, eta2: float = eta2) -> float:
            c, gL = p.constraint(x), p.grad(x) + p.constraint_vjp(x, lam)
            return float(p.value(x) + lam @ c + eta1 / 2 * (c @ c) + eta2 / 2 * (gL @ gL))

        alpha = 1.0
        while merit(x + alpha * z[:n], lam + alpha * z[n:]) > merit(x, lam) + alpha * o["beta"] * merit_slope:
            alpha /= 2
        x, lam = x + alpha * z[:n], lam + alpha * z[n:]
        seen.append({"x": x, "lam": lam, "eta1": eta1, "eta2": eta2, "delta": delta, "flawed": flawed, "alpha": alpha,
            "changes": changes, "b": np.linalg.norm(b)})  # fmt: skip
    return seen


BASE: dict[str, Any] = {"eta1": 1.0, "eta2": 0.1, "delta": 0.1, "least_delta": 0.0, "xi": 0.1, "beta": 0.1, "nu": 1.5,
    "curvature": 1e-6, "norms": "spectral"}  # fmt: skip
OTHER: dict[str, Any] = {"eta1": 0.4, "eta2": 0.9, "delta": 1e-9, "least_delta": 1e-10, "xi": 1.3, "beta": 0.3, "nu": 1.2,
    "curvature": 0.2, "norms": "frobenius"}  # fmt: skip


STRICT: dict[str, Any] = {**BASE, "eta1": 0.02, "eta2": 0.02, "beta": 0.49, "nu": 1.05}


@pytest.mark.identity("adasketch-newton")
@pytest.mark.parametrize("options", [BASE, OTHER, STRICT], ids=["defaults", "others", "strict"])
@pytest.mark.parametrize("size", [(5, 2, 0), (4, 0, 1), (2, 0, 2)])
def test_written_out(options: dict[str, Any], size: tuple[int, int, int]) -> None:
    """x, λ, η1, η2 and δ of six steps, with every sketch as wide as the system, equal the method written out with a direct
    solver, its matrices by complex steps, to 1e-9; steps are halved, Hessians raised and η changed on the way.
    """
    n, planes, seed = size
    p = refopt.problem("constrained-logistic", n=n, planes=planes, l2=0.1, seed=seed)
    o = refopt.optimizer("adasketch-newton", theta=lambda t: 0.8**t, **options)
    for (x, s), want in zip(steps_on(p, o, 6), written_out(p, 6, exactly, theta=lambda t: 0.8**t, **options)):
        np.testing.assert_allclose(x, want["x"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(s["multipliers"], want["lam"], rtol=0, atol=1e-9)
        for key in ("eta1", "eta2", "delta"):
            assert s[key] == pytest.approx(want[key], rel=1e-7)


@pytest.mark.identity("adasketch-newton")
def test_everything_happens() -> None:
    """In the runs above there are steps of 1 and shorter ones, raised Hessians and others, and changes of η, of one step more
    than one.
    """
    seen = []
    for n, planes, seed in ((5, 2, 0), (4, 0, 1), (2, 0, 2)):
        p = refopt.problem("constrained-logistic", n=n, planes=planes, l2=0.1, seed=seed)
        for options in (BASE, OTHER, STRICT):
            seen += written_out(p, 6, exactly, theta=lambda t: 0.8**t, **options)
    assert {s["flawed"] for s in seen} == {True, False}
    assert {s["alpha"] for s in seen} > {1.0, 0.5}
    assert {s["changes"] for s in seen} > {0, 1}


@pytest.mark.identity("adasketch-newton")
def test_one_row_at_a_time() -> None:
    """Two steps by Kaczmarz sketches equal the method written out with that solver stopped where it says, to 1e-11; every
    direction has ``∇L_ηᵀ z <= -η2/2 ‖b‖²``, though the system is not solved exactly: x differs from the exact run.
    """
    p = refopt.problem("constrained-logistic", n=2, planes=0, l2=0.1)
    options = {**BASE, "norms": "frobenius", "delta": 0.02, "least_delta": 0.02}
    o = refopt.optimizer("adasketch-newton", sketch="kaczmarz", sketch_size=1, theta=3.0, **options)
    want = written_out(p, 2, by_rows, theta=lambda t: 3.0, **options)
    other = written_out(p, 2, exactly, theta=lambda t: 3.0, **options)
    for (x, s), w in zip(steps_on(p, o, 2), want):
        np.testing.assert_allclose(x, w["x"], rtol=1e-11)
        np.testing.assert_allclose(s["multipliers"], w["lam"], rtol=1e-11)
    assert np.max(np.abs(want[-1]["x"] - other[-1]["x"])) > 1e-9


@pytest.mark.identity("adasketch-newton")
def test_when_no_descent_is_found() -> None:
    """After single sketches of a system that is far from solved, η changes until η2 is below 1e-8, or η1 above 1e8, and no
    further: once from 1.5e-8 by ν = 2, twice from 3e-8, and from η1 = 5e7 once.
    """
    p = refopt.problem("constrained-logistic", n=3, planes=0)
    found = set()
    for eta1, eta2 in ((1.0, 1.5e-8), (1.0, 3e-8), (5e7, 0.1)):
        o = refopt.optimizer(
            "adasketch-newton", sketch="kaczmarz", sketch_size=1, maxiter=1, eta1=eta1, eta2=eta2, nu=2.0
        )
        for seed in range(15):
            oracle = Oracle(p, seed)
            oracle.begin(1)
            s = o.step(p.start(1), o.init(p.start(1)), oracle)[1]
            found.add((eta1, eta2, round(np.log2(eta2 / s["eta2"]))))
            assert s["eta1"] / eta1 == pytest.approx((eta2 / s["eta2"]) ** 2, rel=1e-12)
    assert min(k for *_, k in found) == 0
    assert max(k for *start, k in found if start == [1.0, 1.5e-8]) == 1
    assert max(k for *start, k in found if start == [1.0, 3e-8]) == 2
    assert max(k for *start, k in found if start == [5e7, 0.1]) == 1


@pytest.mark.claim("adasketch-newton")
def test_local_rate() -> None:
    """Near the solution full steps converge quadratically, as Newton's on the Lagrangian does: the residual of the optimality
    conditions goes below a hundred times its square from 1e-2 on, to 1e-12, with c = 0, at SLSQP's solution (1e-6).
    """
    p = refopt.problem("constrained-logistic", n=5, planes=2, l2=0.1)
    best = minimize(p.value, p.start(1), jac=p.grad, method="SLSQP", constraints={"type": "eq", "fun": p.constraint},
        options={"ftol": 1e-15, "maxiter": 200})  # fmt: skip
    o = refopt.optimizer("adasketch-newton")
    runs = steps_on(p, o, 14)
    left = [o.stationarity(x, s, Oracle(p)) for x, s in runs]
    first = next(i for i, v in enumerate(left) if v < 1e-2)
    for a, b in zip(left[first:], left[first + 1 :]):
        assert b < 100 * a * a + 1e-13
    assert left[-1] < 1e-12
    np.testing.assert_allclose(runs[-1][0], best.x, atol=1e-6)
    assert float(p.value(runs[-1][0])) <= float(best.fun) + 1e-9


@pytest.mark.claim("adasketch-newton")
def test_merit() -> None:
    """∇L_η is the gradient of L_η by x and λ, by differences, to 1e-7, on a curved constraint; with ∇²f in place of ∇²_x L, as
    the authors' code has it, it is not, by more than 1e-2.
    """
    p = refopt.problem("constrained-logistic", n=4, planes=1)
    rng = np.random.default_rng(0)
    x, lam, eta1, eta2 = rng.standard_normal(4), rng.standard_normal(2), 0.7, 0.3
    at = Lagrangian(x, lam, Oracle(p))
    claimed = at.merit_gradient(at.hessian(), at.jacobian(), eta1, eta2)
    whole = np.concatenate([x, lam])

    def merit(w: np.ndarray) -> float:
        return Lagrangian(w[:4], w[4:], Oracle(p)).merit(eta1, eta2)

    h = 1e-5
    slopes = [(merit(whole + h * e) - merit(whole - h * e)) / (2 * h) for e in np.eye(6)]
    np.testing.assert_allclose(claimed, slopes, atol=1e-7)
    plain = at.merit_gradient(product_columns(lambda v: p.hvp(x, v), x), at.jacobian(), eta1, eta2)
    assert np.max(np.abs(plain - slopes)) > 1e-2


@pytest.mark.identity("adasketch-newton")
def test_leaves_and_its_measure() -> None:
    """With x cut into two leaves the run is the same, to 1e-12; its measure is the largest entry of ∇_x L and c (1e-13)."""
    p = refopt.problem("constrained-logistic", n=4, planes=1)

    def whole(x: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([x["a"].ravel(), x["b"]])

    def cut(g: np.ndarray) -> dict[str, np.ndarray]:
        return {"a": g[:2].reshape(1, 2), "b": g[2:]}

    q = refopt.from_functions(
        lambda x: p.value(whole(x)), lambda x: cut(p.grad(whole(x))), hvp=lambda x, v: cut(p.hvp(whole(x), whole(v))),
        constraint=lambda x: p.constraint(whole(x)), constraint_vjp=lambda x, u: cut(p.constraint_vjp(whole(x), u)),
        constraint_hvp=lambda x, u, v: cut(p.constraint_hvp(whole(x), u, whole(v))), x0=cut(p.start(1)),
    )  # fmt: skip
    o = refopt.optimizer("adasketch-newton")
    x, s = steps_on(p, o, 3)[-1]
    np.testing.assert_allclose(whole(refopt.minimize(q, o, steps=3).x), x, rtol=1e-12)
    gL = p.grad(x) + complex_columns(p.constraint, x).T @ s["multipliers"]
    want = max(np.max(np.abs(gL)), np.max(np.abs(p.constraint(x))))
    assert o.stationarity(x, s, Oracle(p)) == pytest.approx(want, rel=1e-13)
    low, _ = steps_on(p, o, 1)[0]
    far = -np.max(np.abs(p.grad(-low))), o.stationarity(-low, o.init(low), Oracle(p))
    assert far[1] == pytest.approx(max(-far[0], np.max(np.abs(p.constraint(-low)))), rel=1e-13)


def test_where_it_stops() -> None:
    """A solution stays; constraints whose gradients depend on each other end the run; θ must be a number."""
    p = refopt.from_functions(
        lambda x: float(x @ x) / 2, lambda x: x.copy(), hvp=lambda x, v: v.copy(), x0=np.array([1.0, 2.0]),
        constraint=lambda x: np.array([x[0], 2 * x[0]]), constraint_vjp=lambda x, u: np.array([u[0] + 2 * u[1], 0.0]),
        constraint_hvp=lambda x, u, v: 0.0 * v,
    )  # fmt: skip
    r = refopt.minimize(p, "adasketch-newton", steps=3)
    assert (r.status, r.nit) == ("diverged", 0)
    assert "linearly dependent" in r.message
    r = refopt.minimize(p, "adasketch-newton", np.zeros(2), steps=3, tol=1e-9)
    assert r.status == "converged"
    o = refopt.optimizer("adasketch-newton")
    x, s = o.step(np.zeros(2), o.init(np.zeros(2)), Oracle(p))
    np.testing.assert_array_equal(x, 0.0)
    assert s["t"] == 1
    with pytest.raises(refopt.errors.ArgumentTypeError, match="theta"):
        refopt.optimizer("adasketch-newton", theta="small")


@pytest.mark.identity("constrained-logistic")
@pytest.mark.parametrize(("n", "planes"), [(2, 0), (4, 2)])
def test_derivatives_of_the_constraint(n: int, planes: int) -> None:
    """c is ``[A x - b; ‖x‖² - 1]``; its Jacobian and the Hessian of its product with u equal complex steps; the objective is that
    of `logistic` on the same data.
    """
    p = refopt.problem("constrained-logistic", n=n, planes=planes, l2=0.2)
    rng = np.random.default_rng(n)
    x, u = rng.standard_normal(n), rng.standard_normal(planes + 1)
    np.testing.assert_allclose(p.constraint(x), [*(p.planes @ x - p.offsets), x @ x - 1.0], rtol=1e-14)
    jacobian = complex_columns(p.constraint, x)
    close(product_columns(lambda w: p.constraint_vjp(x, w), u), jacobian.T)
    close(
        product_columns(lambda v: p.constraint_hvp(x, u, v), x),
        complex_columns(lambda w: p.constraint_vjp(w, u), x),
    )
    same = refopt.problem("logistic", data=(p.inputs, p.labels), l2=0.2, intercept=False)
    assert float(same.value(x)) == float(p.value(x))
    np.testing.assert_array_equal(same.hvp(x, x), p.hvp(x, x))
    with pytest.raises(refopt.errors.ShapeError, match="u: wanted shape"):
        p.constraint_vjp(x, np.ones(planes + 2))
    with pytest.raises(refopt.errors.ArgumentError, match="planes"):
        refopt.problem("constrained-logistic", n=3, planes=2)


@pytest.mark.claim("constrained-logistic")
def test_feasible_points_exist() -> None:
    """SLSQP finds feasible points of every seed to 1e-9, and starts are on the sphere."""
    for seed in range(4):
        p = refopt.problem("constrained-logistic", n=5, planes=3, seed=seed)
        x = p.start(seed)
        assert np.linalg.norm(x) == pytest.approx(1.0, rel=1e-14)
        found = minimize(lambda x: 0.0, x, method="SLSQP", constraints={"type": "eq", "fun": p.constraint})
        assert np.max(np.abs(p.constraint(found.x))) < 1e-6
