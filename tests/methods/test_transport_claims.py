"""More of what is claimed of the transport solvers: errors of regularisation with their constants, Sinkhorn's rates, and maps that are learned."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from refopt.transport.exact_ot import exact_ot
from refopt.transport.monge_gap import monge_gap
from refopt.transport.sinkhorn import sinkhorn
from refopt.transport.sinkhorn_divergence import sinkhorn_divergence
from refopt.transport.sinkhorn_log import sinkhorn_log
from refopt.transport.sinkhorn_newton_sparse import sinkhorn_newton_sparse
from refopt.transport.sinkhorn_normalize import sinkhorn_normalize
from refopt.transport.smooth_ot import quadratic_ot, semi_dual_objective, sparse_ot

from tests.parity.peers.transport import _problem


def entropy(p: np.ndarray) -> float:
    return float(-np.sum(p[p > 0] * np.log(p[p > 0])))


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.sum(p * np.log(p / q)) - p.sum() + q.sum())


@pytest.mark.claim("sinkhorn", "sinkhorn-log")
@pytest.mark.parametrize("solve", [sinkhorn, sinkhorn_log])
def test_the_cost_of_entropy(solve: object) -> None:
    """Blondel, Seguy and Rolet's Theorem 1: the value is below the unregularised one by at least reg max(H(a), H(b)) and at most
    reg (H(a) + H(b)), reg 0.02 to 20, and by that to 0.5 % at 20; costs fall to the unregularised as reg falls, by at most reg H(P).
    """
    a, b, C = _problem(1, 8, 6)
    exact = float(exact_ot(a, b, C).value)
    last = np.inf
    for reg in (20.0, 1.0, 0.2, 0.02):
        r = solve(a, b, C, reg, tol=1e-13, maxiter=100_000)  # type: ignore[operator]
        below = exact - float(r.value)
        assert reg * max(entropy(a), entropy(b)) <= below <= reg * (entropy(a) + entropy(b))
        if reg == 20.0:
            assert below == pytest.approx(reg * (entropy(a) + entropy(b)), rel=5e-3)
        assert exact <= float(r.cost) <= min(last, exact + reg * entropy(r.plan))
        last = float(r.cost)


@pytest.mark.claim("sinkhorn", "sinkhorn-log")
@pytest.mark.parametrize("solve", [sinkhorn, sinkhorn_log])
def test_how_many_passes(solve: object) -> None:
    """Every half-pass brings the plan nearer to its limit in relative entropy by that of the marginal it mends, to 1e-11 of the start;
    so the first of k passes' row errors, in relative entropy, is at most the start's distance over k (Altschuler, Weed and Rigollet).
    """
    a, b, C = _problem(2, 9, 7)
    reg = 0.05
    best = solve(a, b, C, reg, tol=1e-15, maxiter=20_000).plan  # type: ignore[operator]
    plans = [solve(a, b, C, reg, tol=0.0, maxiter=k, first="columns").plan for k in range(1, 13)]  # type: ignore[operator]
    start, errors = divergence(best, plans[0]), []
    for before, after in itertools.pairwise(plans):
        # The rows are right after a pass; the columns are mended first, then the rows.
        columns = divergence(b, before.sum(0))
        mended = before * (b / before.sum(0))
        rows = divergence(a, mended.sum(1))
        assert columns + rows > 1e-9 * start
        assert divergence(best, before) - divergence(best, after) == pytest.approx(
            columns + rows, abs=1e-11 * start
        )
        errors.append(columns)
        assert min(errors) <= start / len(errors)
    assert divergence(best, plans[-1]) < 0.2 * start


@pytest.mark.claim("sinkhorn-newton-sparse")
def test_the_plan_is_sparse_to_the_gap_of_the_vertices() -> None:
    """Assignment of five: the mass off the best permutation falls as e^(-η Δ) or faster, Δ the mean cost by which the second best
    vertex is dearer; its slope from η = 60/Δ' to 80/Δ' is the least mean cost Δ' of a cycle, to 1 %, and 5 entries a row of
    the Newton matrix or fewer suffice: with 15 of the plan's 25 kept it takes at most one pass more than with all.
    """
    rng = np.random.default_rng(3)
    C = rng.random((5, 5))
    rows = np.arange(5)
    costs = {s: float(C[rows, list(s)].sum()) for s in itertools.permutations(range(5))}
    best = min(costs, key=lambda s: costs[s])
    gap = sorted(costs.values())[1] / 5 - costs[best] / 5
    # A permutation that differs in one cycle of length l: its cost over l.
    ratio = min((costs[s] - costs[best]) / sum(i != j for i, j in zip(s, best)) for s in costs if s != best)
    off = []
    for eta in (40.0 / ratio, 60.0 / ratio * 0.25, 80.0 / ratio * 0.25):
        r = sinkhorn_newton_sparse(None, None, C, 1.0 / eta, tol=1e-14)
        mask = np.ones((5, 5))
        mask[rows, list(best)] = 0.0
        off.append(float((r.plan * mask).sum()))
        assert off[-1] <= 25 * np.exp(-eta * gap)
    assert np.log(off[1] / off[2]) == pytest.approx(5.0, rel=0.01)


@pytest.mark.claim("quadratic-ot")
@pytest.mark.parametrize("form", ["dual", "semi-dual"])
def test_the_cost_of_squares(form: str) -> None:
    """Theorem 1: reg/2 Σ (a_i/m + b_j/n - 1/(nm))² <= value - unregularised <= reg/2 min(‖a‖², ‖b‖²), for reg 0.01 to 1e4, at
    1e4 within 1 % of the lower one; the plan has fewer entries as reg falls, at last at most n + m - 1.
    """
    a, b, C = _problem(3, 8, 6)
    a, b = (m + 2 * m.mean() for m in (a, b))
    a, b = a / a.sum(), b / b.sum()
    exact, kept = float(exact_ot(a, b, C).value), []
    low = float(np.sum((a[:, None] / 6 + b / 8 - 1 / 48) ** 2)) / 2
    high = min(a @ a, b @ b) / 2
    for reg in (1e4, 10.0, 1.0, 0.1, 0.01):
        r = quadratic_ot(a, b, C, reg, form=form, tol=1e-10, maxiter=20_000)
        above = float(r.dual_value) - exact
        assert reg * low * (1 - 1e-9) <= above <= reg * high + 1e-7
        if reg == 1e4:
            assert above == pytest.approx(reg * low, rel=0.01)
        kept.append(int(np.sum(r.plan > 1e-9)))
    assert all(more >= less for more, less in itertools.pairwise(kept)) and kept[0] == 48 and kept[-1] <= 13


@pytest.mark.claim("sparse-ot")
def test_the_cost_of_k_entries() -> None:
    """Columns of k entries or fewer: at each of 60 potentials, and so at the optimum, the semi-dual is above the unregularised one by at
    least reg/(2 k) ‖b‖² and at most reg/2 ‖b‖², and falls as k grows (1e-13); what is found for k = 1, 2, 3, 8 at reg 0.3 and 5 is
    below its bound, and for 8 = n the value of quadratic-ot (1e-8).
    """
    a, b, C = _problem(4, 8, 6)
    exact, square, rng = float(exact_ot(a, b, C).value), float(b @ b), np.random.default_rng(0)
    apart = 0.0
    for reg in (0.02, 0.3, 5.0):
        for _ in range(20):
            alpha = rng.uniform(0.1, 2.0) * rng.standard_normal(8)
            plain = alpha @ a - b @ (alpha[:, None] - C).max(0)
            above = [float(semi_dual_objective(alpha, a, b, C, reg, k)[0] - plain) for k in (1, 2, 3, 8)]
            for k, more in zip((1, 2, 3, 8), above):
                assert reg * square / (2 * k) - 1e-13 <= more <= reg * square / 2 + 1e-13
            assert np.all(np.diff(above) <= 1e-13)
            apart = max(apart, above[0] - above[3])
    assert apart > 0.1
    for reg, k in itertools.product((0.3, 5.0), (1, 2, 3, 8)):
        found = sparse_ot(a, b, C, reg, sparsity=k, maxiter=3000)
        assert float(found.dual_value) - exact <= reg * square / 2 + 1e-12
        if k == 8:
            whole = quadratic_ot(a, b, C, reg, tol=1e-10, maxiter=20_000)
            assert float(found.dual_value) == pytest.approx(float(whole.dual_value), rel=1e-8)


@pytest.mark.claim("sinkhorn-normalize")
def test_its_rate_and_where_it_has_none() -> None:
    """With positive entries row errors fall by σ_2² a pass, σ_2 the limit's second singular value, to 1e-3 (Knight); of [[1, 1], [0, 1]],
    which has support and no total support, the corner after k passes is 1/(2k + 1) exactly (1e-13), and the limit is the identity.
    """
    Q = np.random.default_rng(0).random((5, 5)) ** 3
    limit = sinkhorn_normalize(Q, passes=3000)
    sigma = np.linalg.svd(limit)[1]
    assert sigma[0] == pytest.approx(1.0, rel=1e-12)
    errors = [np.max(np.abs(sinkhorn_normalize(Q, passes=k).sum(1) - 1)) for k in (30, 31, 32)]
    np.testing.assert_allclose(np.array(errors[1:]) / errors[:-1], sigma[1] ** 2, rtol=1e-3)
    triangle = np.array([[1.0, 1.0], [0.0, 1.0]])
    for k in (1, 2, 5, 40, 300):
        S = sinkhorn_normalize(triangle, passes=k)
        assert S[0, 1] == pytest.approx(1 / (2 * k + 1), rel=1e-12)
        np.testing.assert_allclose(S[:, 0], [1.0, 0.0], atol=1e-15)


@pytest.mark.claim("sinkhorn-divergence")
def test_translations_cost_their_square() -> None:
    """Without the bias of entropy: between a cloud and itself shifted by v it is |v|² at every reg from 0.5 to 50, to 1e-12, where entropic
    transport is off by 0.1 |v|² and more; between any two clouds it is that of the centred ones and the squared distance of the means.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 2)), 0.5 * rng.standard_normal((6, 2)) + 1.0
    v = np.array([0.7, -0.4])
    a = np.full(7, 1 / 7)
    for reg in (0.5, 5.0, 50.0):
        options = {"tol": 1e-12, "maxiter": 50_000}
        assert float(sinkhorn_divergence(x, x + v, reg, **options).value) == pytest.approx(v @ v, rel=1e-12)
        apart = ((x[:, None] - x - v) ** 2).sum(-1)
        entropic = float(sinkhorn_log(a, a, apart, reg, tol=1e-10).value) + 2 * reg * entropy(a)
        assert abs(entropic - v @ v) > 0.1 * (v @ v)
        moved = sinkhorn_divergence(x - x.mean(0), y - y.mean(0), reg, **options).value
        want = float(moved) + np.sum((x.mean(0) - y.mean(0)) ** 2)
        assert float(sinkhorn_divergence(x, y, reg, **options).value) == pytest.approx(want, rel=1e-11)


