"""What the paper claims of PHI-S.

Identities of Hadamard matrices and of PHI-S.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
import scipy.linalg
from refopt.core.arrays import to_numpy
from refopt.matrix import hadamard
from refopt.matrix.hadamard import fit_hadamard


@pytest.mark.claim("hadamard-standardize")
def test_isotropic_error():
    """Errors come back scaled by phi, alike in every direction, to 1e-12.

    An error in the standardised space comes back phi times as large, whatever its direction.
    """
    X = rows(12)
    fitted = fit_hadamard(X)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((50, 12))
    back = fitted.undo(fitted.apply(X) + noise) - X
    phi = np.sqrt(np.trace(np.cov(X, rowvar=False)) / 12)
    np.testing.assert_allclose(fitted.phi, phi, rtol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), phi * np.linalg.norm(noise, axis=1), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.svd(fitted.inverse, compute_uv=False), phi, rtol=1e-12)


def test_not_whitening():
    """Correlations between channels remain, near 1 for a steep spectrum; none for an isotropic one."""
    C = np.corrcoef(fit_hadamard(rows(8)).apply(rows(8)), rowvar=False)
    assert np.abs(C - np.eye(8)).max() > 0.5
    X = np.linalg.qr(np.random.default_rng(1).standard_normal((40, 8)))[0]
    X = np.linalg.qr(X - X.mean(axis=0))[0] * np.sqrt(39)
    Y = fit_hadamard(X).apply(X)
    np.testing.assert_allclose(np.cov(Y, rowvar=False), np.eye(8), atol=1e-12)


@pytest.mark.identity("hadamard-standardize")
def test_hadamard_matrices():
    """Hadamard matrices: H H^T = n I, powers of 2 are scipy.linalg.hadamard's.

    H H^T = n I with entries ±1, for every order the constructions reach; the others are named.
    """
    missing = []
    for n in [1, 2, *range(4, 132, 4), 192, 384, 768]:
        try:
            H = hadamard.hadamard_matrix(n)
        except refopt.errors.ArgumentError:
            missing.append(n)
            continue
        assert set(np.unique(np.abs(H))) == {1}
        np.testing.assert_array_equal(H @ H.T, n * np.eye(n))
    assert missing == [52, 92, 100, 116]
    np.testing.assert_array_equal(hadamard.hadamard_matrix(8), scipy.linalg.hadamard(8))
    for n in (3, 6, 10):
        with pytest.raises(refopt.errors.ArgumentError, match="no Hadamard matrix of this order"):
            hadamard.hadamard_matrix(n)


def rows(C, seed=0, N=50, rank=None):
    rng = np.random.default_rng(seed)
    rank = C if rank is None else rank
    return rng.standard_normal((N, rank)) * np.geomspace(10, 0.1, rank) @ rng.standard_normal((rank, C)) + 3.0


@pytest.mark.identity("hadamard-standardize")
@pytest.mark.parametrize(("C", "rank"), [(1, 1), (2, 2), (8, 8), (12, 12), (28, 28), (12, 5)])
def test_standardised(C, rank):
    """W Sigma W^T: unit diagonal, eigenvalues l_i / mean l; it inverts; to 1e-12."""
    X = rows(C, rank=rank)
    Y = hadamard.hadamard_standardize(X)
    S = np.cov(X, rowvar=False).reshape(C, C)
    T = np.cov(Y, rowvar=False).reshape(C, C)
    np.testing.assert_allclose(np.diag(T), 1, atol=1e-12)
    values = np.linalg.eigvalsh(S)
    np.testing.assert_allclose(np.linalg.eigvalsh(T), values / values.mean(), atol=1e-12)
    np.testing.assert_allclose(Y.mean(axis=0), 0, atol=1e-13)
    fitted = hadamard.fit_hadamard(X)
    np.testing.assert_allclose(fitted.undo(Y), X, atol=1e-12)
    np.testing.assert_allclose(fitted.matrix @ fitted.inverse, np.eye(C), atol=1e-13)


def test_random_fallback():
    """An orthogonal rotation whose variances are equal only roughly; the same for the same seed."""
    X = rows(6)
    Y = hadamard.hadamard_standardize(X, fallback="random", seed=1)
    variances = np.var(Y, axis=0, ddof=1)
    np.testing.assert_allclose(variances.mean(), 1, rtol=1e-12)
    assert np.ptp(variances) > 1e-3
    np.testing.assert_array_equal(Y, hadamard.hadamard_standardize(X, fallback="random", seed=1))


def test_derivatives():
    """With the map fixed the derivative is W, forward and reverse."""
    rng = np.random.default_rng(2)
    X = rows(4, N=9)
    E, G = rng.standard_normal((2, 9, 4))
    fitted = hadamard.fit_hadamard(X)
    h = 1e-3
    difference = (fitted.apply(X + h * E) - fitted.apply(X - h * E)) / (2 * h)
    forward = hadamard.hadamard_standardize_jvp(X, E)
    np.testing.assert_allclose(forward, difference, atol=1e-11)
    back = hadamard.hadamard_standardize_vjp(X, G)
    np.testing.assert_allclose(np.sum(back * E), np.sum(G * forward), rtol=1e-12)


def test_namespaces(xp, dtype):
    """Every namespace and precision; dtype kept, input untouched."""
    values = rows(4).astype(dtype)
    X = xp.asarray(values.copy())
    got = to_numpy(hadamard.hadamard_standardize(X))
    assert got.dtype == dtype
    np.testing.assert_array_equal(to_numpy(X), values)
    want = hadamard.hadamard_standardize(values.astype("float64"))
    # The same up to the eigenvectors' signs: Gram matrices of the rows do not see them.
    tolerance = 2e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(got @ got.T, want @ want.T, atol=tolerance)


def test_bad_input():
    """Typed errors that name the argument."""
    errors = refopt.errors
    with pytest.raises(errors.ArgumentError, match="X: no Hadamard"):
        hadamard.hadamard_standardize(rows(6))
    with pytest.raises(errors.ArgumentError, match="variance"):
        hadamard.hadamard_standardize(np.full((5, 4), 0.1))
    with pytest.raises(errors.ShapeError, match="X"):
        hadamard.hadamard_standardize(np.ones((1, 4)))
    with pytest.raises(errors.ArgumentError, match="fallback"):
        hadamard.hadamard_standardize(rows(4), fallback="none")
    with pytest.raises(errors.NonFiniteError):
        hadamard.hadamard_standardize(np.full((4, 4), np.nan))


def test_random_rotation_is_of_signs():
    """The rotation is the orthogonal factor of a matrix of +1 and -1, whatever the seed."""
    for seed in range(20):
        Q = hadamard.random_rotation(3, seed).T
        np.testing.assert_allclose(Q.T @ Q, np.eye(3), atol=1e-14)
        # Its first column is a column of signs over the root of their number.
        np.testing.assert_allclose(np.abs(Q[:, 0]), 3**-0.5, rtol=1e-14)
