"""What is claimed of the square roots: orders of convergence, sides of approach, accuracy.

Identities of square roots, inverse roots and the Lyapunov iteration.
"""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
import refopt
import scipy.linalg
from refopt.core.arrays import to_numpy
from refopt.matrix import lyapunov, newton_schulz, square_root, taylor_pade


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


ROOTS = ("sqrtm-eigh", "sqrtm-newton-schulz", "sqrtm-taylor", "sqrtm-pade")
INVERSE_ROOTS = ("invsqrtm-newton-schulz", "invsqrtm-taylor", "invsqrtm-pade")


def with_eigenvalues(values, seed=0, complex_=False):
    """A Hermitian matrix of given eigenvalues in a random basis, and the basis."""
    rng = np.random.default_rng(seed)
    n = len(values)
    X = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if complex_ else 0)
    Q = np.linalg.qr(X)[0]
    A = (Q * np.asarray(values)) @ Q.conj().T
    return (A + A.conj().T) / 2, Q


def on_eigenvalues(Q, values):
    return (Q * values) @ Q.conj().T


@pytest.mark.identity("sqrtm-eigh")
@pytest.mark.identity(
    "sqrtm-newton-schulz",
    says="converged, it is scipy.linalg.sqrtm's root, to 1e-12 at condition number 1e4.",
)
@pytest.mark.parametrize("name", ["sqrtm-eigh", "sqrtm-newton-schulz"])
@pytest.mark.parametrize("complex_", [False, True])
def test_square_and_scipy(name, complex_):
    """Its square is the matrix and it is scipy.linalg.sqrtm's root, to 1e-13."""
    root = refopt.get(name)
    for kappa in (1.0, 10.0, 1e4):
        A, _ = with_eigenvalues(np.geomspace(1, 1 / kappa, 8), complex_=complex_)
        S = root(A)
        np.testing.assert_allclose(S, scipy.linalg.sqrtm(A), atol=1e-13 if name == "sqrtm-eigh" else 1e-12)
        np.testing.assert_allclose(S @ S, A, atol=1e-14 if name == "sqrtm-eigh" else 2e-13)
        for scale in (1e-20, 1e20):
            np.testing.assert_allclose(root(scale * A) / scale**0.5, S, atol=1e-12)
    np.testing.assert_allclose(root(np.array([[9.0]])), [[3.0]], rtol=1e-15)


def test_semidefinite_and_zero():
    """Zero eigenvalues are allowed where the method allows them; a zero matrix has the root zero."""
    A, Q = with_eigenvalues([1.0, 0.5, 0.0])
    np.testing.assert_allclose(square_root.sqrtm_eigh(A), on_eigenvalues(Q, np.sqrt([1, 0.5, 0])), atol=2e-8)
    np.testing.assert_allclose(
        newton_schulz.sqrtm_newton_schulz(A, 12), on_eigenvalues(Q, np.sqrt([1, 0.5, 0])), atol=1e-12
    )
    zero = np.zeros((2, 3, 3))
    for name in ROOTS:
        options = {"steps": 5} if name == "sqrtm-newton-schulz" else {}
        np.testing.assert_array_equal(refopt.get(name)(zero, **options), zero)


@pytest.mark.identity("invsqrtm-newton-schulz")
@pytest.mark.identity(
    "sqrtm-newton-schulz", says="After N steps it is sqrt(lambda) h_N on the eigenvalues, to 1e-12."
)
@pytest.mark.parametrize("scaling", ["frobenius", "trace"])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_newton_schulz_scalar(scaling, steps):
    """After N steps it is h_N / lambda^{1/2} on the eigenvalues, to 1e-12.

    Y = sqrt(lambda) h, Z = h / sqrt(lambda), with h <- h (3 - h^2) / 2 from h = sqrt(lambda / c).
    """
    values = np.geomspace(3, 0.01, 6)
    A, Q = with_eigenvalues(values, complex_=True)
    c = np.linalg.norm(values) if scaling == "frobenius" else values.sum()
    h = np.sqrt(values / c)
    for _ in range(steps):
        h = h * (3 - h * h) / 2
    got = newton_schulz.sqrtm_newton_schulz(A, steps, scaling=scaling)
    np.testing.assert_allclose(got, on_eigenvalues(Q, np.sqrt(values) * h), atol=1e-12)
    got = newton_schulz.invsqrtm_newton_schulz(A, steps, scaling=scaling)
    np.testing.assert_allclose(got, on_eigenvalues(Q, h / np.sqrt(values)), atol=1e-12)


