"""What is claimed of merging by linear systems, and its identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.linear.mats import mats

from tests.parity.case import Arrays, Case


def _layers(seed: int, models: int = 3, d_in: int = 4, d_out: int = 3) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((models, d_in, d_out))
    X, Y = rng.standard_normal((models, 9, d_in)), rng.standard_normal((models, 9, d_out))
    return W, X.swapaxes(1, 2) @ X / 9, Y.swapaxes(1, 2) @ Y / 9


@pytest.mark.identity("mats")
def test_closed_forms() -> None:
    """The dense system of Kronecker products, RegMean's (sum A)^-1 sum A W, a vector's full Fisher matrices and, off the
    diagonal times 0 and 0.3, those with diagonals kept: to 1e-9.
    """
    W, A, G = _layers(0)
    for lam in (1.0, 0.3, 0.0):
        B, H = (C * (lam + (1 - lam) * np.eye(C.shape[-1])) for C in (A, G))
        left = sum(np.kron(b, h) for b, h in zip(B, H))
        right = sum(np.kron(b, h) @ w.ravel() for b, h, w in zip(B, H, W))
        got = mats(W, A, G, rtol=1e-13, maxiter=None, offdiagonal=lam).x
        np.testing.assert_allclose(got.ravel(), np.linalg.solve(left, right), rtol=0, atol=1e-9)
        mean = np.linalg.solve(B.sum(0), (B @ W).sum(0))
        np.testing.assert_allclose(mats(W, A, rtol=1e-13, offdiagonal=lam).x, mean, rtol=0, atol=1e-9)
        v = W[:, :, 0]
        want = np.linalg.solve(B.sum(0), np.einsum("mij,mj->i", B, v))
        np.testing.assert_allclose(mats(v, A, rtol=1e-13, offdiagonal=lam).x, want, rtol=0, atol=1e-9)
    weights = np.diagonal(A, axis1=1, axis2=2)
    want = (weights * W[:, :, 0]).sum(0) / weights.sum(0)
    np.testing.assert_allclose(mats(W[:, :, 0], A, offdiagonal=0.0, rtol=1e-13).x, want, rtol=1e-9)


@pytest.mark.claim("mats")
def test_what_the_statistics_decide() -> None:
    """Equal statistics give the average, already met by the start; identities in one pass from zeros. What no model's
    statistics see is kept from the start; the objective at the answer is below that of the average and of each model.
    """
    W, A, G = _layers(1)
    same = mats(W, A[[0, 0, 0]], G[[1, 1, 1]], rtol=1e-10)
    np.testing.assert_allclose(same.x, W.mean(0), rtol=0, atol=1e-12)
    assert same.iterations == 0
    plain = mats(W, np.broadcast_to(np.eye(4), A.shape).copy(), x0="zeros")
    np.testing.assert_allclose(plain.x, W.mean(0), rtol=1e-14)
    assert plain.iterations == 1
    seen = np.zeros((3, 4, 4))
    seen[:, :2, :2] = A[:, :2, :2]  # the last two inputs are always 0
    start = np.random.default_rng(2).standard_normal((4, 3))
    kept = mats(W, seen, G, x0=start, rtol=1e-12, maxiter=None)
    np.testing.assert_array_equal(kept.x[2:], start[2:])
    np.testing.assert_allclose(
        kept.x[:2], mats(W[:, :2], A[:, :2, :2], G, rtol=1e-12, maxiter=None).x, atol=1e-8
    )

    def objective(theta: np.ndarray) -> float:
        gap = theta - W
        return float(np.einsum("mij,mik,mkl,mjl->", gap, A, gap, G))

    best = objective(mats(W, A, G, rtol=1e-12, maxiter=None).x)
    assert all(objective(w) > best * 1.01 for w in (W.mean(0), *W))


def test_every_library(xp: Any, dtype: str) -> None:
    given = [v.astype(dtype) for v in _layers(3)]
    want = mats(*(v.astype(float) for v in given), rtol=1e-13, maxiter=None).x
    got = mats(*(xp.asarray(v) for v in given), rtol=1e-6 if dtype == "float32" else 1e-12, maxiter=60).x
    assert got.dtype == xp.asarray(given[0]).dtype and tuple(got.shape) == (4, 3)
    np.testing.assert_allclose(to_numpy(got), want, rtol=0, atol=1e-2 if dtype == "float32" else 1e-9)


def test_bad_input() -> None:
    W, A, G = _layers(4)
    for arguments, keywords, error, word in (
        ((W[0, 0], A), {}, errors.ShapeError, "weights"),
        ((W, A[:2]), {}, errors.ShapeError, "inputs"),
        ((W, G), {}, errors.ShapeError, "inputs"),
        ((W, A, A), {}, errors.ShapeError, "outputs"),
        ((W, np.triu(A)), {}, errors.ArgumentError, "inputs"),
        ((W[:, :, 0], A, G), {}, errors.ArgumentError, "outputs"),
        ((W, A), {"x0": "pretrained"}, errors.ArgumentError, "x0"),
        ((W, A), {"x0": W}, errors.ShapeError, "x0"),
        ((W, A), {"offdiagonal": 1.5}, errors.ArgumentError, "offdiagonal"),
    ):
        with pytest.raises(error, match=word):
            mats(*arguments, **keywords)


def _ours(seed: int) -> Arrays:
    W, A, G = _layers(seed)
    start = W[0] + 0.3 * (W[1] - W[2])
    return {str(k): mats(W, A, G, x0=start, rtol=0.0, maxiter=k).x for k in (1, 3, 6)}


def _scipy(seed: int) -> Arrays:
    W, A, G = _layers(seed)
    start = W[0] + 0.3 * (W[1] - W[2])
    left = sum(np.kron(a, g) for a, g in zip(A, G))
    right = sum((a @ w @ g).ravel() for a, w, g in zip(A, W, G))
    return {
        str(k): scipy.sparse.linalg.cg(left, right, x0=start.ravel(), rtol=0.0, maxiter=k)[0].reshape(4, 3)
        for k in (1, 3, 6)
    }


CASES = [
    Case(
        "mats", "scipy", "scipy", _ours, _scipy,
        says="SciPy's cg, which the authors' code calls, on the dense sum of Kronecker products after 1, 3 and 6 passes, to 1e-12.",
    ),
]  # fmt: skip
