"""What Chizat et al. claim of scaling for unbalanced transport, its identities, and POT and OTT beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.transport.sinkhorn_log import sinkhorn_log
from refopt.transport.sinkhorn_unbalanced import sinkhorn_unbalanced

from tests.parity.case import Arrays, Case
from tests.parity.peers.transport import _problem, _quiet

INF = np.inf


def _unequal(seed: int, n: int = 7, m: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, C = _problem(seed, n, m)
    return 1.3 * a, 0.8 * b, C


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    used = p > 0
    return float((p[used] * np.log(p[used] / q[used])).sum() - p.sum() + q.sum())


def _objective(P: np.ndarray, problem: Any, reg: float, reg_a: float, reg_b: float, form: str) -> float:
    a, b, C = problem
    used = P[P > 0]
    omega = (used * np.log(used)).sum() - P.sum() if form == "entropy" else _kl(P, a[:, None] * b)
    rows = reg_a * _kl(P.sum(1), a) if reg_a < INF else 0.0
    columns = reg_b * _kl(P.sum(0), b) if reg_b < INF else 0.0
    return float((P * C).sum() + reg * omega + rows + columns)


@pytest.mark.identity("sinkhorn-unbalanced")
@pytest.mark.parametrize("form", ["entropy", "kl"])
@pytest.mark.parametrize("penalties", [(0.5, 0.5), (0.3, 2.0), (INF, 0.4), (0.7, INF)])
def test_optimality(form: str, penalties: tuple[float, float]) -> None:
    """The value is the objective, written out, and the dual's, to 1e-11; 20 random changes of the plan, with the marginals
    that must hold kept, cost more, with slope 0; the plan is that of the potentials.
    """
    problem = _unequal(0)
    a, b, C = problem
    reg = 0.1
    r = sinkhorn_unbalanced(a, b, C, reg, *penalties, form=form, tol=1e-14)
    value = _objective(r.plan, problem, reg, *penalties, form)
    np.testing.assert_allclose([r.value, r.dual_value], value, rtol=1e-11)
    f, g = r.potentials
    reference = 1.0 if form == "entropy" else a[:, None] * b
    np.testing.assert_allclose(r.plan, reference * np.exp((f[:, None] + g - C) / reg), rtol=1e-12)
    if penalties[0] == INF:
        np.testing.assert_allclose(r.plan.sum(1), a, rtol=0, atol=1e-13)
    if penalties[1] == INF:
        np.testing.assert_allclose(r.plan.sum(0), b, rtol=0, atol=1e-13)
    rng = np.random.default_rng(0)
    for _ in range(20):
        move = rng.standard_normal(C.shape)
        if penalties[0] == INF:
            move -= move.mean(1)[:, None]
        if penalties[1] == INF:
            move -= move.mean(0)
        move *= 0.3 * np.min(r.plan / np.abs(move))
        up, down = (_objective(r.plan + s * move, problem, reg, *penalties, form) for s in (1e-3, -1e-3))
        far = _objective(r.plan + move, problem, reg, *penalties, form) - value
        assert far > 0 and abs(up - down) / 2e-3 < 1e-3 * far + 1e-10
    early = sinkhorn_unbalanced(a, b, C, reg, *penalties, form=form, tol=0.0, maxiter=1)
    assert early.dual_value < value and early.status == "iterations"


@pytest.mark.identity("sinkhorn-unbalanced")
def test_the_limits() -> None:
    """Both penalties infinite: sinkhorn's plan, pass by pass, to 1e-13, in both forms at the end. A penalty of 1e5 comes within
    1e-5 of it. Small penalties: no more is carried than is worth its way; the passes written out as scalings, to 1e-12.
    """
    a, b, C = _problem(1, 7, 5)
    for passes in (1, 3, 20):
        r = sinkhorn_unbalanced(a, b, C, 0.1, INF, tol=0.0, maxiter=passes)
        np.testing.assert_allclose(
            r.plan, sinkhorn_log(a, b, C, 0.1, tol=0.0, maxiter=passes).plan, rtol=0, atol=1e-13
        )
    want = sinkhorn_log(a, b, C, 0.1, tol=1e-13).plan
    np.testing.assert_allclose(
        sinkhorn_unbalanced(a, b, C, 0.1, INF, form="kl", tol=1e-13).plan, want, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(sinkhorn_unbalanced(a, b, C, 0.1, 1e5, tol=1e-5).plan, want, rtol=0, atol=1e-5)
    a, b, C = _unequal(2)
    K, u, v = np.exp(-C / 0.1), np.ones(7), np.ones(5)
    for passes in (1, 2, 3):
        u = (a / (K @ v)) ** (0.3 / 0.4)
        v = (b / (K.T @ u)) ** (2.0 / 2.1)
        r = sinkhorn_unbalanced(a, b, C, 0.1, 0.3, 2.0, tol=0.0, maxiter=passes)
        np.testing.assert_allclose(r.plan, u[:, None] * K * v, rtol=1e-12)
    far = sinkhorn_unbalanced(a, b, C + 10, 0.01, 0.1, tol=1e-15)
    assert far.plan.sum() < 1e-12


@pytest.mark.claim("sinkhorn-unbalanced")
def test_how_much_is_carried() -> None:
    """At the optimum the value is ``ρ_a (m_a - m) + ρ_b (m_b - m) - ε m`` for the mass m of the plan (1e-10): more is carried as penalties
    grow, less as all costs do; semi-relaxed, m is the mass that must be met, and a row thirty times as far as others is all but left
    behind where its own mass need not be.
    """
    rng = np.random.default_rng(5)
    a, b, C = 2.0 * rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5)), rng.random((6, 5))
    eps, masses = 0.05, []
    for rho_a, rho_b in ((0.1, 0.2), (0.5, 0.5), (2.0, 3.0)):
        r = sinkhorn_unbalanced(a, b, C, eps, rho_a, rho_b, tol=1e-13, maxiter=50_000)
        m = float(r.plan.sum())
        want = rho_a * (a.sum() - m) + rho_b * (b.sum() - m) - eps * m
        assert float(r.value) == pytest.approx(want, abs=1e-10)
        masses.append(m)
        dear = sinkhorn_unbalanced(a, b, 2 * C, eps, rho_a, rho_b, tol=1e-13, maxiter=50_000)
        assert float(dear.plan.sum()) < m
    assert masses[0] < masses[1] < masses[2] < 2.0
    C[0] += 30.0
    for penalties, carried in (((0.5, 0.5), False), ((INF, 0.5), True)):
        r = sinkhorn_unbalanced(a, b, C, eps, *penalties, tol=1e-12, maxiter=50_000)
        assert (float(r.plan[0].sum()) > 0.99 * a[0]) == carried
        assert carried or float(r.plan[0].sum()) < 1e-12
        assert not carried or float(r.plan.sum()) == pytest.approx(a.sum(), rel=1e-9)


@pytest.mark.claim("sinkhorn-unbalanced")
def test_contraction() -> None:
    """Potentials contract in the largest difference by rho_a rho_b / ((rho_a + eps) (rho_b + eps)) a pass, at most; the dual
    never falls.
    """
    a, b, C = _unequal(3)
    reg, rho_a, rho_b = 0.05, 0.4, 0.9
    limit = sinkhorn_unbalanced(a, b, C, reg, rho_a, rho_b, tol=1e-15, maxiter=2000).potentials[1]
    gaps, duals = [], []
    for k in range(1, 9):
        r = sinkhorn_unbalanced(a, b, C, reg, rho_a, rho_b, tol=0.0, maxiter=k)
        gaps.append(np.abs(r.potentials[1] - limit).max())
        duals.append(float(r.dual_value))
    factor = rho_a * rho_b / ((rho_a + reg) * (rho_b + reg))
    assert np.all(np.array(gaps[1:]) <= factor * np.array(gaps[:-1]) * (1 + 1e-9)) and gaps[-1] > 1e-6
    assert np.all(np.diff(duals) > 0)


@pytest.mark.identity("sinkhorn-unbalanced")
def test_the_stop() -> None:
    """It stops at the first pass whose row sums are within tol of the mean total mass of those that the potentials ask for;
    1e-9 if left out, in float32 1e-5.
    """
    a, b, C = _unequal(7)
    a, b = 10 * a, 0.5 * b

    def gap(r: Any) -> float:
        return float(np.abs(r.plan.sum(1) - a * np.exp(-r.potentials[0] / 0.5)).sum())

    wanted = 1e-6 * (a.sum() + b.sum()) / 2
    r = sinkhorn_unbalanced(a, b, C, 0.1, 0.5, tol=1e-6)
    before = sinkhorn_unbalanced(a, b, C, 0.1, 0.5, tol=0.0, maxiter=r.iterations - 1)
    assert gap(r) <= wanted < gap(before) and r.success and not before.success
    np.testing.assert_allclose(r.marginal_error, gap(r), rtol=0, atol=1e-13)
    np.testing.assert_allclose(r.cost, (r.plan * C).sum(), rtol=1e-13)
    for dtype, tol in (("float64", 1e-9), ("float32", 1e-5)):
        given = [v.astype(dtype) for v in (a, b, C)]
        plain, told = (sinkhorn_unbalanced(*given, 0.1, 0.5, **k) for k in ({}, {"tol": tol}))
        assert (
            plain.iterations
            == told.iterations
            < sinkhorn_unbalanced(*given, 0.1, 0.5, tol=tol / 30).iterations
        )


@pytest.mark.identity("sinkhorn-unbalanced")
def test_masses_batches_and_starts() -> None:
    """Empty masses carry nothing; a batch is its members; a right start takes one pass."""
    a, b, C = _unequal(4)
    a[1], b[3] = 0.0, 0.0
    for form in ("entropy", "kl"):
        for rho in ((0.5, 0.5), (INF, 0.5)):
            r = sinkhorn_unbalanced(a, b, C, 0.1, *rho, form=form, tol=1e-12)
            assert r.success and not r.plan[1].any() and not r.plan[:, 3].any()
            assert np.isfinite([r.value, r.dual_value]).all()
            rows, columns = a > 0, b > 0
            less = sinkhorn_unbalanced(
                a[rows], b[columns], C[rows][:, columns], 0.1, *rho, form=form, tol=1e-12
            )
            np.testing.assert_allclose(r.plan[rows][:, columns], less.plan, rtol=0, atol=1e-10)
            again = sinkhorn_unbalanced(a, b, C, 0.1, *rho, form=form, potentials=r.potentials)
            assert again.iterations == 1
            batch = sinkhorn_unbalanced(np.stack([a, 2 * a]), b, C, 0.1, *rho, form=form, tol=0.0, maxiter=9)
            one = sinkhorn_unbalanced(2 * a, b, C, 0.1, *rho, form=form, tol=0.0, maxiter=9)
            np.testing.assert_allclose(batch.plan[1], one.plan, rtol=1e-13)
            np.testing.assert_allclose(batch.value[1], one.value, rtol=1e-12)


def test_every_library(xp: Any, dtype: str) -> None:
    given = [v.astype(dtype) for v in _unequal(5)]
    want = sinkhorn_unbalanced(*(v.astype(float) for v in given), 0.1, 0.5, form="kl")
    r = sinkhorn_unbalanced(*(xp.asarray(v) for v in given), 0.1, 0.5, form="kl")
    assert r.plan.dtype == r.value.dtype == r.potentials[0].dtype == xp.asarray(given[0]).dtype and r.success
    tol = 1e-4 if dtype == "float32" else 1e-8
    np.testing.assert_allclose(to_numpy(r.plan), want.plan, rtol=0, atol=tol)
    np.testing.assert_allclose(float(r.dual_value), want.dual_value, rtol=tol)


def test_bad_input() -> None:
    a, b, C = _unequal(6)
    for arguments, keywords, error, word in (
        ((a, b, C, 0.1, INF), {}, errors.ArgumentError, "total"),
        ((a, 0 * b, C, 0.1, 1.0), {}, errors.ArgumentError, "b"),
        ((0 * a, b, C, 0.1, 1.0), {}, errors.ArgumentError, "a"),
        ((a, b, C, 0.0, 1.0), {}, errors.ArgumentError, "reg"),
        ((a, b, C, 0.1, 0.0), {}, errors.ArgumentError, "reg_a"),
        ((a, b, C, 0.1, 1.0, -1.0), {}, errors.ArgumentError, "reg_b"),
        ((a, b, C, 0.1, 1.0), {"form": "l2"}, errors.ArgumentError, "form"),
        ((a, b, C[0], 0.1, 1.0), {}, errors.ShapeError, "C"),
    ):
        with pytest.raises(error, match=word):
            sinkhorn_unbalanced(*arguments, **keywords)


PENALTIES = {"both": (0.5, 0.5), "unequal": (0.3, 2.0), "semi": (INF, 0.4)}


def _ours(seed: int) -> Arrays:
    return {
        f"{form} {name}": sinkhorn_unbalanced(*_unequal(seed), 0.1, *rho, form=form, tol=1e-14).plan
        for name, rho in PENALTIES.items()
        for form in ("entropy", "kl")
    }


def _pot(seed: int) -> Arrays:
    import ot

    return {
        f"{form} {name}": _quiet(
            ot.unbalanced.sinkhorn_unbalanced,
            *_unequal(seed),
            0.1,
            rho,
            reg_type=form,
            stopThr=1e-15,
            numItermax=5000,
        )
        for name, rho in PENALTIES.items()
        for form in ("entropy", "kl")
    }


def _ours_plans(seed: int) -> Arrays:
    return {
        k: sinkhorn_unbalanced(*_unequal(seed), 0.1, *rho, tol=1e-14).plan for k, rho in PENALTIES.items()
    }


def _ott(seed: int) -> Arrays:
    import jax

    jax.config.update("jax_enable_x64", True)
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    a, b, C = _unequal(seed)
    out: Arrays = {}
    for name, rho in PENALTIES.items():
        tau = [1.0 if r == INF else r / (r + 0.1) for r in rho]
        geometry = Geometry(cost_matrix=jax.numpy.asarray(C), epsilon=0.1)
        found = Sinkhorn(threshold=1e-14, max_iterations=5000)(
            LinearProblem(geometry, a=a, b=b, tau_a=tau[0], tau_b=tau[1])
        )
        out[name] = np.asarray(found.matrix)
    return out


CASES = [
    Case(
        "sinkhorn-unbalanced", "pot", "POT", _ours, _pot,
        says="Plans of POT's sinkhorn_unbalanced, both of its reg_types, equal, unequal and one infinite penalty, to 1e-12.",
    ),
    Case(
        "sinkhorn-unbalanced", "ott", "ott-jax", _ours_plans, _ott,
        says="Plans of OTT's Sinkhorn with tau_a and tau_b below 1 and one at 1, to 1e-12.",
    ),
]  # fmt: skip
