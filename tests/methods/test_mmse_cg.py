"""What is claimed of the precoder without an inverse, and its identities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg
from refopt.core import errors
from refopt.core.arrays import to_numpy
from refopt.linear.mmse_cg import mmse_cg

from tests.parity.case import Arrays, Case


def _channel(seed: int, users: int = 4, antennas: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((users, antennas)) + 1j * rng.standard_normal((users, antennas))


def _shares(seed: int, users: int, total: float) -> np.ndarray:
    w = np.random.default_rng(seed).random(users) + 0.2
    return total * w / w.sum()


def _columns(W: np.ndarray, powers: np.ndarray) -> np.ndarray:
    return np.sqrt(powers) * W / np.linalg.norm(W, axis=0)


@pytest.mark.identity("mmse-cg")
def test_the_inverse() -> None:
    """The columns of (sigma^2 I + sum lambda_i h_i h_i^H)^-1 H^H at the users' powers, to 1e-9; equal shares are regularised
    zero forcing H^H (H H^H + K sigma^2 / p I)^-1.
    """
    H, noise, power = _channel(0), 0.7, 3.0
    lam, p = _shares(1, 4, power), _shares(2, 4, power)
    want = np.linalg.solve(noise * np.eye(7) + (H.conj().T * lam) @ H, H.conj().T)
    r = mmse_cg(H, noise, power=power, priorities=lam, powers=p, rtol=1e-13)
    assert r.success
    np.testing.assert_allclose(r.x, _columns(want, p), rtol=0, atol=1e-9)
    rzf = H.conj().T @ np.linalg.inv(H @ H.conj().T + 4 * noise / power * np.eye(4))
    np.testing.assert_allclose(
        mmse_cg(H, noise, power=power).x, _columns(rzf, np.full(4, power / 4)), rtol=0, atol=1e-8
    )
    np.testing.assert_allclose(np.sum(np.abs(r.x) ** 2, axis=0), p, rtol=1e-12)


@pytest.mark.claim("mmse-cg")
def test_limits_and_passes() -> None:
    """Exact after K passes (1e-10); one pass is the matched filter (1e-12); little noise ends in zero forcing, no user
    hearing another (1e-4). Passes to 1e-6 for 24 users fall as their antennas grow from 24 to 384, to what the
    condition ((1 + sqrt(K / N)) / (1 - sqrt(K / N)))^2 allows.
    """
    H = _channel(3)
    exact = mmse_cg(H, 0.5, rtol=1e-14, maxiter=40).x
    np.testing.assert_allclose(mmse_cg(H, 0.5, rtol=0.0, maxiter=4).x, exact, rtol=0, atol=1e-10)
    assert np.abs(mmse_cg(H, 0.5, rtol=0.0, maxiter=3).x - exact).max() > 1e-4
    matched = _columns(H.conj().T, np.full(4, 0.25))
    np.testing.assert_allclose(mmse_cg(H, 0.5, rtol=0.0, maxiter=1).x, matched, rtol=0, atol=1e-12)
    heard = np.abs(H @ mmse_cg(H, 1e-6, rtol=1e-13).x)
    assert np.abs(heard - np.diag(np.diag(heard))).max() < 1e-4 * np.diag(heard).min()
    passes = [mmse_cg(_channel(4, 24, n), 1.0, rtol=1e-6).iterations for n in (24, 96, 384)]
    assert passes[0] > passes[1] > passes[2]
    low, high = (
        (1 - np.sqrt(24 / 384)) ** 2,
        (1 + np.sqrt(24 / 384)) ** 2,
    )  # the spectrum's ends: Marchenko and Pastur
    root = np.sqrt(high / low)
    assert passes[2] <= np.log(2 * root / 1e-6) / np.log((root + 1) / (root - 1)) + 1


@pytest.mark.claim("mmse-cg")
def test_no_precoder_of_this_power_is_better_at_its_end() -> None:
    """With equal shares the precoder maximises every user's signal over leakage and noise,
    |h_k w|^2 / (sum_{i != k} |h_i w|^2 + K sigma^2 / p |w|^2), whose maximum is the quotient's eigenvalue, to 1e-10.
    """
    H, noise, power = _channel(5), 0.4, 2.0
    W = mmse_cg(H, noise, power=power, rtol=1e-13).x
    for k in range(4):
        gains = np.abs(H @ W[:, k]) ** 2
        reached = gains[k] / (gains.sum() - gains[k] + 4 * noise / power * np.sum(np.abs(W[:, k]) ** 2))
        others = np.delete(H, k, axis=0)
        leakage = others.conj().T @ others + 4 * noise / power * np.eye(7)
        best = (H[k] @ np.linalg.solve(leakage, H[k].conj())).real
        np.testing.assert_allclose(reached, best, rtol=1e-10)


def test_every_library(xp: Any, dtype: str) -> None:
    H = _channel(6).astype("complex64" if dtype == "float32" else "complex128")
    lam = _shares(6, 4, 1.0).astype(dtype)
    tol = 1e-5 if dtype == "float32" else 1e-10
    want = mmse_cg(H.astype(complex), 0.3, priorities=lam.astype(float), rtol=1e-13).x
    r = mmse_cg(xp.asarray(H), 0.3, priorities=xp.asarray(lam), rtol=tol / 10)
    assert r.x.dtype == xp.asarray(H).dtype
    np.testing.assert_allclose(to_numpy(r.x), want, rtol=0, atol=10 * tol)
    real = mmse_cg(xp.asarray(lam[None, :]), 0.3)
    assert real.x.dtype == xp.asarray(lam).dtype and tuple(real.x.shape) == (4, 1)


def test_bad_input() -> None:
    H = _channel(7)
    for arguments, keywords, error, word in (
        ((H[0], 1.0), {}, errors.ShapeError, "H"),
        ((H * np.nan, 1.0), {}, errors.NonFiniteError, "H"),
        ((H * np.array([1, 1, 0, 1])[:, None], 1.0), {}, errors.ArgumentError, "H"),
        ((H, 0.0), {}, errors.ArgumentError, "noise"),
        ((H, 1.0), {"power": -1.0}, errors.ArgumentError, "power"),
        ((H, 1.0), {"priorities": np.ones(4)}, errors.ArgumentError, "priorities"),
        ((H, 1.0), {"priorities": np.array([0.0, 0.5, 0.25, 0.25])}, errors.ArgumentError, "priorities"),
        ((H, 1.0), {"powers": np.array([-0.5, 1.0, 0.25, 0.25])}, errors.ArgumentError, "powers"),
        ((H, 1.0), {"powers": np.ones(3)}, errors.ShapeError, "powers"),
    ):
        with pytest.raises(error, match=word):
            mmse_cg(*arguments, **keywords)
    assert not mmse_cg(H, 1.0, maxiter=0).x.any()
    huge = mmse_cg(1e200 * H, 1.0)
    assert not huge.success and np.isfinite(huge.x).all()


def _ours(seed: int) -> Arrays:
    H = _channel(seed)
    lam, p = _shares(seed, 4, 2.0), _shares(seed + 1, 4, 2.0)
    return {
        str(k): mmse_cg(H, 0.3, power=2.0, priorities=lam, powers=p, rtol=0.0, maxiter=k).x for k in (1, 2, 3)
    }


def _scipy(seed: int) -> Arrays:
    H = _channel(seed)
    lam, p = _shares(seed, 4, 2.0), _shares(seed + 1, 4, 2.0)
    A = scipy.sparse.linalg.LinearOperator(
        (7, 7), matvec=lambda v: 0.3 * v + H.conj().T @ (lam * (H @ v)), dtype=complex
    )
    return {
        str(k): _columns(
            np.array([scipy.sparse.linalg.cg(A, h.conj(), rtol=0.0, maxiter=k)[0] for h in H]).T, p
        )
        for k in (1, 2, 3)
    }


CASES = [
    Case(
        "mmse-cg", "scipy", "scipy", _ours, _scipy,
        says="SciPy's complex cg column by column after 1, 2 and 3 passes, unequal priorities and powers, to 1e-12.",
    ),
]  # fmt: skip
