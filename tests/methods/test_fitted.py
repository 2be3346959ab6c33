"""Fits of a Hessian's inverse: beside the author's updates, at their fixed points, and how fast they get there."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.rng import generator
from refopt.curvature.fitted import towards_symmetry

from tests.parity.case import Arrays, Case

GROUPS = ("gl", "triangular", "qeq", "half", "qep", "quad")


def pairs(seed: int, n: int = 5, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Normal v, and H v of an indefinite H with noise."""
    rng = np.random.default_rng(seed)
    H = rng.standard_normal((n, n))
    v = rng.standard_normal((count, n))
    return v, v @ (H + H.T) / 2 + 0.1 * rng.standard_normal((count, n))


def of(H: np.ndarray) -> Any:
    return refopt.from_functions(lambda x: 0.5 * float(x @ H @ x), lambda x: H @ x, hvp=lambda x, v: H @ v)


def trail(seed: int, rate: float) -> Arrays:
    v, h = pairs(seed)
    out = {}
    for name in GROUPS:
        C = refopt.curvature("lie-group-fit", of(np.eye(5)), np.zeros(5), geometry=name, rate=rate)
        F, L, rows = np.eye(5), 0.0, []
        for a, b in zip(v, h):
            F, L = C.stepped(F, L, a, b)
            rows.append(F)
        out[name] = np.stack(rows[::10])
    return out


CASES = [
    Case("lie-group-fit", "official", "lixilinx/psgd_torch@a8616f1", functools.partial(trail, rate=0.3), None,
        says="The author's updates of a dense Q (60 noisy pairs of an indefinite Hessian: GL(n), triangular, Q E Q,"
        " Q^0.5 E Q^1.5 with exact norms, Q E P, quadratic) to 1e-12"),
]  # fmt: skip


@pytest.mark.identity("lie-group-fit")
@pytest.mark.parametrize("geometry", ["gl", "triangular", "spd", "euclidean", "qeq", "qep"])
def test_the_fixed_point(geometry: str) -> None:
    """At the inverse of an indefinite H's absolute value the mean step over v with E[v vᵀ] = I is zero, to 1e-12; elsewhere not."""
    n = 4
    R = np.random.default_rng(1).standard_normal((n, n))
    H = R + R.T
    values, vectors = np.linalg.eigh(H)
    assert values[0] < 0 < values[-1]
    P = vectors @ np.diag(1 / np.abs(values)) @ vectors.T
    root = vectors @ np.diag(np.abs(values) ** -0.5) @ vectors.T
    C = refopt.curvature("lie-group-fit", of(H), np.zeros(n), geometry=geometry, rate=1e-3)
    F = (
        P
        if geometry in ("spd", "euclidean")
        else np.linalg.cholesky(P).T
        if geometry == "triangular"
        else root
    )
    for at, still in ((F, True), (1.1 * F, False)):
        mean = np.zeros((n, n))
        inverse = np.linalg.inv(at if geometry in ("spd", "euclidean") else at.T @ at)
        for v in np.sqrt(n) * np.eye(n):
            h, u = H @ v, np.linalg.solve(inverse, H @ v)
            size = {
                "gl": h @ u + v @ inverse @ v,
                "triangular": h @ u + v @ inverse @ v,
                "spd": h @ u + v @ inverse @ v,
                "euclidean": 1.0,
                "qeq": u @ u + v @ v,
                "qep": np.sum((at @ u) ** 2 + (at @ v) ** 2),
            }[geometry]
            mean += size * (at - C.stepped(at, 0.0, v, h)[0]) / 1e-3 / n
        assert (np.max(np.abs(mean)) < 1e-12 * np.max(np.abs(at)) * 1e3) == still


@pytest.mark.identity("lie-group-fit")
def test_a_step_on_the_whole_matrix() -> None:
    """One pair: P - rate (u uᵀ - v vᵀ) / (hᵀ P h + vᵀ P⁻¹ v) in the SPD manifold, P - rate (h hᵀ - w wᵀ) in Euclidean space."""
    (v, h), P = (u[0] for u in pairs(1)), np.diag([0.5, 1.0, 2.0, 3.0, 1.0])
    u, w = P @ h, v / np.diag(P)
    spd = P - 0.3 * (np.outer(u, u) - np.outer(v, v)) / (h @ P @ h + v @ w)
    flat = P - 0.3 * (np.outer(h, h) - np.outer(w, w))
    for geometry, want in (("spd", spd), ("euclidean", flat)):
        C = refopt.curvature("lie-group-fit", of(np.eye(5)), np.zeros(5), geometry=geometry, rate=0.3)
        np.testing.assert_allclose(C.stepped(P, 0.0, v, h)[0], want, rtol=1e-12, atol=1e-14)
        assert C.pairs == 20


@pytest.mark.claim("lie-group-fit")
@pytest.mark.parametrize("geometry", [*GROUPS, "spd"])
def test_linear_convergence(geometry: str) -> None:
    """For a positive definite H of condition 5, ``P H - I`` falls by a factor a pair: below 1e-10, the log's halves alike."""
    R = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]
    H = R @ np.diag([1.0, 2.0, 5.0]) @ R.T
    errors = []
    for k in (200, 400, 800):
        C = refopt.curvature(
            "lie-group-fit", of(H), np.zeros(3), geometry=geometry, rate=1.0, pairs=k, seed=4
        )
        errors.append(np.linalg.norm(C.dense() @ H - np.eye(3)))
    assert errors[2] < 1e-10
    first, second = np.log10(errors[0]), np.log10(errors[1])
    assert second < 1.4 * first or errors[1] < 1e-13
    np.testing.assert_allclose(C.solve(np.ones(3)), H @ np.ones(3), rtol=1e-8)