@pytest.mark.claim("monge-gap")
def test_the_regularizer_finds_the_optimal_map() -> None:
    """Fitting ten outputs to targets by squared transport, from a wrong pairing with the inputs: descent on the fit alone stays at the wrong
    map, whose gap is above 0.2; with the gap added it ends at targets (1e-6) in the optimal pairing, with no gap (1e-9).
    """
    rng = np.random.default_rng(1)
    x = rng.standard_normal((10, 2))
    targets = x @ np.array([[1.5, 0.3], [0.3, 0.8]]) + 0.5
    wrong = targets[rng.permutation(10)]
    for strength in (0.0, 3.0):
        y = wrong + 1e-3 * rng.standard_normal((10, 2))
        for k in range(400):
            plan = exact_ot(None, None, ((y[:, None] - targets) ** 2).sum(-1)).plan
            pull = 2 * (y / 10 - plan @ targets)
            # The gap's pull is let go once it has done its work.
            weight = strength if k < 200 else strength * 0.9 ** (k - 200)
            y = y - 0.5 * (pull + weight * monge_gap(x, y, 0.0).gradient)
        gap = float(monge_gap(x, y, 0.0).value)
        if strength == 0.0:
            assert gap > 0.2
        else:
            assert gap < 1e-9
            np.testing.assert_allclose(y, targets, rtol=0, atol=1e-6)
