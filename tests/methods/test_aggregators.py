"""MGDA, PCGrad, CAGrad, IMTL-G, Nash-MTL, GradNorm and Bloop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.aggregators.rows import non_negative_least_squares

from tests.methods.aggregating import descent, quadratics
from tests.parity.case import Arrays, Case


def ours(name: str, m: int):
    return lambda seed: {"x": descent(refopt.get(name), seed, m)}


def torchjd(name: str, m: int, **options: float):
    def theirs(seed: int) -> Arrays:
        import torch
        import torchjd.aggregation as peer

        made = getattr(peer, name)(**options)
        return {"x": descent(lambda J: made(torch.asarray(J)).numpy(), seed, m)}

    return theirs


CASES = [
    Case("mgda", "torchjd", "torchjd", ours("mgda", 2), torchjd("MGDA", 2, epsilon=1e-15),
         says="torchjd's MGDA, exact for two objectives: 30 steps on two quadratics, 1e-12."),
    Case("pcgrad", "torchjd", "torchjd", ours("pcgrad", 2), torchjd("PCGrad", 2),
         says="torchjd's PCGrad, which has one order for two objectives: 30 steps on two quadratics, 1e-12."),
    Case("imtl-g", "torchjd", "torchjd", ours("imtl-g", 3), torchjd("IMTLG", 3), rtol=1e-10,
         why="torchjd inverts the Gramian, whose condition is the square of the rows'",
         says="torchjd's IMTL-G, 30 steps on three quadratics: 1e-10."),
]  # fmt: skip


def matrix(seed: int, m: int = 4, n: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((m, n))


def convex_weights(J: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Non-negative weights that make d of the rows, or what comes nearest."""
    return non_negative_least_squares(np.vstack([J.T, np.ones(len(J))]), np.append(d, 1.0))


@pytest.mark.claim("mgda")
@pytest.mark.parametrize("seed", range(4))
def test_mgda_is_the_shortest(seed: int) -> None:
    """d is in the convex hull and J_i . d >= ||d||^2, to 1e-12: no other point of the hull is as short."""
    J = matrix(seed) + 0.5
    d = refopt.get("mgda")(J)
    w = convex_weights(J, d)
    np.testing.assert_allclose(w @ J, d, atol=1e-12)
    assert abs(np.sum(w) - 1.0) < 1e-12
    assert np.min(J @ d) >= d @ d - 1e-12


@pytest.mark.identity("mgda")
def test_mgda_of_two() -> None:
    """Two gradients in closed form, inside and at either end, to 1e-14."""
    for g1, g2 in (([1.0, 0.0], [-0.5, 1.0]), ([1.0, 0.0], [3.0, 1.0]), ([3.0, 1.0], [1.0, 0.0])):
        a, b = np.array(g1), np.array(g2)
        t = np.clip((b - a) @ b / np.sum((a - b) ** 2), 0.0, 1.0)
        np.testing.assert_allclose(refopt.get("mgda")(np.stack([a, b])), t * a + (1 - t) * b, atol=1e-14)


@pytest.mark.identity("pcgrad")
@pytest.mark.parametrize("seed", range(3))
def test_pcgrad_transcribed(seed: int) -> None:
    """Algorithm 1 on vectors of length n, orders given, to 1e-13."""
    J, rng = matrix(seed, 5, 4), np.random.default_rng(9)
    order = [rng.permutation([j for j in range(5) if j != i]) for i in range(5)]
    total, conflicts = np.zeros(4), 0
    for i in range(5):
        g = J[i].copy()
        for j in order[i]:
            if g @ J[j] < 0:
                g = g - (g @ J[j]) / (J[j] @ J[j]) * J[j]
                conflicts += 1
        total = total + g
    assert conflicts > 5
    np.testing.assert_allclose(refopt.get("pcgrad")(J, order=order), total, atol=1e-13)
    drawn = np.random.default_rng(4)
    same = [np.random.default_rng(4).permutation(5)]
    rng = np.random.default_rng(4)
    same = [rng.permutation(5) for _ in range(5)]
    np.testing.assert_array_equal(refopt.get("pcgrad")(J, rng=drawn), refopt.get("pcgrad")(J, order=same))


@pytest.mark.claim("pcgrad")
def test_pcgrad_of_two() -> None:
    """Of two gradients, each is freed of its conflict; without a conflict it is the sum."""
    J = np.array([[1.0, 0.3], [-2.0, 1.0]])
    assert np.min(J @ refopt.get("pcgrad")(J)) > 0.0
    J = np.array([[1.0, 0.3], [2.0, 1.0]])
    np.testing.assert_allclose(refopt.get("pcgrad")(J), J.sum(axis=0), rtol=1e-15)
    with pytest.raises(refopt.errors.ArgumentError, match="order"):
        refopt.get("pcgrad")(J, order=[[1]])