@pytest.mark.identity("invsqrtm-newton-schulz")
def test_inverse_roots_converged():
    """converged, Z A Z = I to 1e-10 at condition number 1e4.

    Z A Z = I, and the eigendecomposition agrees.
    """
    A, Q = with_eigenvalues(np.geomspace(1, 1e-4, 8))
    Z = newton_schulz.invsqrtm_newton_schulz(A)
    # 1e-10: the inverse root has norm 1e2, its error measured 2e-12 and enters twice.
    np.testing.assert_allclose(Z @ A @ Z, np.eye(8), atol=1e-10)
    np.testing.assert_allclose(
        square_root.invsqrtm_eigh(A), on_eigenvalues(Q, np.geomspace(1, 1e2, 8)), atol=1e-9
    )


@pytest.mark.identity("invsqrtm-taylor", "sqrtm-taylor")
@pytest.mark.parametrize("degree", [1, 2, 5, 10])
def test_taylor_scalar(degree):
    """On eigenvalues it is mpmath's Taylor polynomial, to 1e-13."""
    values = np.geomspace(2, 0.05, 6)
    A, Q = with_eigenvalues(values)
    c = np.linalg.norm(values)
    z = 1 - values / c
    with mpmath.workdps(30):
        root = [float(a) for a in mpmath.taylor(lambda x: mpmath.sqrt(1 - x), 0, degree)]
        inverse = [float(a) for a in mpmath.taylor(lambda x: 1 / mpmath.sqrt(1 - x), 0, degree)]
    want = np.polynomial.polynomial.polyval(z, root)
    np.testing.assert_allclose(
        taylor_pade.sqrtm_taylor(A, degree), on_eigenvalues(Q, np.sqrt(c) * want), atol=1e-13
    )
    want_inverse = np.polynomial.polynomial.polyval(z, inverse)
    np.testing.assert_allclose(
        taylor_pade.invsqrtm_taylor(A, degree), on_eigenvalues(Q, want_inverse / np.sqrt(c)), atol=1e-13
    )
    np.testing.assert_allclose(
        taylor_pade.invsqrtm_taylor(A, degree, form="inverse-root"),
        on_eigenvalues(Q, 1 / (want * np.sqrt(c))),
        atol=1e-12,
    )


@pytest.mark.identity("invsqrtm-pade")
@pytest.mark.identity(
    "sqrtm-pade",
    says="sqrt(x) (1 + rho^N) / (1 - rho^N) on the eigenvalues, N = 2 m + 1, to 1e-11 up to m = 8.",
)
@pytest.mark.parametrize("degree", [1, 3, 5, 8])
def test_pade_scalar(degree):
    """(1 - rho^N) / (1 + rho^N) / sqrt(x) on the eigenvalues, to 1e-11 up to m = 8."""
    values = np.geomspace(2, 0.05, 6)
    A, Q = with_eigenvalues(values, complex_=True)
    c = np.linalg.norm(values)
    x = values / c
    rho = ((1 - np.sqrt(x)) / (1 + np.sqrt(x))) ** (2 * degree + 1)
    root = np.sqrt(values) * (1 + rho) / (1 - rho)
    # 1e-11: the powers' coefficients alternate and cancel as the degree grows (2e-12 measured at 8).
    np.testing.assert_allclose(taylor_pade.sqrtm_pade(A, degree), on_eigenvalues(Q, root), atol=1e-11)
    np.testing.assert_allclose(taylor_pade.invsqrtm_pade(A, degree), on_eigenvalues(Q, 1 / root), atol=1e-11)
    if degree <= 5:
        from scipy.interpolate import pade

        p, q = pade(taylor_pade.taylor_coefficients(2 * degree), degree)
        ours = taylor_pade.pade_coefficients(degree)
        np.testing.assert_allclose(
            ours[0], p.coeffs[::-1], atol=1e-9
        )  # SciPy solves an ill-conditioned system
        np.testing.assert_allclose(ours[1], q.coeffs[::-1], atol=1e-9)


