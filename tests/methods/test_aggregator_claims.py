"""What the papers of the aggregators claim of descent along them: falls at every step, ends, and who is fair to whom."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import refopt

from tests.methods.aggregating import quadratics


def matrix(seed: int, m: int = 4, n: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((m, n))


class Several:
    """Convex quadratics ``f_i = (x - a_i)ᵀ H_i (x - a_i) / 2`` and the largest curvature of any."""

    def __init__(self, seed: int, m: int, n: int = 6) -> None:
        self.H, self.a, self.start = quadratics(seed, m, n)
        self.L = float(max(np.linalg.eigvalsh(h)[-1] for h in self.H))

    def values(self, x: np.ndarray) -> np.ndarray:
        return np.einsum("ij,ijk,ik->i", x - self.a, self.H, x - self.a) / 2

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        return np.einsum("ijk,ik->ij", self.H, x - self.a)


# Table 1 of Quinton and Rey, as torchjd's documentation has it: non-conflicting, linear under scaling.
PROPERTIES = {
    "upgrad": (True, True),
    "mean": (False, True),
    "mgda": (True, False),
    "dualproj": (True, False),
    "pcgrad": (False, True),
    "cagrad": (False, False),
    "imtl-g": (False, False),
    "nash-mtl": (True, False),
}


@pytest.mark.claim("upgrad", "mean", "mgda", "dualproj", "pcgrad", "cagrad", "imtl-g", "nash-mtl")
@pytest.mark.parametrize("name", PROPERTIES)
def test_the_table_of_properties(name: str) -> None:
    """Jacobian descent's Table 1: whether J d >= 0 for each of 60 conflicting matrices (-1e-12) or below -0.01 for some,
    and whether ``c -> A(diag(c) J)`` is linear in positive c (1e-11) or off by a hundredth for some; d is in the span of the rows.
    """
    A = refopt.get(name)
    non_conflicting, linear = PROPERTIES[name]
    worst, bent = np.inf, 0.0
    for seed in range(60):
        J = matrix(seed, 3, 4) * 10.0 ** np.random.default_rng(seed).uniform(-1, 1, (3, 1))
        d = A(J)
        worst = min(worst, float(np.min(J @ d)))
        c, e = np.random.default_rng(seed + 100).uniform(0.1, 3.0, (2, 3))
        parts = A(c[:, None] * J) + A(e[:, None] * J)
        bent = max(bent, float(np.max(np.abs(A((c + e)[:, None] * J) - parts))))
        rest = d - J.T @ np.linalg.lstsq(J.T, d, rcond=None)[0]
        assert np.max(np.abs(rest)) < 1e-11 * (1.0 + np.max(np.abs(d)))
    assert worst > -1e-12 if non_conflicting else worst < -0.01
    assert bent < 1e-11 if linear else bent > 0.01


@pytest.mark.claim("upgrad")
def test_without_conflict_upgrad_is_the_mean() -> None:
    """Where no two of 5 gradients conflict the projections change nothing: the mean, to 1e-14, over 20 matrices."""
    for seed in range(20):
        J = np.abs(matrix(seed, 5, 4)) @ np.linalg.qr(matrix(seed + 50, 4, 4))[0]
        assert np.min(J @ J.T) > 0.0
        np.testing.assert_allclose(refopt.get("upgrad")(J), J.mean(axis=0), rtol=1e-12, atol=1e-14)


@pytest.mark.claim("mgda")
@pytest.mark.parametrize("seed", range(3))
def test_mgda_lowers_every_objective(seed: int) -> None:
    """At the rate 1/L each of four objectives falls by ‖d‖²/(2L) at least at every step, so that of T steps the shortest
    d has ‖d‖² <= 2 L min_i (f_i(x_0) - f_i(x_T)) / T; for one curvature in all, by just that much (1e-12).
    """
    p = Several(seed, 4)
    for same in (False, True):
        if same:
            p.H = p.L * np.broadcast_to(np.eye(6), p.H.shape)
        x, squares, tight = p.start, [], np.inf
        for _ in range(40):
            d = refopt.get("mgda")(p.jacobian(x))
            falls = p.values(x) - p.values(x - d / p.L)
            least = d @ d / (2 * p.L)
            assert np.min(falls) >= least - 1e-12
            tight = min(tight, abs(float(np.min(falls)) - least))
            squares.append(d @ d)
            x = x - d / p.L
        assert min(squares) <= 2 * p.L * np.min(p.values(p.start) - p.values(x)) / 40
        assert not same or tight < 1e-12


@pytest.mark.claim("pcgrad")
def test_pcgrad_s_theorem() -> None:
    """Theorem 1 for two quadratics, rate t = 1/L of the sum: where they conflict the sum falls by t (1 - cos²φ) ‖g‖²/2 at least
    at each step; with one minimum in common runs end there (1e-6), else where cos φ = -1 and the sum's gradient is above 0.03.
    """
    R = np.array([[0.5, -(0.75**0.5)], [0.75**0.5, 0.5]])
    H = np.array([np.diag([1.0, 0.05]), R @ np.diag([0.05, 2.0]) @ R.T])
    t, met = 1.0 / np.linalg.eigvalsh(H.sum(axis=0))[-1], 0
    for apart, seed in itertools.product((0.0, 1.0), range(3)):
        a = np.array([[0.0, 0.0], [apart, 0.0]])
        x = 3.0 * np.random.default_rng(seed).standard_normal(2)

        def total(x: np.ndarray, a: np.ndarray = a) -> float:
            return float(np.einsum("ij,ijk,ik->", x - a, H, x - a)) / 2

        for _ in range(400):
            J = np.einsum("ijk,ik->ij", H, x - a)
            cosine = J[0] @ J[1] / np.prod(np.linalg.norm(J, axis=1))
            new, g = x - t * refopt.get("pcgrad")(J), J.sum(axis=0)
            if cosine < 0.0:
                met += 1
                assert total(x) - total(new) >= t * (1 - cosine**2) * (g @ g) / 2 - 1e-14
            x = new
        if apart:
            assert cosine < -1 + 1e-6 and np.linalg.norm(g) > 0.03
        else:
            assert np.linalg.norm(x) < 1e-6
    assert met > 500


@pytest.mark.claim("mean")
def test_the_mean_is_gradient_descent_and_conflicts() -> None:
    """At the rate 1/L the mean objective falls by ‖d‖²/(2L) at each of 40 steps while one objective of four rises, which UPGrad's
    step does to none; for one curvature L in all, one step from anywhere ends at the mean of the minima (1e-13).
    """
    p = Several(1, 4)
    x, rises, kept = p.start, 0.0, 0.0
    for _ in range(40):
        J = p.jacobian(x)
        d, u = refopt.get("mean")(J), refopt.get("upgrad")(J)
        assert p.values(x).mean() - p.values(x - d / p.L).mean() >= d @ d / (2 * p.L) - 1e-14
        rises = max(rises, float(np.max(p.values(x - d / p.L) - p.values(x))))
        kept = max(kept, float(np.max(p.values(x - 1e-3 * u) - p.values(x))))
        x = x - d / p.L
    # UPGrad's step is free of conflict to first order.
    assert rises > 1e-2 and kept < 1e-5
    J = p.L * (p.start - p.a)
    np.testing.assert_allclose(
        p.start - refopt.get("mean")(J) / p.L, p.a.mean(axis=0), rtol=1e-12, atol=1e-13
    )


@pytest.mark.claim("cagrad")
@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_cagrad_s_theorem(c: float) -> None:
    """Theorem 3.2, rate 1/L: the mean objective falls by (1 - c²) ‖g_0‖²/(2L) at least, for one curvature in all by just that
    (1e-12), so that Σ ‖g_0‖² <= 2 L (f(x_0) - f*)/(1 - c²) over 60 steps; the worst objective's first-order gain is at
    least the mean's gain for it and c ‖g_0‖ times the length of MGDA's direction.
    """
    A, p = refopt.get("cagrad"), Several(2, 3)
    for same in (False, True):
        if same:
            p.H = p.L * np.broadcast_to(np.eye(6), p.H.shape)
        best = np.linalg.solve(p.H.sum(axis=0), np.einsum("ijk,ik->j", p.H, p.a))
        x, squares = p.start, 0.0
        for _ in range(60):
            J = p.jacobian(x)
            g0, d = J.mean(axis=0), A(J, c=c)
            fall = p.values(x).mean() - p.values(x - d / p.L).mean()
            least = (1 - c * c) * (g0 @ g0) / (2 * p.L)
            assert fall >= least - 1e-12
            if same:
                np.testing.assert_allclose(fall, least, rtol=0, atol=1e-12 * (1.0 + fall))
            shortest = np.linalg.norm(refopt.get("mgda")(J))
            assert np.min(J @ d) >= np.min(J @ g0) + c * np.linalg.norm(g0) * shortest - 1e-10
            squares += g0 @ g0
            x = x - d / p.L
        assert squares <= 2 * p.L * (p.values(p.start).mean() - p.values(best).mean()) / (1 - c * c) * (
            1 + 1e-12
        )


@pytest.mark.claim("imtl-g")
def test_imtl_g_s_direction_knows_no_scales() -> None:
    """Gradients 1e-3 to 1e3 times as long leave its direction as it is, to 1e-10, at one angle to all of them; of orthogonal
    gradients its length is √m / Σ 1/‖g_i‖, √m times below their harmonic mean, to 1e-12. MGDA's direction changes.
    """
    A = refopt.get("imtl-g")
    for seed in range(8):
        J = matrix(seed, 3, 5) + 0.7
        c = 10.0 ** np.random.default_rng(seed).uniform(-3, 3, 3)
        d, e = A(J), A(c[:, None] * J)
        sign = np.sign(d @ e)
        np.testing.assert_allclose(sign * e / np.linalg.norm(e), d / np.linalg.norm(d), rtol=0, atol=1e-10)
        cosines = J @ d / np.linalg.norm(J, axis=1) / np.linalg.norm(d)
        np.testing.assert_allclose(cosines, cosines[0], rtol=1e-11)
        far, near = refopt.get("mgda")(c[:, None] * J), refopt.get("mgda")(J)
        assert np.max(np.abs(far / np.linalg.norm(far) - near / np.linalg.norm(near))) > 1e-2
    q = np.linalg.qr(matrix(5, 6, 6))[0][:4]
    sizes = np.array([1.0, 30.0, 0.2, 5.0])
    assert np.linalg.norm(A(sizes[:, None] * q)) == pytest.approx(2.0 / np.sum(1.0 / sizes), rel=1e-12)
    assert np.min(q @ A(sizes[:, None] * q)) > 0.0


@pytest.mark.claim("nash-mtl")
def test_nash_mtl_is_fair_and_lowers_all() -> None:
    """Proportional fairness: over 400 directions of its length the sum of relative gains ``Σ g_i·v / g_i·d`` is at most m, the
    d's own; and Theorem 5.4's rate min_i 1/(L m α_i): every one of four objectives falls by 1/(2 L m α_max α_i) at least in 40 steps.
    """
    A, rng = refopt.get("nash-mtl"), np.random.default_rng(0)
    J = matrix(4) + 0.3
    d = A(J)
    v = rng.standard_normal((400, 6))
    v = 2.0 * v / np.linalg.norm(v, axis=1)[:, None]
    v[200:] = d + 0.1 * v[200:]
    v[200:] *= 2.0 / np.linalg.norm(v[200:], axis=1)[:, None]
    shares = np.sum(v @ J.T / (J @ d), axis=1)
    assert np.max(shares) <= 4.0 and np.max(shares) > 3.9
    p = Several(3, 4)
    x = p.start
    for _ in range(40):
        d = A(p.jacobian(x))
        if not np.any(d):
            break
        alpha = 1.0 / (p.jacobian(x) @ d)
        mu = 1.0 / (p.L * 4 * alpha.max())
        falls = p.values(x) - p.values(x - mu * d)
        assert np.all(falls >= mu / (2 * alpha) - 1e-12)
        x = x - mu * d


@pytest.mark.claim("dualproj")
def test_dualproj_is_the_nearest_without_conflict() -> None:
    """GEM's programme: 300 other vectors y without conflict have ‖y - g‖² >= ‖d - g‖² + ‖y - d‖² and none is nearer; of two
    tasks with p = e_1 it is A-GEM's ``g - (g·r / r·r) r`` where they conflict and g elsewhere, to 1e-13.
    """
    A, rng, used = refopt.get("dualproj"), np.random.default_rng(0), 0
    for seed in range(10):
        J = matrix(seed, 3, 4)
        g, d = J.mean(axis=0), A(J)
        used += np.min(J @ g) < -1e-3
        # y = J^+ of gains that are not negative, and what no objective sees.
        gains = np.abs(rng.standard_normal((30, 3))) * 10.0 ** rng.uniform(-3, 1, (30, 1))
        for y in gains @ np.linalg.pinv(J).T + rng.standard_normal((30, 1)) * np.linalg.svd(J)[2][3]:
            assert np.min(J @ y) > -1e-12
            assert np.sum((y - g) ** 2) >= np.sum((d - g) ** 2) + np.sum((y - d) ** 2) - 1e-12
    assert used >= 3
    for seed in range(12):
        g, r = matrix(seed, 2, 3)
        want = g - min(g @ r, 0.0) / (r @ r) * r
        got = A(np.stack([g, r]), preference=np.array([1.0, 0.0]))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


@pytest.mark.claim("gradnorm")
def test_gradnorm_s_weights_follow_the_rates_of_training() -> None:
    """Where it ends the weighted norm of task i is the mean one times r_i^α: losses at 0.4, 0.5 and 0.9 of their start and α = 1.5
    give norms in the ratio 0.53 : 0.75 : 1.80 of their mean's target, to 5e-3; the one that trains slowest gets the most.
    """
    J, alpha = np.diag([1.0, 4.0, 0.5]), 1.5
    d, state = refopt.get("gradnorm")(J, losses=np.ones(3), alpha=alpha, lr=0.0)
    np.testing.assert_array_equal(d, [1.0, 4.0, 0.5])
    for k in range(700):
        _, state = refopt.get("gradnorm")(
            J, state, losses=np.array([0.4, 0.5, 0.9]), alpha=alpha, lr=0.03 * 0.985**k
        )
    norms = state["weights"] * np.diag(J)
    r = np.array([0.4, 0.5, 0.9]) / 0.6
    # |G_i - Ḡ r_i^α| cannot all be zero, as Σ r_i^α > 3; the ratios of what is within reach are the targets'.
    target = r**alpha
    np.testing.assert_allclose(norms[0] / norms[1], target[0] / target[1], rtol=5e-3)
    assert norms[2] > norms[1] > norms[0] and state["weights"].sum() == pytest.approx(3.0, rel=1e-14)


@pytest.mark.claim("bloop")
def test_bloop_solves_the_simple_bilevel_problem() -> None:
    """Main objective (⟨u, x⟩ - 1)²/2, auxiliary ‖x - c‖²/2: it ends at the minimiser of the second among the first's, to 1e-10, for
    penalties 0.05 to 1 and averages of ρ = 0.1 and 0.3, where descent along a + λ b is off by λ (1 - ⟨u, c⟩)/(λ + 1), ‖u‖ = 1.
    """
    rng = np.random.default_rng(0)
    u, c = rng.standard_normal((2, 5))
    u = u / np.linalg.norm(u)
    best = c + (1.0 - u @ c) * u

    def run(aggregate: Callable[[np.ndarray], np.ndarray], steps: int) -> np.ndarray:
        x = np.zeros(5)
        for _ in range(steps):
            x = x - 0.5 * aggregate(np.stack([(u @ x - 1.0) * u, x - c]))
        return x

    for penalty, rho in itertools.product((0.05, 0.3, 1.0), (0.1, 0.3)):
        kept: list[dict[str, np.ndarray]] = [{}]

        def bloop(J: np.ndarray, penalty: float = penalty, rho: float = rho, kept: list = kept) -> np.ndarray:
            d, kept[0] = refopt.get("bloop")(J, kept[0], penalty=penalty, rho=rho)
            return d

        np.testing.assert_allclose(run(bloop, int(60 / penalty)), best, rtol=0, atol=1e-10)
        mixed = run(lambda J, penalty=penalty: J[0] + penalty * J[1], int(60 / penalty))
        off = penalty * abs(1.0 - u @ c) / (penalty + 1.0)
        assert np.linalg.norm(mixed - best) == pytest.approx(off, rel=1e-6)