@pytest.mark.claim("cagrad")
@pytest.mark.parametrize(
    ("c", "lengths"),
    [(0.2, 1.0), (0.5, 1.0), (0.9, 1.0), (0.01, [0.1, 3.0, 1.0, 40.0]), (3.0, [1.0, 1e-3, 1.0, 1.0])],
)
def test_cagrad_ball(c: float, lengths: Any) -> None:
    """||d - g_0|| = c ||g_0||, and no direction of the ball is better for the worst objective.

    The value of the dual at w bounds what any d of the ball does; d attains it, to 1e-10.
    """
    J = (matrix(2).T * lengths).T
    g0, d = np.mean(J, axis=0), refopt.get("cagrad")(J, c=c)
    radius = c * np.linalg.norm(g0)
    assert abs(np.linalg.norm(d - g0) - radius) < 1e-13 * max(1.0, radius)
    shift = (d - g0) / radius
    active = J @ d <= np.min(J @ d) + 1e-8 * np.linalg.norm(d)
    # The multipliers: convex weights of the active rows whose combination points along d - g_0.
    across = J[active].T - np.outer(shift, J[active] @ shift)
    v = non_negative_least_squares(np.vstack([across, np.ones(active.sum())]), np.append(np.zeros(6), 1.0))
    np.testing.assert_allclose(across @ v, 0.0, atol=1e-9)
    assert v @ (J[active] @ shift) > 0.0
    dual = (v / v.sum()) @ J[active]
    assert np.min(J @ d) == pytest.approx(dual @ g0 + radius * np.linalg.norm(dual), rel=1e-10)


@pytest.mark.identity("cagrad")
def test_cagrad_limits() -> None:
    """c = 0 is the mean, to 1e-15; at c = 1e7 the direction is MGDA's, to 1e-6; orthogonal pairs in closed form."""
    J = matrix(0) + 0.5
    A = refopt.get("cagrad")
    np.testing.assert_allclose(A(J, c=0.0), np.mean(J, axis=0), rtol=1e-14)
    far, near = A(J, c=1e7), refopt.get("mgda")(J)
    np.testing.assert_allclose(far / np.linalg.norm(far), near / np.linalg.norm(near), atol=1e-6)
    np.testing.assert_allclose(A(2.0 * np.eye(2)), [1.5, 1.5], rtol=1e-14)
    # g_0 = 0, and a g_w of 0.
    np.testing.assert_array_equal(A(np.array([[1.0, 0.0], [-1.0, 0.0]])), 0.0)
    np.testing.assert_allclose(A(np.array([[2.0, 0.0], [0.0, 0.0]])), [1.0, 0.0], rtol=1e-14)
    with pytest.raises(refopt.errors.ArgumentError, match="c: wanted"):
        A(J, c=-0.1)


@pytest.mark.claim("imtl-g")
def test_imtl_g_is_impartial() -> None:
    """d has the same projection on every unit gradient, to 1e-13, and its weights add up to 1."""
    J = matrix(1)
    d = refopt.get("imtl-g")(J)
    shares = J @ d / np.linalg.norm(J, axis=1)
    np.testing.assert_allclose(shares, shares[0], rtol=1e-12)
    assert np.linalg.lstsq(J.T, d, rcond=None)[0].sum() == pytest.approx(1.0, rel=1e-13)


@pytest.mark.identity("imtl-g")
def test_imtl_g_closed_form() -> None:
    """The paper's closed form: α_{2:} = g_1 U^T (D U^T)^{-1}, to 1e-12; two weights are as 1/||g_i||."""
    J = matrix(2)
    u = J / np.linalg.norm(J, axis=1)[:, None]
    D, U = J[0] - J[1:], u[0] - u[1:]
    rest = J[0] @ U.T @ np.linalg.inv(D @ U.T)
    weights = np.append(1.0 - rest.sum(), rest)
    np.testing.assert_allclose(refopt.get("imtl-g")(J), weights @ J, rtol=1e-11)
    J = J[:2]
    w = 1.0 / np.linalg.norm(J, axis=1)
    np.testing.assert_allclose(refopt.get("imtl-g")(J), w / w.sum() @ J, rtol=1e-13)