@pytest.mark.identity("invsqrtm-pade")
@pytest.mark.identity(
    "invsqrtm-taylor", says="The form inverse-root times the MTP root is the identity, to 1e-12."
)
def test_inverse_roots_times_roots():
    """Times the MPA root it is the identity, to 1e-12.

    The Pade pair are exact inverses of one another; so are the Taylor root and its inverse-root form.
    """
    A, _ = with_eigenvalues(np.geomspace(1, 1e-2, 6))
    eye = np.eye(6)
    np.testing.assert_allclose(taylor_pade.sqrtm_pade(A) @ taylor_pade.invsqrtm_pade(A), eye, atol=1e-12)
    product = taylor_pade.sqrtm_taylor(A) @ taylor_pade.invsqrtm_taylor(A, form="inverse-root")
    np.testing.assert_allclose(product, eye, atol=1e-12)


@pytest.mark.identity("lyapunov-sign")
@pytest.mark.parametrize("scale", ["frobenius", "square"])
def test_lyapunov_closed_form(scale):
    """In B's eigenbasis every truncation obeys its closed form, to 1e-12.

    Every truncation: X_ij = C_ij (f_K(b_i) + f_K(b_j)) / (2 (b_i + b_j)) in the eigenbasis.
    """
    b = np.geomspace(2, 0.1, 6)
    B, Q = with_eigenvalues(b, complex_=True)
    C = np.random.default_rng(1).standard_normal((6, 6)) + 0j
    s = np.linalg.norm(b) if scale == "frobenius" else np.sqrt(np.linalg.norm(b**2))
    for steps in (1, 4, 9):
        f = b / s
        for _ in range(steps):
            f = f * (3 - f * f) / 2
        kernel = (f[:, None] + f) / 2 / (b[:, None] + b)
        want = Q @ (kernel * (Q.conj().T @ C @ Q)) @ Q.conj().T
        np.testing.assert_allclose(lyapunov.lyapunov_sign(B, C, steps=steps, scale=scale), want, atol=1e-12)


@pytest.mark.identity("lyapunov-sign")
def test_lyapunov_scipy():
    """converged, it is scipy.linalg.solve_continuous_lyapunov's solution, to 1e-12."""
    B, _ = with_eigenvalues(np.geomspace(1, 1e-3, 7))
    C = np.random.default_rng(2).standard_normal((2, 7, 7))
    want = np.stack([scipy.linalg.solve_continuous_lyapunov(B, c) for c in C])
    scale = np.abs(want).max()
    np.testing.assert_allclose(lyapunov.lyapunov_sign(B, C) / scale, want / scale, atol=1e-12)
    np.testing.assert_allclose(lyapunov.lyapunov_eigh(B, C) / scale, want / scale, atol=1e-12)


def test_lyapunov_derivatives():
    """jvp against central differences, vjp against jvp."""
    rng = np.random.default_rng(3)
    B, _ = with_eigenvalues([1.0, 0.7, 0.3])
    C, G, dC = (rng.standard_normal((3, 3)) for _ in range(3))
    dB = with_eigenvalues([1.0, -2.0, 0.5], 5)[0]
    X = lyapunov.lyapunov_eigh(B, C)
    h = 1e-5
    solve = lyapunov.lyapunov_eigh
    difference = (solve(B + h * dB, C + h * dC) - solve(B - h * dB, C - h * dC)) / (2 * h)
    derivative = lyapunov.lyapunov_jvp(B, X, dB, dC)
    np.testing.assert_allclose(derivative, difference, atol=1e-7)
    bar_B, bar_C = lyapunov.lyapunov_vjp(B, X, G)
    np.testing.assert_allclose(np.sum(G * derivative), np.sum(bar_B * dB) + np.sum(bar_C * dC), rtol=1e-12)


