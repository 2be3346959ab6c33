"""What the papers claim of Sinkhorn's iteration.

Identities of Sinkhorn's iteration, in every library and dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.transport import problem as shared
from refopt.transport.problem import PointCloud
from refopt.transport.sinkhorn import sinkhorn
from refopt.transport.sinkhorn_log import sinkhorn_log
from scipy.special import logsumexp

from tests.parity.peers.transport import _problem


def _hilbert(u: np.ndarray, v: np.ndarray) -> float:
    ratio = np.log(u / v)
    return float(ratio.max() - ratio.min())


@pytest.mark.claim("sinkhorn")
def test_hilbert_contraction() -> None:
    """Contracts in Hilbert's metric by at least ((sqrt(t) - 1) / (sqrt(t) + 1))^2 a pass."""
    a, b, C = _problem(1)
    reg = 0.4
    K = np.exp(-C / reg)
    theta = max(
        float(np.max(K[i][:, None] * K[k] / (K[k][:, None] * K[i]))) for i in range(14) for k in range(14)
    )
    factor = ((np.sqrt(theta) - 1) / (np.sqrt(theta) + 1)) ** 2
    limit = np.exp(sinkhorn(a, b, C, reg, tol=1e-15, maxiter=400).potentials[0] / reg)
    distances = [
        _hilbert(np.exp(sinkhorn(a, b, C, reg, tol=0.0, maxiter=k).potentials[0] / reg), limit)
        for k in range(1, 7)
    ]
    ratios = np.array(distances[1:]) / np.array(distances[:-1])
    assert distances[-1] > 1e-12  # still above rounding
    assert np.all(ratios <= factor * (1 + 1e-6))
    assert np.all(ratios > 0.02 * factor)


@pytest.mark.claim("sinkhorn-log")
def test_dual_ascent() -> None:
    """The dual value never falls from one pass to the next."""
    a, b, C = _problem(2)
    reg = 0.01
    values = []
    for passes in range(1, 40):
        r = sinkhorn_log(a, b, C, reg, tol=0.0, maxiter=passes)
        f, g = r.potentials
        values.append(float(f @ a + g @ b - reg * (r.plan.sum() - 1)))
    assert np.all(np.diff(values) >= -1e-15)
    assert values[-1] - values[0] > 1e-4
    r = sinkhorn_log(a, b, C, reg, tol=1e-13)
    f, g = r.potentials
    primal = float((r.plan * C).sum() + reg * (r.plan * np.log(r.plan)).sum())
    np.testing.assert_allclose(f @ a + g @ b, primal, rtol=1e-11)  # no duality gap at the limit
    assert values[-1] <= primal


@pytest.mark.identity("sinkhorn")
@pytest.mark.parametrize("solve", [sinkhorn, sinkhorn_log])
@pytest.mark.parametrize("first", ["rows", "columns"])
def test_optimality(solve: Any, first: str) -> None:
    """The plan is exp((f + g - C) / reg) and meets both marginals, to 1e-12; 20 moves that keep them
    cost more.
    """
    a, b, C = _problem(3)
    reg = 0.05
    r = solve(a, b, C, reg, tol=1e-13, first=first)
    f, g = r.potentials
    np.testing.assert_allclose(r.plan, np.exp((f[:, None] + g - C) / reg), rtol=1e-12)
    np.testing.assert_allclose(r.plan.sum(1), a, rtol=0, atol=1e-12)
    np.testing.assert_allclose(r.plan.sum(0), b, rtol=0, atol=1e-12)
    exact = (r.plan.sum(0) - b, r.plan.sum(1) - a)[first == "columns"]
    assert np.abs(exact).max() < 1e-16
    assert r.status == "converged"
    assert r.marginal_error <= 1e-13 + 1e-15
    np.testing.assert_allclose(r.cost, (r.plan * C).sum(), rtol=1e-14)

    def value(P: np.ndarray) -> float:
        return float((P * C).sum() + reg * (P * np.log(P)).sum())

    rng = np.random.default_rng(0)
    for _ in range(20):  # moves that keep both marginals
        move = rng.standard_normal(C.shape)
        move -= move.mean(0)
        move -= move.mean(1)[:, None]
        step = 0.3 * np.min(r.plan / np.abs(move)) * move
        assert value(r.plan + step) > value(r.plan)
        slope = (value(r.plan + 1e-3 * step) - value(r.plan - 1e-3 * step)) / 2e-3
        assert abs(slope) < 1e-3 * (value(r.plan + step) - value(r.plan)) + 1e-12