@pytest.mark.identity("imtl-g")
def test_imtl_g_by_the_pseudo_inverse() -> None:
    """Dependent gradients, and weights with a negative sum: the pseudo-inverse of the Gramian, to 1e-9.

    Opposite gradients of one length have weights that add up to 0, and the direction is 0.
    """
    negative = 0
    for seed in range(12):
        J = matrix(seed, 3, 2) if seed % 2 else 0.5 * matrix(seed, 3, 5) + matrix(seed + 50, 1, 5)
        if seed % 2 == 0:
            u = J / np.linalg.norm(J, axis=1)[:, None]
            # A short gradient with a negative share has a large negative weight.
            J[np.argmin(np.linalg.solve(u @ u.T, np.ones(3)))] *= 0.01
        v = np.linalg.pinv(J @ J.T, rcond=1e-12) @ np.linalg.norm(J, axis=1)
        negative += v.sum() < 0.0
        want = v / v.sum() @ J
        np.testing.assert_allclose(
            refopt.get("imtl-g")(J),
            want,
            rtol=0,
            atol=1e-9 * np.linalg.norm(want) * np.abs(v).sum() / abs(v.sum()),
        )
    assert 0 < negative < 12
    np.testing.assert_array_equal(refopt.get("imtl-g")(np.array([[1.0, 0.0], [-1.0, 0.0]])), 0.0)


@pytest.mark.claim("nash-mtl")
def test_nash_bargain() -> None:
    """||d||^2 = m and the gains J d are 1/α, to 1e-12, whatever the scales of the gradients."""
    J = matrix(4) + 0.3
    d = refopt.get("nash-mtl")(J)
    assert d @ d == pytest.approx(4.0, rel=1e-13)
    weights = np.linalg.lstsq(J.T, d, rcond=None)[0]
    assert np.min(weights) > 0.0
    np.testing.assert_allclose(J @ d, 1.0 / weights, rtol=1e-11)
    scaled = np.array([1.0, 1e-6, 50.0, 1e8])[:, None] * J
    np.testing.assert_allclose(refopt.get("nash-mtl")(scaled), d, rtol=1e-9)


@pytest.mark.identity("nash-mtl")
def test_nash_orthogonal() -> None:
    """Orthogonal gradients: the sum of the unit gradients, to 1e-14, shortened where that is asked for."""
    q = np.linalg.qr(matrix(5, 6, 6))[0][:4]
    J = np.array([1.0, 30.0, 0.01, 5.0])[:, None] * q
    np.testing.assert_allclose(refopt.get("nash-mtl")(J), q.sum(axis=0), rtol=1e-13)
    np.testing.assert_allclose(refopt.get("nash-mtl")(J, max_norm=1.0), q.sum(axis=0) / 2.0, rtol=1e-13)
    np.testing.assert_allclose(refopt.get("nash-mtl")(J, max_norm=5.0), q.sum(axis=0), rtol=1e-13)
    J = matrix(4) + 0.3
    np.testing.assert_allclose(np.linalg.norm(refopt.get("nash-mtl")(J, max_norm=0.5)), 0.5, rtol=1e-13)
    with pytest.raises(refopt.errors.ArgumentError, match="max_norm"):
        refopt.get("nash-mtl")(J, max_norm=0.0)
    # Opposite gradients have no bargain.
    np.testing.assert_array_equal(refopt.get("nash-mtl")(np.array([[1.0, 0.0], [-2.0, 0.0]])), 0.0)


@pytest.mark.identity("nash-mtl")
@pytest.mark.parametrize("angle", [1e-1, 1e-3, 1e-5])
def test_nash_of_two(angle: float) -> None:
    """Two gradients, nearly opposite too: d is along their bisector, with length √2, to 1e-9 over the angle."""
    J = np.array([[2.0, 0.0], [-5.0 * np.cos(angle), 5.0 * np.sin(angle)]])
    units = J / np.array([[2.0], [5.0]])
    want = units.sum(axis=0) / np.linalg.norm(units.sum(axis=0)) * np.sqrt(2.0)
    np.testing.assert_allclose(refopt.get("nash-mtl")(J), want, rtol=0, atol=1e-14 / angle**2 + 1e-13)


@pytest.mark.identity("gradnorm")
def test_gradnorm_transcribed() -> None:
    """Algorithm 1 written out, 30 steps on three quadratics, to 1e-12; norms by a part of the columns."""
    hessians, minima, start = quadratics(7, 3, 5)
    for columns in (None, slice(1, 4)):
        x = y = start
        state, w, first = None, np.ones(3), None
        for _ in range(30):
            J = np.einsum("ijk,ik->ij", hessians, x - minima)
            L = np.einsum("ij,ij->i", J, x - minima) / 2
            d, state = refopt.get("gradnorm")(J, state, losses=L, alpha=0.7, lr=0.05, columns=columns)
            x = x - 0.05 * d
            J = np.einsum("ijk,ik->ij", hessians, y - minima)
            L = np.einsum("ij,ij->i", J, y - minima) / 2
            first = L if first is None else first
            sizes = np.array([np.linalg.norm(g if columns is None else g[columns]) for g in J])
            G, r = w * sizes, L / first / np.mean(L / first)
            y = y - 0.05 * w @ J
            w = w - 0.05 * sizes * np.sign(G - np.mean(G) * r**0.7)
            w = 3 * w / w.sum()
        np.testing.assert_allclose(x, y, rtol=1e-12)
        np.testing.assert_allclose(state["weights"], w, rtol=1e-12)


