"""What is claimed of the decomposed diffusion sampler's data-consistency step, on a small multi-coil MRI, and its identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.linear.dds_cg import dds_cg

from tests.parity.case import Arrays, Case


def _mri(seed: int, coils: int = 3, side: int = 6) -> tuple[Any, np.ndarray, np.ndarray]:
    """Sampled Fourier coefficients of an image seen by coils: (forward, adjoint), an image and a denoised one."""
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((coils, side, side)) + 1j * rng.standard_normal((coils, side, side))
    kept = rng.random((side, side)) < 0.4

    def forward(x: np.ndarray) -> np.ndarray:
        return kept * np.fft.fft2(maps * x, norm="ortho")

    def adjoint(y: np.ndarray) -> np.ndarray:
        return np.sum(maps.conj() * np.fft.ifft2(kept * y, norm="ortho"), axis=0)

    image, noise = (
        rng.standard_normal((side, side)) + 1j * rng.standard_normal((side, side)) for _ in range(2)
    )
    return (forward, adjoint), image, image + 0.5 * noise


def _dense(A: Any, like: np.ndarray) -> np.ndarray:
    columns = [A[0](e.reshape(like.shape)).ravel() for e in np.eye(like.size)]
    return np.array(columns).T


@pytest.mark.claim("dds-cg")
def test_the_krylov_space() -> None:
    """After m passes the step is the best of x0 + K_m(A^H A, A^H (y - A x0)): least residual in the norm of the measurement
    without noise, least objective |x - x0|^2 / 2 + gamma |A x - y|^2 / 2 with it, to 1e-10, m = 1 to 4.
    """
    A, image, x0 = _mri(0)
    M = _dense(A, x0)
    y = A[0](image)
    gradient = M.conj().T @ (y.ravel() - M @ x0.ravel())
    for passes in (1, 2, 3, 4):
        K = np.array([np.linalg.matrix_power(M.conj().T @ M, k) @ gradient for k in range(passes)]).T
        K = np.linalg.qr(K)[0]
        best = np.linalg.lstsq(M @ K, y.ravel() - M @ x0.ravel(), rcond=None)[0]
        got = dds_cg(A, y, x0, passes=passes).x
        np.testing.assert_allclose(got.ravel(), x0.ravel() + K @ best, rtol=0, atol=1e-10)
        gamma = 2.5
        stacked = np.concatenate([K, np.sqrt(gamma) * M @ K])
        right = np.concatenate([0 * x0.ravel(), np.sqrt(gamma) * (y.ravel() - M @ x0.ravel())])
        best = np.linalg.lstsq(stacked, right, rcond=None)[0]
        got = dds_cg(A, y, x0, passes=passes, gamma=gamma).x
        np.testing.assert_allclose(got.ravel(), x0.ravel() + K @ best, rtol=0, atol=1e-10)


@pytest.mark.identity("dds-cg")
def test_the_limits() -> None:
    """Many passes without noise: the image of those that explain y that is nearest to x0, x0 - A^+ (A x0 - y); with noise the
    proximal point (I + gamma A^H A)^-1 (x0 + gamma A^H y); gamma of 1e8 is the first again: to 1e-7.
    """
    A, image, x0 = _mri(1, coils=1)
    M, y = _dense(A, x0), A[0](image)
    nearest = x0.ravel() - np.linalg.pinv(M) @ (M @ x0.ravel() - y.ravel())
    np.testing.assert_allclose(dds_cg(A, y, x0, passes=200, atol=1e-12).x.ravel(), nearest, rtol=0, atol=1e-7)
    for gamma, tol in ((0.7, 1e-10), (30.0, 1e-10)):
        prox = np.linalg.solve(
            np.eye(36) + gamma * M.conj().T @ M, x0.ravel() + gamma * M.conj().T @ y.ravel()
        )
        got = dds_cg(A, y, x0, passes=200, gamma=gamma, atol=1e-12).x
        np.testing.assert_allclose(got.ravel(), prox, rtol=0, atol=tol)
    np.testing.assert_allclose(prox, nearest, rtol=0, atol=0.2)
    assert dds_cg(A, y, x0, passes=0).x.tolist() == x0.tolist()
    early = dds_cg(A, y, x0, passes=50, atol=0.5)
    assert early.success and early.iterations < 50 and early.residuals[-1] <= 0.5 < early.residuals[-2]


def test_every_library(xp: Any, dtype: str) -> None:
    rng = np.random.default_rng(2)
    A, y, x0 = (rng.standard_normal(s).astype(dtype) for s in ((5, 8), (5,), (8,)))
    for gamma in (None, 1.5):
        want = dds_cg(A.astype(float), y.astype(float), x0.astype(float), gamma=gamma, passes=3).x
        got = dds_cg(*(xp.asarray(v) for v in (A, y, x0)), gamma=gamma, passes=3).x
        assert got.dtype == xp.asarray(x0).dtype
        np.testing.assert_allclose(to_numpy(got), want, rtol=0, atol=1e-3 if dtype == "float32" else 1e-11)


def test_bad_input() -> None:
    A, y, x0 = np.ones((3, 4)), np.ones(3), np.ones(4)
    for arguments, keywords, error, word in (
        (("A", y, x0), {}, errors.ArgumentTypeError, "A"),
        ((A, y, np.ones(5)), {}, errors.ShapeError, "x0"),
        ((A, y * np.nan, x0), {}, errors.NonFiniteError, "y"),
        ((A, y, x0), {"gamma": 0.0}, errors.ArgumentError, "gamma"),
        ((A, y, x0), {"passes": -1}, errors.ArgumentError, "passes"),
        ((A, y, x0), {"atol": -1.0}, errors.ArgumentError, "atol"),
    ):
        with pytest.raises(error, match=word):
            dds_cg(*arguments, **keywords)


def _real(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((9, 12)), rng.standard_normal(9), rng.standard_normal(12)


def _ours(seed: int) -> Arrays:
    problem = _real(seed)
    return {"clean": dds_cg(*problem).x, "noisy": dds_cg(*problem, gamma=1.7, passes=4).x}


CASES = [
    Case(
        "dds-cg", "official", "HJ-harry/DDS@509b140ee8ba76772ab7d98929270033d4306f2f", _ours, None,
        says="The authors' CG on a real measurement, 5 passes without noise and 4 with, to 1e-12.",
    ),
]  # fmt: skip