@pytest.mark.claim("lie-group-fit")
def test_the_euclidean_fit_is_slow() -> None:
    """In Euclidean space a step is as long as the smallest curvature allows: after 800 pairs the error is 1e3 times GL(n)'s."""
    H = np.diag([1.0, 2.0, 5.0])
    errors = {}
    for geometry, rate in (("euclidean", 0.001), ("gl", 1.0)):
        C = refopt.curvature("lie-group-fit", of(H), np.zeros(3), geometry=geometry, rate=rate, pairs=800)
        errors[geometry] = np.linalg.norm(C.dense() @ H - np.eye(3))
    start = (
        refopt.curvature(
            "lie-group-fit", of(H), np.zeros(3), geometry="euclidean", rate=1e-12, pairs=1
        ).dense()
        @ H
    )
    assert 1e3 * errors["gl"] < errors["euclidean"] < np.linalg.norm(start - np.eye(3))


@pytest.mark.identity("lie-group-fit")
def test_the_start() -> None:
    """With a rate near zero P is ``mean(v²)^(1/2) mean(h⁴)^(-1/4) I`` of the seed's first pair, whole or as QᵀQ, to 1e-10."""
    H = np.diag([1.0, 2.0, 5.0])
    v = generator(7, "method", 0).standard_normal(3)
    want = np.mean(v**2) ** 0.5 * np.mean((H @ v) ** 4) ** -0.25 * np.eye(3)
    for geometry in ("gl", "spd"):
        C = refopt.curvature(
            "lie-group-fit", of(H), np.zeros(3), geometry=geometry, rate=1e-12, pairs=2, seed=7
        )
        np.testing.assert_allclose(C.dense(), want, rtol=1e-10, atol=1e-10)
        assert C.calls == {"hvp": 2}


@pytest.mark.identity("closed-form-fit")
def test_the_script() -> None:
    """The author's script transcribed (I counts for one pair, a weight of at least 0.02), and the plain mean, to 1e-12."""
    H = np.array([[2.0, 0.5, 0.0], [0.5, -1.0, 0.3], [0.0, 0.3, 4.0]])
    rng = generator(3, "method", 0)
    C, plain = np.eye(3), []
    for i in range(100):
        h = H @ rng.standard_normal(3)
        plain.append(np.outer(h, h))
        keep = (i + 1) / (i + 2) if (i + 1) / (i + 2) < 0.98 else 0.98
        C = keep * C + (1 - keep) * np.outer(h, h)
    for matrix, kwargs in ((C, {"forget": 0.02}), (np.mean(plain, axis=0), {"prior": 0.0})):
        values, vectors = np.linalg.eigh(matrix)
        got = refopt.curvature("closed-form-fit", of(H), np.zeros(3), pairs=100, seed=3, **kwargs).dense()
        np.testing.assert_allclose(got, vectors @ np.diag(values**-0.5) @ vectors.T, rtol=1e-12, atol=1e-13)
    # Without pairs to speak of P is the prior's.
    one = refopt.curvature("closed-form-fit", of(H), np.zeros(3), pairs=1, prior=1e15).dense()
    np.testing.assert_allclose(one, np.eye(3), atol=1e-12)


@pytest.mark.claim("closed-form-fit")
def test_the_error_falls_as_one_over_the_root() -> None:
    """k ‖P |H| - I‖² stays within a factor 2 from 100 to 800 pairs (mean of 8 seeds), for an indefinite H."""
    H = np.diag([1.0, -2.0, 3.0])
    scaled = []
    for k in (100, 800):
        gaps = []
        for seed in range(8):
            C = refopt.curvature("closed-form-fit", of(H), np.zeros(3), pairs=k, seed=seed)
            gaps.append(np.linalg.norm(C.dense() @ np.abs(H) - np.eye(3)) ** 2)
        scaled.append(k * np.mean(gaps))
    assert 0.5 < scaled[1] / scaled[0] < 2.0


def test_what_they_cannot_use() -> None:
    """Unknown geometries, rates and pairs; a singular Hessian without a prior, and fewer pairs than parameters."""
    error = refopt.errors.ArgumentError
    for name, kwargs in (
        ("lie-group-fit", {"geometry": "so3"}),
        ("lie-group-fit", {"rate": 2.5}),
        ("lie-group-fit", {"pairs": 0}),
        ("closed-form-fit", {"prior": -1.0}),
        ("closed-form-fit", {"prior": 0.0, "pairs": 2}),
    ):
        with pytest.raises(error):
            refopt.curvature(name, of(np.eye(3)), np.zeros(3), **kwargs)
    with pytest.raises(error, match="prior"):
        refopt.curvature("closed-form-fit", of(np.diag([1.0, 1.0, 0.0])), np.zeros(3), prior=0.0).dense()


def test_towards_symmetry() -> None:
    """A turned symmetric matrix comes nearer to it (its trace grows), its Gram matrix kept to the turn's fourth power; symmetric ones stay."""
    rng = np.random.default_rng(5)
    R = rng.standard_normal((4, 4))
    S = R @ R.T + np.eye(4)
    Q = np.linalg.qr(np.eye(4) + 0.2 * (R - R.T))[0] @ S
    turned = towards_symmetry(Q)
    assert np.trace(Q) < np.trace(turned) <= np.trace(S)
    np.testing.assert_allclose(turned.T @ turned, Q.T @ Q, rtol=0, atol=0.125**4 * np.linalg.norm(Q) ** 2)
    np.testing.assert_array_equal(towards_symmetry(S), S)
