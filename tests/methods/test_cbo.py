"""CBO: consensus in closed form, the step written out, its limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, X, at

CLOUD = np.random.default_rng(0).standard_normal((6, 3))


def step(o: Any, p: Any, *kicks: np.ndarray, cloud: np.ndarray = CLOUD) -> tuple[np.ndarray, np.ndarray]:
    """One step of a cloud that has its consensus point already: before and after."""
    x = o.consensus(cloud, Oracle(p))
    _, s = o.step(x, {"t": 1, "particles": cloud}, at(p, *kicks))
    assert s["t"] == 2
    return x, s["particles"]


@pytest.mark.claim("cbo")
def test_consensus_is_the_proximal_point() -> None:
    """Of a cloud N(m, σ̃² I) and a quadratic x_α is the proximal point of f at m with step α σ̃²: to 1e-12 where the
    cloud is a Gauss-Hermite grid with its weights put into f.
    """
    sd, alpha, m = 0.4, 1.5, np.array([1.0, -0.5])
    a = H[:2, :2]
    z, w = np.polynomial.hermite_e.hermegauss(24)
    grid = m + sd * np.array([[i, j] for i in z for j in z])
    weight = np.array([i * j for i in w / w.sum() for j in w / w.sum()])
    energies = {tuple(x): 0.5 * x @ a @ x - np.log(k) / alpha for x, k in zip(grid, weight)}
    p = refopt.from_functions(lambda x: energies[tuple(x)])
    o = refopt.optimizer("cbo", particles=len(grid), alpha=alpha)
    got = o.consensus(grid, Oracle(p))
    want = np.linalg.solve(np.eye(2) / sd**2 + alpha * a, m / sd**2)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.claim("cbo")
def test_limits_and_shifts() -> None:
    """α = 0 gives the mean, α = 1e15 the best particle without overflow; f + 2^20 leaves x_α (1e-9); λ Δt = 1 and
    σ = 0 bring all particles together in one step.
    """
    p = Cubic(H)
    best = CLOUD[np.argmin([p.value(c) for c in CLOUD])]
    for alpha, want in ((0.0, CLOUD.mean(0)), (1e15, best)):
        got = refopt.optimizer("cbo", particles=6, alpha=alpha).consensus(CLOUD, Oracle(p))
        np.testing.assert_allclose(got, want, rtol=1e-13)
    o = refopt.optimizer("cbo", particles=6, alpha=2.0)
    high = refopt.from_functions(lambda x: p.value(x) + 2.0**20)
    np.testing.assert_allclose(o.consensus(CLOUD, Oracle(high)), o.consensus(CLOUD, Oracle(p)), rtol=1e-9)
    o = refopt.optimizer("cbo", particles=6, drift=4.0, dt=0.25, sigma=0.0)
    x, cloud = step(o, p, np.zeros((6, 3)))
    np.testing.assert_allclose(cloud, np.broadcast_to(x, (6, 3)), atol=1e-15)


@pytest.mark.identity("cbo")
@pytest.mark.parametrize("noise", ["isotropic", "anisotropic"])
@pytest.mark.parametrize("split", [False, True])
def test_written_out(noise: str, split: bool) -> None:
    """A step of both noises, in the paper's form and with the drift first as in the MATLAB code, equals the formula
    particle by particle, to 1e-13.
    """
    p, kicks = Cubic(H, 1.3), np.random.default_rng(1).standard_normal((6, 3))
    lam, sigma, dt, alpha = 0.8, 1.6, 0.09, 0.7
    o = refopt.optimizer(
        "cbo", particles=6, drift=lam, sigma=sigma, dt=dt, alpha=alpha, noise=noise, split=split
    )
    x, cloud = step(o, p, kicks)
    omega = [np.exp(-alpha * p.value(c)) for c in CLOUD]
    center = sum(w * c for w, c in zip(omega, CLOUD)) / sum(omega)
    np.testing.assert_allclose(x, center, rtol=1e-12)
    for c, b, got in zip(CLOUD, kicks, cloud):
        moved = c - lam * dt * (c - center)
        d = (moved if split else c) - center
        size = np.linalg.norm(d) if noise == "isotropic" else np.abs(d)
        np.testing.assert_allclose(got, moved + sigma * 0.3 * size * b, rtol=1e-12)


@pytest.mark.identity("cbo")
def test_start_leaves_and_hops() -> None:
    """The first cloud is drawn around the start, a hop around x_α; norms are over all leaves of a particle; N + N
    values at first, then N: with the draws put in, to 1e-13.
    """
    p = Cubic(H, 0.4)

    class Named:
        def value(self, x: Any) -> float:
            return p.value(np.concatenate([x["a"], x["b"][None]]))

    rng = np.random.default_rng(2)
    b = [
        rng.standard_normal((4, 2)),
        rng.standard_normal(4),
        rng.standard_normal((4, 2)),
        rng.standard_normal(4),
    ]
    start = {"a": X[:2], "b": X[2]}
    for hopping in (None, 0.3):
        o = refopt.optimizer(
            "cbo", particles=4, alpha=1.0, spread=0.2, sigma=2.0, dt=0.04, drift=3.0, hopping=hopping
        )
        oracle = at(Named(), *b)
        s = o.init(start)
        assert s["t"] == 0 and s["particles"]["a"].shape == (4, 2)
        new, s = o.step(start, s, oracle)
        first = X + 0.2 * np.column_stack([b[0], b[1]])
        omega = np.exp([-p.value(c) for c in first])
        center, kick = omega @ first / omega.sum(), np.column_stack([b[2], b[3]])
        d = first - center
        cloud = first - 0.12 * d + 0.4 * np.linalg.norm(d, axis=1)[:, None] * kick
        if hopping:
            cloud = center + 0.3 * kick
        np.testing.assert_allclose(
            np.column_stack([s["particles"]["a"], s["particles"]["b"]]), cloud, rtol=1e-12
        )
        omega = np.exp([-p.value(c) for c in cloud])
        np.testing.assert_allclose(new["a"], (omega @ cloud / omega.sum())[:2], rtol=1e-11)
        assert oracle.counts.calls == {"value": 8}
        assert s["t"] == 1


@pytest.mark.claim("cbo")
def test_variance_decays_where_it_should() -> None:
    """Without a landscape the spread of isotropic noise falls if 2 λ > d σ² and grows otherwise: the mean of a
    particle's squared distance is multiplied by (1 - λ Δt)² + d σ² Δt (40 000 draws, 5 standard errors).
    """
    flat = refopt.from_functions(lambda x: 0.0)
    kicks = np.random.default_rng(3).standard_normal((20_000, 2))
    cloud = np.vstack([np.full((10_000, 2), 1.0), np.full((10_000, 2), -1.0)])
    for sigma, falls in ((0.8, True), (1.3, False)):
        o = refopt.optimizer("cbo", particles=20_000, drift=1.0, sigma=sigma, dt=0.01, alpha=0.0)
        moved = o.moved(cloud, np.zeros(2), at(flat, kicks))
        ratio = np.sum(moved**2, axis=1) / 2
        want = 0.99**2 + 2 * sigma**2 * 0.01
        assert abs(ratio.mean() - want) <= 5 * ratio.std() / 20_000**0.5
        assert (want < 1) == falls


def test_far_particles() -> None:
    """Distances whose squares leave the range are distances all the same."""
    o = refopt.optimizer("cbo", particles=2, drift=0.0, sigma=1.0, dt=1.0)
    flat = refopt.from_functions(lambda x: 0.0)
    cloud = np.array([[3e200, 4e200], [0.0, 0.0]])
    moved = o.moved(cloud, np.zeros(2), at(flat, np.array([[1.0, 0.0], [1.0, 1.0]])))
    np.testing.assert_allclose(moved, [[8e200, 4e200], [0.0, 0.0]], rtol=1e-14)