@pytest.mark.claim("gradnorm")
def test_gradnorm_evens_norms() -> None:
    """With α = 0 the weighted norms become equal, to 2e-3, and weights add up to m at every step, to 1e-15."""
    J, state = np.diag([1.0, 4.0, 0.5]), None
    for k in range(450):
        _, state = refopt.get("gradnorm")(J, state, losses=np.ones(3), alpha=0.0, lr=0.02 * 0.98**k)
        assert state["weights"].sum() == pytest.approx(3.0, rel=1e-14)
    sizes = state["weights"] * np.array([1.0, 4.0, 0.5])
    np.testing.assert_allclose(sizes, np.mean(sizes), rtol=2e-3)
    with pytest.raises(refopt.errors.ArgumentError, match="losses"):
        refopt.get("gradnorm")(J, losses=np.array([1.0, 0.0, 1.0]))
    with pytest.raises(refopt.errors.ArgumentError, match="lr"):
        refopt.get("gradnorm")(J, losses=np.array([1.0, 1.0, 1.0]), lr=100.0)


@pytest.mark.claim("bloop")
def test_bloop_keeps_the_main_gradient() -> None:
    """On full batches ⟨a, d⟩ = ||a||^2, to 1e-14: to first order the main objective falls as without b."""
    J = matrix(6, 2)
    a, b = J
    d, s = refopt.get("bloop")(J, penalty=0.7)
    assert a @ d == pytest.approx(a @ a, rel=1e-14)
    np.testing.assert_allclose(d, a + 0.7 * (b - (a @ b) / (a @ a) * a), rtol=1e-13)
    np.testing.assert_array_equal(s["average"], a)
    np.testing.assert_allclose(refopt.get("bloop")(J, penalty=0.0)[0], a, rtol=1e-15)


@pytest.mark.identity("bloop")
@pytest.mark.parametrize(("start", "eps"), [("gradient", 0.0), ("zeros", 1e-7), ("gradient", 2.0)])
def test_bloop_transcribed(start: str, eps: float) -> None:
    """The algorithm written out, 20 pairs of gradients, from either start, to 1e-13."""
    rng = np.random.default_rng(8)
    e, state = None, None
    for _ in range(20):
        J = rng.standard_normal((2, 5))
        a, b = J
        if e is None:
            e = a if start == "gradient" else np.zeros(5)
        e = 0.7 * e + 0.3 * a
        want = a + 0.4 * (b - (e @ b) / (e @ e + eps) * e)
        d, state = refopt.get("bloop")(J, state, rho=0.3, penalty=0.4, eps=eps, start=start)
        np.testing.assert_allclose(d, want, rtol=1e-12, atol=1e-13)
    with pytest.raises(refopt.errors.ShapeError, match="J"):
        refopt.get("bloop")(matrix(0))
    A = refopt.get("bloop")
    np.testing.assert_allclose(
        A(np.array([[0.6, 0.8], [1.0, 0.0]]), penalty=1.0)[0], [1.24, 0.32], rtol=1e-14
    )
    np.testing.assert_array_equal(A(np.array([[0.0, 0.0], [1.0, 0.0]]), penalty=0.5)[0], [0.5, 0.0])
    for name, value in (("rho", 1.5), ("penalty", -1.0), ("eps", -1.0)):
        with pytest.raises(refopt.errors.ArgumentError, match=name):
            A(matrix(0, 2), **{name: value})
    with pytest.raises(refopt.errors.ArgumentError, match="start"):
        refopt.get("bloop")(matrix(0, 2), start="ones")


@pytest.mark.claim("two-quadratics")
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_pareto_points(share: float) -> None:
    """On its Pareto curve the weighted gradients cancel, to 1e-13; at the ends one objective is at its minimum."""
    p = refopt.problem("two-quadratics", n=3, condition_number=7.0)
    J = p.jacobian(p.pareto(share))
    np.testing.assert_allclose(share * J[0] + (1 - share) * J[1], 0.0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.eigvalsh(p.hessians[0])[[0, -1]], [1 / 7, 1.0], rtol=1e-12)
    if share == 1.0:
        assert float(p.objectives(p.pareto(share))[0]) < 1e-28
