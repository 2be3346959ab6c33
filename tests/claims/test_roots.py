"""What is claimed of the square roots: orders of convergence, sides of approach, accuracy."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
from refopt.matrix import lyapunov, newton_schulz, square_root, taylor_pade

from tests.identities.test_roots import on_eigenvalues, with_eigenvalues


@pytest.mark.claim("invsqrtm-newton-schulz", "sqrtm-newton-schulz")
@pytest.mark.parametrize("scaling", ["frobenius", "trace"])
def test_newton_schulz_quadratic(scaling):
    """The residual squares at every step (e <- e^2 (3 + e) / 4, to 1e-13).

    e = 1 - h^2 obeys e <- e^2 (3 + e) / 4 for the residuals of both sequences.
    """
    values = np.geomspace(1, 0.05, 5)
    A, _ = with_eigenvalues(values)
    residuals = []
    for steps in range(1, 10):
        Y = newton_schulz.sqrtm_newton_schulz(A, steps, scaling=scaling)
        Z = newton_schulz.invsqrtm_newton_schulz(A, steps, scaling=scaling)
        residuals.append(np.linalg.norm(np.eye(5) - Z @ Y, 2))
    for e, following in itertools.pairwise(residuals):
        assert abs(following - e * e * (3 + e) / 4) <= 1e-13
    assert residuals[-1] < 1e-3 < 0.5 < residuals[0]


@pytest.mark.claim("lyapunov-sign")
def test_lyapunov_quadratic():
    """The error of B obeys e <- e^2 (3 - e) / 2 at every step, to 1e-13.

    With C = 2 B^2 the solution is B: 1 - f_K squares, e <- e^2 (3 - e) / 2, at every step.
    """
    B, _ = with_eigenvalues(np.full(4, 0.5) + np.array([0.0, 0.1, 0.2, 0.5]))
    errors = []
    for steps in range(1, 10):
        X = lyapunov.lyapunov_sign(B, 2 * B @ B, steps=steps)
        errors.append(np.linalg.norm(np.eye(4) - np.linalg.solve(B, X), 2))
    for e, following in itertools.pairwise(errors):
        assert abs(following - e * e * (3 - e) / 2) <= 1e-13
    assert errors[-1] < 1e-9


@pytest.mark.claim("sqrtm-pade")
@pytest.mark.claim(
    "sqrtm-taylor", says="Always above the root, and falling with the degree; MPA is nearer at equal degree."
)
@pytest.mark.parametrize("kappa", [3.0, 10.0, 1e2, 1e3])
def test_pade_beats_taylor(kappa):
    """MPA of degree m is nearer than MTP of degrees m, 2 m and 2 m + 1.

    MPA [m/m] is nearer than MTP of degree m, of degree 2 m and of the paper's pairing 2 m + 1.
    """
    A, Q = with_eigenvalues(np.geomspace(1, 1 / kappa, 8))
    root = on_eigenvalues(Q, np.sqrt(np.geomspace(1, 1 / kappa, 8)))
    for m in (2, 3, 5):
        error = np.linalg.norm(taylor_pade.sqrtm_pade(A, m) - root)
        for degree in (m, 2 * m, 2 * m + 1):
            assert error < 0.95 * np.linalg.norm(taylor_pade.sqrtm_taylor(A, degree) - root)
    # MTP: from above, and falling.
    gaps = [np.linalg.eigvalsh(taylor_pade.sqrtm_taylor(A, k) - root) for k in (1, 4, 10)]
    assert all(g.min() > -1e-14 for g in gaps)
    assert gaps[0].max() > gaps[1].max() > gaps[2].max()


def test_stated_errors():
    """The errors that the docstrings state, at n = 8."""
    for kappa, taylor, pade, inverse in ((10.0, 1.9e-2, 9.8e-4, 3e-3), (1e3, 0.20, 7.3e-2, 0.59)):
        values = np.geomspace(1, 1 / kappa, 8)
        A, Q = with_eigenvalues(values)
        S = on_eigenvalues(Q, np.sqrt(values))
        R = on_eigenvalues(Q, 1 / np.sqrt(values))

        def error(X, Y):
            return np.linalg.norm(X - Y) / np.linalg.norm(Y)

        assert error(taylor_pade.sqrtm_taylor(A), S) == pytest.approx(taylor, rel=0.05)
        assert error(taylor_pade.sqrtm_pade(A), S) == pytest.approx(pade, rel=0.05)
        assert error(taylor_pade.invsqrtm_pade(A), R) == pytest.approx(inverse, rel=0.05)


@pytest.mark.claim("invsqrtm-taylor")
def test_inverse_taylor_from_below():
    """Always below the inverse root and rising with the degree.

    Every dropped term is positive: below the inverse root, and rising with the degree.
    """
    values = np.geomspace(1, 0.1, 6)
    A, Q = with_eigenvalues(values)
    R = on_eigenvalues(Q, 1 / np.sqrt(values))
    old = np.inf
    for degree in (1, 3, 10, 30):
        gap = np.linalg.eigvalsh(R - taylor_pade.invsqrtm_taylor(A, degree))
        assert gap.min() > -1e-13
        assert gap.max() < old
        old = gap.max()
    form = taylor_pade.invsqrtm_taylor(A, 10, form="inverse-root")
    assert np.linalg.norm(R - form) < np.linalg.norm(R - taylor_pade.invsqrtm_taylor(A, 10))


@pytest.mark.claim("sqrtm-eigh")
@pytest.mark.parametrize("kappa", [1e2, 1e8, 1e14])
def test_eigh_accuracy(kappa):
    """Against mpmath at 50 digits: error below 1e-14 max(1, sqrt(kappa) / 100).

    Against mpmath at 50 digits, normwise: the root to 1e-14 at any condition number.
    """
    A, _ = with_eigenvalues(np.geomspace(1, 1 / kappa, 5))
    with mpmath.workdps(50):
        values, vectors = mpmath.eigsy(mpmath.matrix(A.tolist()))
        root = vectors * mpmath.diag([mpmath.sqrt(abs(v)) for v in values]) * vectors.T
        want = np.array(root.tolist(), dtype=float)
    error = np.linalg.norm(square_root.sqrtm_eigh(A) - want) / np.linalg.norm(want)
    # A root of eps-sized noise in the smallest eigenvalue is sqrt(eps)-sized, so at 1e14 the bound is
    # eps sqrt(kappa): the smallest eigenvalue 1e-14 carries an error of 1e-16, its root one of 5e-10.
    assert error <= 1e-14 * max(1.0, np.sqrt(kappa) / 100)