def _plain(a: np.ndarray, b: np.ndarray, C: np.ndarray, reg: float, passes: int) -> np.ndarray:
    g = np.zeros(b.size)
    for _ in range(passes):
        f = reg * (np.log(a) - logsumexp((g - C) / reg, axis=1))
        g = reg * (np.log(b) - logsumexp((f[:, None] - C) / reg, axis=0))
    return np.exp((f[:, None] + g - C) / reg)


@pytest.mark.identity("sinkhorn-log")
@pytest.mark.parametrize("engine", ["array", "numba"])
def test_absorption(engine: str) -> None:
    """Equals the plain log-sum-exp iteration and, where that is finite, sinkhorn, pass by pass to
    rounding over reg; finite at reg 1e-4 of the largest cost.
    """
    if engine == "numba":
        pytest.importorskip("numba")
    a, b, C = _problem(4, 40, 30)
    for passes in (1, 2, 30):
        r = sinkhorn_log(a, b, C, 0.05, tol=0.0, maxiter=passes, engine=engine)
        s = sinkhorn(a, b, C, 0.05, tol=0.0, maxiter=passes, engine=engine)
        np.testing.assert_allclose(r.plan, s.plan, rtol=0, atol=1e-13 * s.plan.max())
    for reg, passes in ((1e-3, 300), (1e-4, 400), (1e-6, 60)):
        r = sinkhorn_log(a, b, C, reg, tol=0.0, maxiter=passes, engine=engine)
        want = _plain(a, b, C, reg, passes)
        # exp((f + g - C) / reg) amplifies the potentials' rounding by 1 / reg, passes times over.
        np.testing.assert_allclose(r.plan, want, rtol=0, atol=1e-16 / reg * passes * want.max())
        assert r.iterations == passes
        assert np.all(np.isfinite(r.plan))
    low = [m.astype(np.float32) for m in (a, b, C)]
    low[0], low[1] = low[0] / low[0].sum(), low[1] / low[1].sum()
    single = sinkhorn_log(*low, 1e-4, maxiter=300, engine=engine)
    assert single.plan.dtype == np.float32
    # exp(C / reg) carries C's rounding 1e4 times over: 6e-8 * 1e4 of an entry.
    np.testing.assert_allclose(single.plan.sum(0), low[1], rtol=2e-3)
    warm = sinkhorn_log(a, b, C, 0.01, engine=engine)
    again = sinkhorn_log(a, b, C, 0.01, potentials=warm.potentials, engine=engine)
    assert again.iterations <= 2 < warm.iterations
    assert sinkhorn(a, b, C, 0.01, potentials=warm.potentials, engine=engine).iterations <= 2