@pytest.mark.identity("sqrtm-eigh")
def test_eigh_derivatives():
    """The derivative solves S X + X S = E, and is E / 2 at the identity, to 1e-14.

    S X + X S = E; E / 2 at the identity, -E / 2 for the inverse root; central differences.
    """
    rng = np.random.default_rng(4)
    E = rng.standard_normal((5, 5))
    eye = np.eye(5)
    np.testing.assert_allclose(square_root.sqrtm_eigh_vjp(eye, E), E / 2, atol=1e-15)
    np.testing.assert_allclose(square_root.invsqrtm_eigh_vjp(eye, E), -E / 2, atol=1e-15)
    A, _ = with_eigenvalues([2.0, 2.0, 0.5, 0.1, 0.1])
    S = square_root.sqrtm_eigh(A)
    X = square_root.sqrtm_eigh_jvp(A, E)
    np.testing.assert_allclose(S @ X + X @ S, E, atol=1e-14)
    R = square_root.invsqrtm_eigh(A)
    Y = square_root.invsqrtm_eigh_jvp(A, E)
    np.testing.assert_allclose(R @ Y + Y @ R, -R @ R @ E @ R @ R, atol=1e-11)
    singular = np.diag([1.0, 0.0, 0.0])
    with pytest.raises(refopt.errors.ConvergenceError, match="singular"):
        square_root.sqrtm_eigh_jvp(singular, np.ones((3, 3)))
    masked = square_root.sqrtm_eigh_jvp(singular, np.ones((3, 3)), at_zero="zero")
    np.testing.assert_allclose(masked, [[0.5, 1, 1], [1, 0, 0], [1, 0, 0]], atol=1e-15)


@pytest.mark.parametrize("scaling", ["frobenius", "trace"])
def test_unrolled_derivatives(scaling):
    """The truncated iteration's own derivative: central differences and the inner product."""
    rng = np.random.default_rng(5)
    A, _ = with_eigenvalues([2.0, 0.7, 0.7, 0.05])
    E = rng.standard_normal((4, 4))
    E = E + E.T
    G = rng.standard_normal((4, 4))
    h = 1e-5
    f = lambda X: newton_schulz.sqrtm_newton_schulz(X, 4, scaling=scaling)  # noqa: E731
    derivative = newton_schulz.sqrtm_newton_schulz_jvp(A, E, 4, scaling=scaling)
    np.testing.assert_allclose(derivative, (f(A + h * E) - f(A - h * E)) / (2 * h), atol=1e-7)
    back = newton_schulz.sqrtm_newton_schulz_vjp(A, G, 4, scaling=scaling)
    np.testing.assert_allclose(np.sum(G * derivative), np.sum(back * E), rtol=1e-12)


def test_implicit_derivatives():
    """Where the approximants have converged their implicit derivatives are the exact ones."""
    E = np.random.default_rng(6).standard_normal((4, 4))
    A, _ = with_eigenvalues([1.0, 1.0, 0.9, 0.6])
    exact, inverse = square_root.sqrtm_eigh_vjp(A, E), square_root.invsqrtm_eigh_vjp(A, E)
    np.testing.assert_allclose(taylor_pade.sqrtm_pade_vjp(A, E, 12), exact, atol=1e-12)
    np.testing.assert_allclose(taylor_pade.sqrtm_taylor_jvp(A, E, 90), exact, atol=1e-12)
    np.testing.assert_allclose(taylor_pade.invsqrtm_pade_vjp(A, E, 12), inverse, atol=1e-12)
    np.testing.assert_allclose(taylor_pade.invsqrtm_pade_vjp(A, E, 12, scale="batch"), inverse, atol=1e-12)
    np.testing.assert_allclose(taylor_pade.invsqrtm_taylor_jvp(A, E, 90), inverse, atol=1e-12)
    S = square_root.sqrtm_eigh(A)
    np.testing.assert_allclose(lyapunov.root_derivative(S, E, steps=None), exact, atol=1e-12)


