"""What is claimed of the inverse iterations: orders and step counts.

Identities of the inverse p-th root and of Newton's inverse.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import refopt
import scipy.linalg
from refopt.core.arrays import to_numpy
from refopt.core.errors import ConvergenceError
from refopt.matrix.inverse_newton import inverse_newton, pinv_jvp, pinv_vjp
from refopt.matrix.inverse_root import (
    inverse_pth_root,
    inverse_pth_root_jvp,
    inverse_pth_root_vjp,
    newton_root,
    power_iteration_estimate,
)

from tests.methods.test_roots import on_eigenvalues, with_eigenvalues


def _steps_needed(D, p):
    for steps in range(1, 60):
        try:
            H = newton_root(D, p, 1e-30, steps)
        except ConvergenceError:
            continue
        if np.abs(np.linalg.matrix_power(H, p) @ D - np.eye(len(D))).max() < 1e-4:
            return steps
    raise AssertionError("never")


@pytest.mark.claim("inverse-pth-root")
@pytest.mark.parametrize("p", [1, 2, 4, 8])
def test_root_step_counts(p):
    """From condition number 1e2 to 1e6 it needs ln(1e4) / (p ln((p + 1) / p)) more steps, within one,
    for p = 1, 2, 4, 8.

    k ~ ln(norm / lambda_min) / ln(((p + 1) / p)^p) + a constant: the slope over condition numbers.
    """
    growth = p * np.log((p + 1) / p)
    counts = [_steps_needed(with_eigenvalues(np.geomspace(1, 1 / kappa, 8))[0], p) for kappa in (1e2, 1e6)]
    expected = np.log(1e4) / growth
    assert abs((counts[1] - counts[0]) - expected) <= 1.0
    assert counts[0] <= np.log(1e2 * 1.5) / growth + 5


@pytest.mark.claim("inverse-newton")
@pytest.mark.parametrize(("kappa", "stated"), [(10.0, 14), (1e2, 20), (1e4, 33), (1e6, 46), (1e8, 59)])
def test_newton_inverse_step_counts(kappa, stated):
    """Steps to a residual of 1e-9 sqrt(kappa), n = 20: 14, 20, 33, 46, 59 or one less for kappa = 10,
    1e2, 1e4, 1e6, 1e8.

    Steps to a residual of 1e-9 sqrt(kappa) at n = 20: the stated ones or one less.
    """
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((20, 20)))[0] for _ in range(2))
    A = U * np.geomspace(1, 1 / kappa, 20) @ V.T

    def residual(steps):
        return np.linalg.norm(np.eye(20) - A @ inverse_newton(A, steps))

    bound = 1e-9 * np.sqrt(kappa)
    assert residual(stated - 2) > bound
    assert residual(stated) <= bound


def test_newton_inverse_is_quadratic():
    """Near the end every step squares the residual."""
    A, _ = with_eigenvalues([1.0, 2.0, 3.0])
    residuals = [np.linalg.norm(np.eye(3) - A @ inverse_newton(A, k), 2) for k in range(1, 9)]
    late = [(a, b) for a, b in itertools.pairwise(residuals) if 1e-7 < a < 0.5]
    assert len(late) >= 2
    for a, b in late:
        assert b == pytest.approx(a * a, rel=1e-2)


@pytest.mark.identity("inverse-pth-root")
@pytest.mark.parametrize("p", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("method", ["newton", "eigh"])
@pytest.mark.parametrize("complex_", [False, True])
def test_inverse_root_power(p, method, complex_):
    """H^p D = I to 1e-9 for p = 1, 2, 3, 4, 6, 8 at condition number 1e3.

    H^p D = I, any p; SciPy's fractional power agrees.
    """
    A, Q = with_eigenvalues(np.geomspace(5, 5e-3, 7), complex_=complex_)
    H = inverse_pth_root(A, p, method=method)
    # 1e-9: eps times the condition number 1e3, times what p factors amplify.
    np.testing.assert_allclose(np.linalg.matrix_power(H, p) @ A, np.eye(7), atol=1e-9)
    want = on_eigenvalues(Q, np.geomspace(5, 5e-3, 7) ** (-1 / p))
    np.testing.assert_allclose(H, want, rtol=0, atol=1e-10 * np.abs(want).max())
    if not complex_:
        np.testing.assert_allclose(H, scipy.linalg.fractional_matrix_power(A, -1 / p), atol=1e-8)


@pytest.mark.identity("inverse-pth-root")
def test_first_root_is_newton_inverse():
    """P = 1 is the Newton inverse from the same start, step by step, to 1e-13 of its largest entry.

    p = 1: H <- H (2 I - M) from z I is Newton's inverse from the same start, step by step.
    """
    A, _ = with_eigenvalues(np.geomspace(1, 0.05, 5))
    X = np.eye(5) / np.linalg.norm(A)
    for steps in range(1, 13):
        X = X @ (2 * np.eye(5) - A @ X)
        if np.abs(A @ X - np.eye(5)).max() < 0.1:
            np.testing.assert_allclose(
                newton_root(A, 1, 1e-30, steps), X, rtol=0, atol=1e-13 * np.abs(X).max()
            )
    assert np.abs(A @ X - np.eye(5)).max() < 1e-12


def test_ridges():
    """Each rule adds what it says; the zero matrix under the optax floor gives (1e-12)^(-1/p) I."""
    A, _ = with_eigenvalues([2.0, 1.0, 0.0])
    A = A - np.linalg.eigvalsh(A)[0] * np.eye(3)
    for method in ("newton", "eigh"):
        got = inverse_pth_root(A, 2, method=method, ridge=1e-2, ridge_rule="absolute")
        np.testing.assert_allclose(got @ got @ (A + 1e-2 * np.eye(3)), np.eye(3), atol=1e-11)
        got = inverse_pth_root(A, 2, method=method, ridge=1e-2)
        # 2e-8: the power iteration stops at a change of 1e-6, and 1e-2 of that enters.
        np.testing.assert_allclose(got @ got @ (A + 2e-2 * np.eye(3)), np.eye(3), atol=2e-6)
        zero = inverse_pth_root(np.zeros((3, 3)), 4, method=method, ridge=1e-6)
        np.testing.assert_allclose(zero, 1000 * np.eye(3), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(power_iteration_estimate(A)[0, 0], 2.0, atol=1e-5)
    np.testing.assert_allclose(inverse_pth_root(np.array([[16.0]]), 4), [[0.5]], rtol=1e-14)


def test_stack_stops_one_by_one():
    """A stack gives each matrix's own numbers, whatever else is in it."""
    stack = np.stack([with_eigenvalues(np.geomspace(1, 1 / k, 4), seed=k)[0] for k in (2, 50, 5000)])
    together = inverse_pth_root(stack, 4, ridge=1e-6)
    for A, H in zip(stack, together):
        np.testing.assert_allclose(
            H, inverse_pth_root(A, 4, ridge=1e-6), rtol=0, atol=1e-13 * np.abs(H).max()
        )