def test_every_library(xp: Any, dtype: str) -> None:
    host = [m.astype(dtype) for m in _problem(5)]
    host[0] /= host[0].sum()
    host[1] /= host[1].sum()
    want = sinkhorn(*(m.astype(float) for m in _problem(5)), 0.05, tol=1e-14).plan
    a, b, C = (xp.asarray(m.copy()) for m in host)
    single = dtype == "float32"
    for solve in (sinkhorn, sinkhorn_log):
        r = solve(a, b, C, 0.05, tol=2e-6 if single else 1e-14)
        assert r.plan.dtype == r.potentials[0].dtype == C.dtype
        assert r.status == "converged"
        np.testing.assert_allclose(to_numpy(r.plan), want, rtol=0, atol=2e-6 if single else 1e-13)
        # A batch is its members, each one broadcast against the other arguments.
        batch = solve(a, b, xp.stack([C, 2 * C]), 0.05, tol=0.0, maxiter=30)
        for k in (0, 1):
            one = solve(a, b, (1 + k) * C, 0.05, tol=0.0, maxiter=30)
            np.testing.assert_allclose(
                to_numpy(batch.plan[k, ...]), to_numpy(one.plan), rtol=0, atol=1e-6 if single else 1e-14
            )
        assert tuple(batch.marginal_error.shape) == (2,)
        masses = solve(xp.stack([a, a]), b, C, 0.05, tol=0.0, maxiter=30)
        np.testing.assert_allclose(
            to_numpy(masses.plan[1, ...]), to_numpy(solve(a, b, C, 0.05, tol=0.0, maxiter=30).plan), atol=1e-7
        )
    cloud = PointCloud(xp.asarray(np.arange(6.0, dtype=dtype)[:, None]), xp.asarray(np.ones((4, 1), dtype)))
    assert sinkhorn_log(None, None, cloud, 1.0).plan.dense().dtype == C.dtype


@pytest.mark.parametrize("first", ["rows", "columns"])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
def test_point_cloud(monkeypatch: pytest.MonkeyPatch, first: str, cost: str) -> None:
    monkeypatch.setattr(shared, "BLOCK_ENTRIES", 40)
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((23, 3)), rng.standard_normal((17, 3)) + 1
    dense = ((x[:, None] - y) ** 2).sum(-1)
    if cost == "euclidean":
        dense = np.sqrt(dense)
    a, b = rng.random(23), rng.random(17)
    a[2] = b[5] = 0
    a[:3] = 0
    a, b = a / a.sum(), b / b.sum()
    cloud = PointCloud(x, y, cost)
    assert len(list(cloud.blocks())) > 5
    for passes in (1, 4, 1000):
        r = sinkhorn_log(a, b, cloud, 0.5, maxiter=passes, first=first)
        s = sinkhorn_log(a, b, dense, 0.5, maxiter=passes, first=first)
        np.testing.assert_allclose(r.plan.dense(), s.plan, rtol=0, atol=1e-13)
        np.testing.assert_allclose(
            r.plan.apply(np.arange(17.0)), s.plan @ np.arange(17.0), rtol=1e-11, atol=1e-15
        )
        np.testing.assert_allclose(r.cost, s.cost, rtol=1e-11)
        np.testing.assert_allclose(r.value, s.value, rtol=1e-11)
        np.testing.assert_allclose(r.dual_value, s.dual_value, rtol=1e-11)
        np.testing.assert_allclose(r.marginal_error, s.marginal_error, rtol=1e-6, atol=1e-14)
        assert (r.iterations, r.status) == (s.iterations, s.status)


@pytest.mark.parametrize("solve", [sinkhorn, sinkhorn_log])
@pytest.mark.parametrize("engine", ["array", "numba"])
def test_zero_masses(solve: Any, engine: str) -> None:
    if engine == "numba":
        pytest.importorskip("numba")
    a, b, C = _problem(7)
    a[[0, 3]] = 0
    b[2] = 0
    a, b = a / a.sum(), b / b.sum()
    r = solve(a, b, C, 0.05, engine=engine, tol=1e-14)
    rows, columns = a > 0, b > 0
    s = solve(a[rows], b[columns], C[rows][:, columns], 0.05, tol=1e-14)
    np.testing.assert_allclose(r.plan[rows][:, columns], s.plan, rtol=0, atol=1e-13)
    assert r.plan[0].tolist() == [0.0] * 11
    assert r.plan[:, 2].tolist() == [0.0] * 14
    assert r.potentials[0][3] == -np.inf