@pytest.mark.parametrize("name", [*ROOTS, *INVERSE_ROOTS, "lyapunov-sign"])
def test_namespaces(name, xp, dtype):
    """Every namespace and precision, batched over two axes; dtype kept, input untouched."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((2, 3, 4, 12))
    values = (X @ X.swapaxes(-1, -2) / 12).astype(dtype)
    values = (values + values.swapaxes(-1, -2)) / 2
    A = xp.asarray(values.copy())
    f = refopt.get(name)
    arguments = (A, A) if name == "lyapunov-sign" else (A,)
    got = f(*arguments)
    assert got.dtype == A.dtype
    assert got.shape == A.shape
    np.testing.assert_array_equal(to_numpy(A), values)
    double = values.astype("float64")
    want = np.stack([[f(*(v,) * len(arguments)) for v in row] for row in double])
    # float32: eps 6e-8 times condition numbers up to 30.
    np.testing.assert_allclose(to_numpy(got), want, atol=2e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("name", [*ROOTS, *INVERSE_ROOTS])
def test_bad_input(name):
    """Indefinite, non-symmetric, integer, empty and NaN matrices get an error that names A."""
    f = refopt.get(name)
    with pytest.raises(refopt.errors.ConvergenceError, match="A: wanted positive"):
        f(np.diag([1.0, -0.1]))
    if name.startswith("inv"):
        with pytest.raises(refopt.errors.ConvergenceError, match="A: wanted positive definite"):
            f(np.diag([1.0, 0.0]))
    with pytest.raises(refopt.errors.ArgumentError, match=r"A: .*symmetric"):
        f(np.array([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(refopt.errors.NonFiniteError):
        f(np.full((2, 2), np.nan))
    with pytest.raises(refopt.errors.DtypeError):
        f(np.eye(2, dtype=int))
    with pytest.raises(refopt.errors.ShapeError):
        f(np.ones((2, 3)))
    with pytest.raises(refopt.errors.ShapeError, match="empty"):
        f(np.ones((0, 3, 3)))


def test_large_stacks_go_through_threads():
    """A stack large enough to be split gives every matrix's own root, and a bad one among them its error."""
    X = np.random.default_rng(8).standard_normal((5, 8, 48, 60))
    A = X @ X.swapaxes(-1, -2) / 60
    A = (A + A.swapaxes(-1, -2)) / 2
    S = square_root.sqrtm_eigh(A)
    assert S.shape == A.shape
    single = np.stack([[square_root.sqrtm_eigh(a) for a in row] for row in A])
    np.testing.assert_allclose(S, single, atol=1e-13)
    A[3, 2] -= 10 * np.eye(48)
    with pytest.raises(refopt.errors.ConvergenceError, match="A: wanted positive semidefinite"):
        square_root.sqrtm_eigh(A)


def test_no_convergence_is_reported():
    """An exactly singular matrix: Newton-Schulz says so and names the way out."""
    with pytest.raises(refopt.errors.ConvergenceError, match=r"definite|converged"):
        newton_schulz.sqrtm_newton_schulz(np.diag([1.0, 0.0]))
    with pytest.raises(refopt.errors.ConvergenceError, match="B"):
        lyapunov.lyapunov_sign(np.diag([1.0, -1.0]), np.eye(2))
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(refopt.errors.ArgumentTypeError, match="C: wanted an array of"):
        lyapunov.lyapunov_sign(np.eye(2), strict.eye(2))
    with pytest.raises(refopt.errors.ConvergenceError, match="scale"):
        lyapunov.lyapunov_sign(np.diag([1.0, 2.0]), np.eye(2), scale=np.ones((1, 1)))


@pytest.mark.parametrize("complex_", [False, True])
def test_a_stack_of_large_matrices_is_its_members(complex_: bool) -> None:
    """From the order at which halves are mirrored: both roots of a stack have the bits of its members', and are roots."""
    rng = np.random.default_rng(0)
    F = rng.standard_normal((2, 131, 200)) + 1j * complex_ * rng.standard_normal((2, 131, 200))
    A = F @ F.conj().swapaxes(1, 2) / 200 + 0.1 * np.eye(131)
    A = (A + A.conj().swapaxes(1, 2)) / 2
    A = A if complex_ else A.real
    for name, wanted in (("sqrtm-newton-schulz", A), ("invsqrtm-newton-schulz", np.linalg.inv(A))):
        root = refopt.get(name)
        S = root(A)
        np.testing.assert_allclose(S @ S, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
        for k in (0, 1):
            np.testing.assert_array_equal(S[k], root(A[k]))
        few = root(A, 3)
        Y, Z = A[0] / np.linalg.norm(A[0]), np.eye(131)
        for _ in range(3):
            T = (3 * np.eye(131) - Z @ Y) / 2
            Y, Z = Y @ T, T @ Z
        c = np.linalg.norm(A[0]) ** 0.5
        np.testing.assert_allclose(few[0], c * Y if name[0] == "s" else Z / c, rtol=0, atol=1e-12)