@pytest.mark.parametrize("p", [1, 2, 4])
def test_inverse_root_derivatives(p):
    """-E / p at the identity; central differences, at repeated eigenvalues too."""
    rng = np.random.default_rng(0)
    E = rng.standard_normal((4, 4))
    E = E + E.T
    np.testing.assert_allclose(inverse_pth_root_jvp(np.eye(4), E, p), -E / p, atol=1e-14)
    A, _ = with_eigenvalues([2.0, 2.0, 1.0, 0.3])
    h = 1e-5
    difference = (inverse_pth_root(A + h * E, p) - inverse_pth_root(A - h * E, p)) / (2 * h)
    np.testing.assert_allclose(inverse_pth_root_jvp(A, E, p), difference, atol=1e-6)
    G = rng.standard_normal((4, 4))
    left = np.sum(G * inverse_pth_root_jvp(A, E, p, ridge=0.1))
    np.testing.assert_allclose(np.sum(inverse_pth_root_vjp(A, G, p, ridge=0.1) * E), left, rtol=1e-12)


@pytest.mark.identity("inverse-newton")
@pytest.mark.parametrize("alpha", ["norms", "frobenius", 0.05])
def test_residual_powers(alpha):
    """I - A X_k = (I - A X_0)^(2^k) (order 3: R_{k+1} = R_k^3 (3 I + R_k) / 4), to 1e-12.

    R_k = R_0^(2^k); by order 3 the residual is R^3 (3 I + R) / 4.
    """
    A = with_eigenvalues([1.0, 2.0, -3.0, 0.7])[0] @ np.linalg.qr(np.arange(16.0).reshape(4, 4) ** 0.5)[0]
    eye = np.eye(4)
    R = eye - A @ inverse_newton(A, 0, alpha=alpha)
    for steps in (1, 2, 3, 5):
        got = eye - A @ inverse_newton(A, steps, alpha=alpha)
        np.testing.assert_allclose(got, np.linalg.matrix_power(R, 2**steps), atol=1e-12)
    for steps in (1, 2, 4):
        R = eye - A @ inverse_newton(A, steps - 1, alpha=alpha, order=3)
        got = eye - A @ inverse_newton(A, steps, alpha=alpha, order=3)
        np.testing.assert_allclose(got, R @ R @ R @ (3 * eye + R) / 4, atol=1e-12)
    starts = {
        "norms": A.T / (np.linalg.norm(A, 1) * np.linalg.norm(A, np.inf)),
        "frobenius": A.T / np.linalg.norm(A @ A.T),
        0.05: 0.05 * A.T,
    }
    np.testing.assert_allclose(inverse_newton(A, 0, alpha=alpha), starts[alpha], rtol=1e-14)