def test_bad_input() -> None:
    a, b, C = _problem(8)
    for solve in (sinkhorn, sinkhorn_log):
        for arguments, error, word in (
            ((a[:5], b, C, 0.1), errors.ShapeError, "a"),
            ((a, b, C[0], 0.1), errors.ShapeError, "C"),
            ((-a, b, C, 0.1), errors.ArgumentError, "a"),
            ((2 * a, b, C, 0.1), errors.ArgumentError, "total"),
            ((0 * a, b, C, 0.1), errors.ArgumentError, "a"),
            ((a, b, C * np.nan, 0.1), errors.NonFiniteError, "C"),
            ((a, b, C, 0.0), errors.ArgumentError, "reg"),
            ((a, b, C, "x"), errors.ArgumentTypeError, "reg"),
            ((a.astype(np.float32), b, C, 0.1), errors.DtypeError, "a"),
            ((a, b, "C", 0.1), errors.ArgumentTypeError, "C"),
        ):
            with pytest.raises(error, match=word):
                solve(*arguments)
        for keywords in ({"first": "row"}, {"engine": "gpu"}, {"maxiter": -1}, {"potentials": (a, a)}):
            with pytest.raises(errors.ArgumentError):
                solve(a, b, C, 0.1, **keywords)
        short = solve(a, b, C, 0.01, maxiter=1)
        assert (short.status, short.success) == ("iterations", False)
    with pytest.raises(errors.ConvergenceError, match="sinkhorn-log"):
        sinkhorn(a, b, C, 1e-5)
    with pytest.raises(errors.ArgumentTypeError, match="PointCloud"):
        sinkhorn(a, b, PointCloud(np.ones((14, 1)), np.ones((11, 1))), 0.1)


@pytest.mark.parametrize("solve", [sinkhorn, sinkhorn_log])
def test_a_right_start_takes_one_pass(solve: Any) -> None:
    """From the solution's own potentials one pass is made and found right."""
    rng = np.random.default_rng(0)
    a, b, C = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(5)), rng.random((4, 5))
    first = solve(a, b, C, 0.2, tol=1e-12)
    again = solve(a, b, C, 0.2, tol=1e-9, potentials=first.potentials)
    assert first.iterations > 1
    assert again.iterations == 1
    # Empty masses too: their columns send nothing in the first half-step.
    for which in ("rows", "columns"):
        a, b = np.array([0.5, 0.0, 0.3, 0.2]), np.array([0.2, 0.3, 0.0, 0.1, 0.4])
        empty = solve(a, b, C, 0.2, tol=1e-12, first=which)
        assert solve(a, b, C, 0.2, tol=1e-9, potentials=empty.potentials, first=which).iterations == 1
        full = solve(rng.dirichlet(np.ones(4)), b, C, 0.2, potentials=empty.potentials, first=which)
        assert full.success


@pytest.mark.parametrize("solve", [sinkhorn, sinkhorn_log])
@pytest.mark.parametrize("first", ["rows", "columns"])
def test_values(xp: Any, solve: Any, first: str) -> None:
    """Value <P, C> + reg sum P log P and dual meet at convergence; before it the dual is lower. Always arrays, of a batch
    and of one problem; empty masses add nothing.
    """
    a, b, C = _problem(9, 6, 5)
    a[1], b[2] = 0.0, 0.0
    a, b = 3 * a / a.sum(), 3 * b / b.sum()  # masses of total 3 as well
    given = [xp.asarray(v) for v in (a, b, C)]
    r = solve(*given, 0.1, tol=1e-13, first=first)
    P = to_numpy(r.plan)
    used = P[P > 0]
    want = (P * C).sum() + 0.1 * (used * np.log(used)).sum()
    np.testing.assert_allclose(float(r.value), want, rtol=1e-13)
    np.testing.assert_allclose(float(r.dual_value), want, rtol=1e-12)
    early = solve(*given, 0.1, tol=0.0, maxiter=2, first=first)
    assert float(early.dual_value) < want - 1e-6
    batch = solve(xp.stack([given[0], given[0]]), given[1], given[2], 0.1, tol=1e-13, first=first)
    for name in ("value", "dual_value", "cost", "marginal_error"):
        one, two = getattr(r, name), getattr(batch, name)
        assert one.dtype == given[2].dtype and (tuple(one.shape), tuple(two.shape)) == ((), (2,))
        np.testing.assert_allclose(float(two[1]), float(one), rtol=0, atol=1e-12)
