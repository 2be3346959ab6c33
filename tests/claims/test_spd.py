"""What the papers claim of the SPD geometries."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.matrix import spd as functions
from refopt.matrix.spd_geometry import spd_distance

from tests.identities.test_bures import spd
from tests.identities.test_roots import with_eigenvalues


@pytest.mark.claim("spd-exp")
@pytest.mark.claim(
    "spd-log", says="The derivative at I is E, off the diagonal too; finite at repeated eigenvalues."
)
def test_derivatives_at_repeated_eigenvalues():
    """The derivative at 0 is E, off the diagonal too; finite at repeated eigenvalues."""
    E = np.random.default_rng(0).standard_normal((4, 4))
    eye = np.eye(4)
    np.testing.assert_allclose(functions.spd_log_vjp(eye, E), E, atol=1e-15)
    np.testing.assert_allclose(functions.spd_exp_vjp(0 * eye, E), E, atol=1e-15)
    for theta in (0.5, -1.0, 3.0):
        np.testing.assert_allclose(functions.spd_power_vjp(eye, E, theta), theta * E, atol=1e-14)
    A, _ = with_eigenvalues([1.0, 1.0, 1.0 + 1e-15, 0.2])
    for derivative in (functions.spd_log_vjp(A, E), functions.spd_power_vjp(A, E, 0.3)):
        assert np.all(np.isfinite(derivative))


@pytest.mark.claim("spd-distance")
def test_affine_invariance():
    """affine-invariant: unchanged by congruence (to 1e-10) and inversion (1e-11); never below log-
    Euclidean.

    d(P A P^T, P B P^T) = d(A, B) = d(A^{-1}, B^{-1}); log-Euclidean is never larger.
    """
    rng = np.random.default_rng(1)
    for _ in range(10):
        A, B = spd(rng, 4), spd(rng, 4)
        P = rng.standard_normal((4, 4))
        value = spd_distance(A, B)

        def move(X, P=P):
            return (P @ X @ P.T + (P @ X @ P.T).T) / 2

        np.testing.assert_allclose(spd_distance(move(A), move(B)), value, rtol=1e-10)
        inverses = [(np.linalg.inv(X) + np.linalg.inv(X).T) / 2 for X in (A, B)]
        np.testing.assert_allclose(spd_distance(*inverses), value, rtol=1e-11)
        assert spd_distance(A, B, "log-euclidean") <= value * (1 + 1e-13)
    a, b = np.diag([1.0, 2.0, 5.0]), np.diag([0.3, 4.0, 1.0])
    np.testing.assert_allclose(spd_distance(a, b), spd_distance(a, b, "log-euclidean"), rtol=1e-14)
    np.testing.assert_allclose(spd_distance(a, b, theta=0.3), spd_distance(a, b), rtol=1e-13)


@pytest.mark.claim("spd-distance", "spd-power")
def test_power_deformation_limit():
    """d_BW(A^theta, B^theta) / theta tends to half the log-Euclidean distance: the gap falls at least
    6-fold with a tenth of theta.

    (1/theta) d_BW(A^theta, B^theta) -> ||log A - log B||_F / 2 as theta -> 0, at least linearly.
    """
    rng = np.random.default_rng(2)
    A, B = spd(rng, 4), spd(rng, 4)
    limit = spd_distance(A, B, "log-euclidean") / 2
    gaps = [abs(spd_distance(A, B, "bures-wasserstein", theta=t) - limit) for t in (0.1, 0.01, 0.001)]
    assert gaps[0] < 0.2 * limit
    assert gaps[1] < 0.15 * gaps[0]
    assert gaps[2] < 0.15 * gaps[1]
