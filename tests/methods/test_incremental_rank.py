"""Incremental learning of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

found = refopt.get("incremental-rank")


def _problem(**more: Any) -> Any:
    return refopt.problem("matrix-sensing", **{"n": 12, "rank": 3, "condition_number": 5.0, "operator": "identity",
        "search_rank": 12, **more})  # fmt: skip


@pytest.mark.claim("incremental-rank")
def test_every_rank_is_learned_in_its_turn() -> None:
    """Distances to the fits of rank 1, 2, 3 fall to an eighth or less from α = 1e-1 to 1e-3 to 1e-6, times rise with the rank."""
    p = _problem()
    runs = [found(p, alpha=alpha, steps=900) for alpha in (1e-1, 1e-3, 1e-6)]
    distances = np.stack([r.distances for r in runs])
    assert np.all(distances[1:] < 0.125 * distances[:-1])
    assert np.all(distances[-1] < 2e-3)
    for r in runs[1:]:
        assert np.all(np.diff(r.times) > 0)


@pytest.mark.claim("incremental-rank")
def test_times_grow_with_the_logarithm_of_the_start() -> None:
    """The second rank's time is where its remainder, falling, meets the third's beginning, rising: to 3 %.

    With both exponential and both begun at α², that is at t = 2 log(1/α) / (μ (σ_2 + σ_3)).
    """
    p = _problem()
    early, late = (found(p, alpha=a, steps=1200, ranks=2).times for a in (1e-5, 1e-9))
    assert late[1] > early[1]
    want = 2 * np.log(1e4) / (0.2 * (0.6 + 0.2))
    assert abs((late[1] - early[1]) / want - 1) < 0.03


@pytest.mark.claim("incremental-rank")
def test_too_few_columns_end_at_the_fit() -> None:
    """With two columns on a truth of rank 3 gradient descent ends at the best fit of rank 2, to 1e-9."""
    r = found(_problem(search_rank=2), alpha=1e-2, steps=900)
    assert r.distances.shape == (2,)
    assert r.distances[1] < 1e-9
    assert r.times[1] > 300
    assert r.fits.shape == (2, 12, 12)


@pytest.mark.identity("incremental-rank")
def test_written_out() -> None:
    """Gradient descent on all entries written out, with truncated eigendecompositions as fits: to 1e-7."""
    p = _problem()
    r = found(p, alpha=0.05, lr=0.1, steps=300, seed=4)
    values, vectors = np.linalg.eigh(p.truth)
    rng = refopt.core.rng.generator(4, "start")
    U = rng.standard_normal((12, 12))
    U *= 0.05 / np.linalg.norm(U, 2)
    best = np.full(3, np.inf)
    for _ in range(301):
        for s in (1, 2, 3):
            top = (vectors[:, -s:] * values[-s:]) @ vectors[:, -s:].T
            best[s - 1] = min(best[s - 1], np.linalg.norm(U @ U.T - top))
        U = U - 0.1 * (U @ U.T - p.truth) @ U
    np.testing.assert_allclose(r.distances, best, rtol=1e-7)


@pytest.mark.identity("incremental-rank")
def test_fits_under_measurements() -> None:
    """With Gaussian measurements each fit is stationary in its columns to 1e-8 and better than the truncated truth."""
    p = _problem(n=8, operator="gaussian", measurements=150, search_rank=8, rank=2)
    r = found(p, steps=1, ranks=2)
    values, vectors = np.linalg.eigh(p.truth)
    w, Q = np.linalg.eigh(r.fits[0])
    U = np.zeros((8, 8))
    U[:, 0] = Q[:, -1] * np.sqrt(w[-1])
    assert np.abs(p.grad(U)[:, 0]).max() < 1e-8
    top = np.zeros((8, 8))
    top[:, 0] = vectors[:, -1] * np.sqrt(values[-1])
    assert float(p.value(U)) < float(p.value(top)) * (1 - 1e-6)
    np.testing.assert_allclose(r.fits[1], p.truth, atol=1e-8)


def test_refused() -> None:
    p = _problem()
    errors = refopt.errors
    for call, error in (
        (lambda: found(p, alpha=0.0), errors.ArgumentError),
        (lambda: found(p, lr=-1.0), errors.ArgumentError),
        (lambda: found(p, steps=0), errors.ArgumentError),
        (lambda: found(p, ranks=13), errors.ShapeError),
        (lambda: found(p, lr=50.0, alpha=1.0, steps=400), errors.NonFiniteError),
        (lambda: found(refopt.problem("quadratic")), errors.CapabilityError),
        (lambda: found(3), errors.CapabilityError),
    ):
        with pytest.raises(error), np.errstate(all="ignore"):
            call()
