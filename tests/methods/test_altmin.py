"""What Gu et al. claim of alternating minimisation with approximate updates, and its identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.core.rng import generator
from refopt.linear.altmin import altmin, exact_rows, sketched_rows
from refopt.linear.iterative_sketching import draw_sketch


def _problem(
    seed: int, n: int = 24, m: int = 18, rank: int = 2, share: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    M = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m))
    return M, (rng.random((n, m)) < share) * 1.0


def _regressions(M: np.ndarray, mask: np.ndarray, V: np.ndarray) -> np.ndarray:
    out = np.zeros((M.shape[0], V.shape[1]))
    for i, kept in enumerate(mask.astype(bool)):
        out[i] = scipy.linalg.lstsq(V[kept], M[i, kept])[0] if kept.any() else 0
    return out


@pytest.mark.identity("altmin")
def test_the_rounds() -> None:
    """Start, regressions by SciPy's lstsq and QR factorisations, written out for three rounds: U V^T and the residuals to
    1e-11; a row without entries stays 0, one with fewer than k takes the least norm; a large first U is cut.
    """
    M, mask = _problem(0)
    mask[3], mask[4], mask[5] = 0, 0, 0
    mask[4, 7] = 1
    for mu in (None, 0.6):
        U = np.linalg.svd(mask * M)[0][:, :2]
        if mu is not None:
            assert (np.abs(U) > 2 * mu * np.sqrt(2 / 24)).any()
            U = np.where(np.abs(U) > 2 * mu * np.sqrt(2 / 24), 0, U)
        residuals = [1.0]
        for _ in range(3):
            U = np.linalg.qr(U)[0]
            V = np.linalg.qr(_regressions(M.T, mask.T, U))[0]
            U = _regressions(M, mask, V)
            residuals.append(np.linalg.norm(mask * (U @ V.T - M)) / np.linalg.norm(mask * M))
        r = altmin(np.where(mask == 1, M, np.nan), mask, 2, maxiter=3, tol=0.0, incoherence=mu)
        np.testing.assert_allclose(r.U @ r.V.T, U @ V.T, rtol=0, atol=1e-11)
        np.testing.assert_allclose(r.residuals, residuals, rtol=1e-10)
        np.testing.assert_allclose(r.V.T @ r.V, np.eye(2), rtol=0, atol=1e-13)
        assert not r.U[3].any() and (r.status, r.iterations) == ("iterations", 3)
    # Split: the start takes part 0, the t-th V part t, the t-th U part T + t.
    L, seen = _problem(7, 60, 50, 2, 0.9)
    part = generator(4, "method").integers(0, 5, L.shape)
    U = np.linalg.svd(seen * (part == 0) * L)[0][:, :2]
    for t in (1, 2):
        V = np.linalg.qr(_regressions(L.T, (seen * (part == t)).T, np.linalg.qr(U)[0]))[0]
        U = _regressions(L, seen * (part == 2 + t), V)
    r = altmin(L, seen, 2, maxiter=2, tol=0.0, split=True, seed=4)
    np.testing.assert_allclose(r.U @ r.V.T, U @ V.T, rtol=0, atol=1e-11 * np.abs(U @ V.T).max())
    sketched = [altmin(M, mask, 2, maxiter=2, updates="sketched", sketch_size=s).U for s in (None, 300, 299)]
    np.testing.assert_array_equal(sketched[0], sketched[1])
    assert not np.array_equal(sketched[0], sketched[2])


@pytest.mark.claim("altmin")
def test_geometric_and_robust() -> None:
    """A 40 x 40 matrix of rank 3 with 0.5 of its entries: the residual falls geometrically to 1e-10, and what was not observed
    is recovered to 1e-8; with sketched updates of 6 passes it takes as many rounds, to two; every part of a split is used.
    """
    M, mask = _problem(1, 40, 40, 3)
    exact = altmin(M, mask, 3, tol=1e-10)
    assert exact.success and exact.iterations < 60
    np.testing.assert_allclose(exact.U @ exact.V.T, M, rtol=0, atol=1e-8)
    late = exact.residuals[-6:]
    assert np.all(late[1:] < 0.9 * late[:-1])
    rough = altmin(M, mask, 3, tol=1e-10, updates="sketched", passes=6)
    assert rough.success and abs(rough.iterations - exact.iterations) <= 2
    other = altmin(M, mask, 3, tol=1e-10, updates="sketched", passes=6, seed=1)
    assert not np.array_equal(other.U, rough.U) and other.success
    large, seen = _problem(6, 160, 120, 2, 0.6)
    assert altmin(large, seen, 2, updates="sketched", sketch="count", maxiter=8, tol=1e-3, passes=6).success
    split = altmin(large, seen, 2, maxiter=2, tol=0.0, split=True)
    assert np.all(split.residuals[1:] < 0.4 * split.residuals[:-1])
    assert not np.array_equal(split.U, altmin(large, seen, 2, maxiter=2, tol=0.0, split=True, seed=1).U)
    whole = altmin(M, np.ones_like(M), 3, maxiter=2, tol=0.0)
    assert whole.residuals[1] < 1e-13  # all entries: the singular vectors at once


@pytest.mark.claim("altmin")
def test_sketched_regressions() -> None:
    """A count sketch of 40 k rows takes the condition of A R^-1 from 1e4 to below 1.5 and |1 - sigma^2| below 0.5; the
    regression's error falls by at least that a pass, from the sketched solution on, to 1e-10 of the exact answer.
    """
    rng = np.random.default_rng(2)
    A = rng.standard_normal((400, 3)) * np.array([1.0, 1e-2, 1e-4])
    b = rng.standard_normal(400)
    S = draw_sketch("count", 120, 0, np.full(400, 1 / 400), rng).T
    R = np.linalg.qr(S @ A)[1]
    sigma = np.linalg.svd(A @ np.linalg.inv(R), compute_uv=False)
    assert np.linalg.cond(A) > 8e3 and sigma[0] / sigma[-1] < 1.5
    factor = np.max(np.abs(1 - sigma**2))
    assert factor < 0.5
    z = exact_rows(b[None], np.ones((1, 400)), A)[0]
    np.testing.assert_allclose(z, np.linalg.lstsq(A, b)[0], rtol=1e-9)
    gaps = []
    for passes in range(8):
        found = sketched_rows(b[None], np.ones((1, 400)), A, S, passes)[0]
        gaps.append(np.linalg.norm(R @ (found - z)))
    assert np.all(np.array(gaps[1:]) <= factor * np.array(gaps[:-1]) * (1 + 1e-6))
    np.testing.assert_allclose(sketched_rows(b[None], np.ones((1, 400)), A, S, 60)[0], z, rtol=1e-9)
    start = np.linalg.lstsq(S @ A, S @ b)[0]
    np.testing.assert_allclose(sketched_rows(b[None], np.ones((1, 400)), A, S, 0)[0], start, rtol=1e-8)


def test_a_small_sketch_ends_as_diverged() -> None:
    M, mask = _problem(3, 60, 50, 3)
    r = altmin(M, mask, 3, updates="sketched", sketch_size=3, passes=600)
    assert r.status == "diverged" and np.isfinite(r.U).all() and "sketch_size" in r.message


def test_every_library(xp: Any, dtype: str) -> None:
    M, mask = (v.astype(dtype) for v in _problem(4))
    for updates in ("exact", "sketched"):
        want = altmin(M.astype(float), mask.astype(float), 2, updates=updates, maxiter=4, tol=0.0)
        r = altmin(xp.asarray(M), xp.asarray(mask), 2, updates=updates, maxiter=4, tol=0.0)
        assert r.U.dtype == r.V.dtype == xp.asarray(M).dtype
        tol = 1e-3 if dtype == "float32" else 1e-10
        np.testing.assert_allclose(to_numpy(r.U) @ to_numpy(r.V).T, want.U @ want.V.T, rtol=0, atol=tol)


def test_bad_input() -> None:
    M, mask = _problem(5)
    for arguments, keywords, error, word in (
        ((M, mask[:5], 2), {}, errors.ShapeError, "mask"),
        ((M, 0.5 * mask, 2), {}, errors.ArgumentError, "mask"),
        ((M, 0 * mask, 2), {}, errors.ArgumentError, "mask"),
        ((np.full_like(M, np.inf), mask, 2), {}, errors.NonFiniteError, "M"),
        ((M, mask, 0), {}, errors.ArgumentError, "rank"),
        ((M, mask, 19), {}, errors.ArgumentError, "rank"),
        ((M, mask, 2), {"updates": "als"}, errors.ArgumentError, "updates"),
        ((M, mask, 2), {"incoherence": 0.0}, errors.ArgumentError, "incoherence"),
        ((M, mask, 2), {"sketch": "srht"}, errors.ArgumentError, "sketch"),
        ((M, mask, 2), {"sketch_size": 1}, errors.ArgumentError, "sketch_size"),
        ((M, mask, 2), {"passes": -1}, errors.ArgumentError, "passes"),
        ((M, mask, 2), {"tol": -1.0}, errors.ArgumentError, "tol"),
    ):
        with pytest.raises(error, match=word):
            altmin(*arguments, **keywords)