@pytest.mark.identity("inverse-newton")
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("complex_", [False, True])
def test_pinv(order, complex_):
    """converged, it is scipy.linalg.pinv's inverse, rank deficient or not, to 1e-10.

    SciPy's pseudo-inverse: square, tall, wide, rank deficient, zero.
    """
    rng = np.random.default_rng(1)
    for shape, rank in (((6, 6), 6), ((9, 4), 4), ((4, 9), 4), ((7, 6), 3)):
        A = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
        A = A + 1j * A[::-1] if complex_ and rank == min(shape) else A
        want = scipy.linalg.pinv(A)
        scale = np.abs(want).max()
        # 1e-10: eps times a condition number of up to 1e3, and the null space's doubling.
        np.testing.assert_allclose(
            inverse_newton(A, order=order, full_rank=rank == min(shape)) / scale, want / scale, atol=1e-10
        )
    zero = inverse_newton(np.zeros((2, 3)), order=order, full_rank=False)
    np.testing.assert_array_equal(zero, np.zeros((3, 2)))
    gap = np.diag([1.0, 1e-10])  # a gap in the spectrum must not be taken for convergence
    np.testing.assert_allclose(inverse_newton(gap, order=order), np.diag([1.0, 1e10]), rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
def test_pinv_derivatives(shape):
    """Central differences of numpy's pinv and the inner product."""
    rng = np.random.default_rng(2)
    A, E = rng.standard_normal(shape), rng.standard_normal(shape)
    G = rng.standard_normal(shape[::-1])
    X = inverse_newton(A)
    h = 1e-6
    difference = (np.linalg.pinv(A + h * E) - np.linalg.pinv(A - h * E)) / (2 * h)
    derivative = pinv_jvp(A, X, E)
    np.testing.assert_allclose(derivative, difference, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.sum(pinv_vjp(A, X, G) * E), np.sum(G * derivative), rtol=1e-10)


@pytest.mark.parametrize("name", ["inverse-pth-root", "inverse-newton"])
def test_namespaces(name, xp, dtype):
    """Every namespace and precision; dtype kept, input untouched."""
    X = np.random.default_rng(3).standard_normal((2, 3, 4, 12))
    values = (X @ X.swapaxes(-1, -2) / 12).astype(dtype)
    values = (values + values.swapaxes(-1, -2)) / 2
    A = xp.asarray(values.copy())
    f = refopt.get(name)
    options = {"ridge": 1e-3} if name == "inverse-pth-root" else {}
    got = f(A, **options)
    assert got.dtype == A.dtype
    np.testing.assert_array_equal(to_numpy(A), values)
    want = f(values.astype("float64"), **options)
    # float32: eps 6e-8 times condition numbers up to 30; the ridge's estimate stops at 1e-6.
    np.testing.assert_allclose(to_numpy(got), want, rtol=1e-4, atol=1e-4 if dtype == "float32" else 1e-12)
    if name == "inverse-pth-root":
        assert f(A, method="eigh").dtype == A.dtype
        assert inverse_pth_root_vjp(A, A).dtype == A.dtype


def test_bad_input():
    """Typed errors that name the argument."""
    errors = refopt.errors
    with pytest.raises(errors.ConvergenceError, match="A"):
        inverse_pth_root(np.diag([1.0, 0.0]), 2)
    with pytest.raises(errors.ConvergenceError, match="A"):
        inverse_pth_root(np.diag([1.0, -1.0]), 2, ridge=1e-6)
    with pytest.raises(errors.ArgumentError, match="p: "):
        inverse_pth_root(np.eye(2), 0)
    with pytest.raises(errors.ArgumentTypeError, match="p: "):
        inverse_pth_root(np.eye(2), 1.5)
    with pytest.raises(errors.ArgumentError, match="ridge_floor"):
        inverse_pth_root(np.zeros((2, 2)), 2, ridge=1e-6, ridge_floor=0.0)
    with pytest.raises(errors.ConvergenceError, match=r"ridge|eigh"):
        inverse_pth_root(np.diag([1.0, 1e-10]), 2, max_steps=3)
    A = np.diag([2.0, 1.0])
    for alpha in (0.5, -0.1, 1.0):
        with pytest.raises(errors.ConvergenceError, match="alpha"):
            inverse_newton(A, alpha=alpha)
    with pytest.raises(errors.NonFiniteError):
        inverse_newton(np.full((2, 2), np.inf))
    with pytest.raises(errors.ConvergenceError, match="full_rank"), np.errstate(all="ignore"):
        inverse_newton(np.ones((3, 3)))
    with pytest.raises(errors.ArgumentError, match="order"):
        inverse_newton(A, order=4)
