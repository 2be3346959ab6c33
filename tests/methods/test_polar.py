"""What the papers on the polar factor's quintics claim.

Identities of the polar iterations and of their derivatives.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
import scipy.linalg
from refopt.core.arrays import to_numpy
from refopt.matrix import polar
from refopt.matrix.polar import polar_newton_schulz
from refopt.matrix.polar_schedules import SCHEDULES, polar_express_coefficients


def scalar_map(x, coefficients, steps):
    """Singular values through the iteration, the largest of them at 1 (a diagonal stack of 1x1)."""
    triples = SCHEDULES[coefficients].triples
    for k in range(steps):
        a, b, c = triples[min(k, len(triples) - 1)]
        x = a * x + b * x**3 + c * x**5
    return x


@pytest.mark.parametrize(
    ("name", "steps", "low", "interval"),
    [
        ("jordan", 5, 0.01, (0.6818, 1.1344)),
        ("jordan", 5, 0.001, (0.4705, 1.2024)),
        ("you", 6, 0.005, (0.9956, 0.9993)),
        ("leloykun", 5, 0.01, (0.978, 1.032)),
        ("cans", 5, 0.001, (0.884, 1.120)),
        ("polar-express-raw", 5, 0.001, (0.8764, 1.1236)),
        ("polar-express-raw", 6, 0.001, (0.9988, 1.0012)),
        ("polar-express", 5, 0.001, (0.8462, 1.1236)),
    ],
)
def test_intervals(name, steps, low, interval):
    """Every schedule carries [low, 1] onto the interval stated for it."""
    sigma = np.concatenate([np.geomspace(low, 1, 4000), np.linspace(low, 1, 4000)])
    landed = scalar_map(sigma, name, steps)
    digits = 5e-5 if len(str(interval[0])) > 5 else 6e-4
    assert abs(landed.min() - interval[0]) <= digits
    assert abs(landed.max() - interval[1]) <= digits


@pytest.mark.claim("polar-newton-schulz")
def test_jordan_interval():
    """Singular values in [0.01, 1] land in [0.6818, 1.1344] after five steps.

    On a matrix: singular values in [0.01, 1] of the norm land in [0.6818, 1.1344], and not in less.
    """
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    V = np.linalg.qr(rng.standard_normal((50, 40)))[0]
    found = []
    for small in np.geomspace(0.01, 0.05, 25):
        sigma = np.full(40, small)
        sigma[0] = np.sqrt(1 - 39 * small**2)  # Frobenius norm 1: the division changes nothing
        found.append(np.linalg.svd(polar_newton_schulz(U * sigma @ V.T), compute_uv=False))
    found = np.array(found)
    assert found.min() >= 0.6818
    assert found.max() <= 1.1344
    assert found.min() < 0.70
    assert found.max() > 1.12


@pytest.mark.claim("polar-newton-schulz")
def test_polar_express_list():
    """The published list of Polar Express is regenerated to 1e-10.

    The recursion with the authors' cushion gives the published numbers, with none those of CANS.
    """
    made = polar_express_coefficients(1e-3, 7)
    published = SCHEDULES["polar-express-raw"].triples[:7]
    # 1e-10: the published numbers carry the rounding of their own 4 x 4 solves (7.4e-11 measured).
    np.testing.assert_allclose(made, published, rtol=1e-10)
    np.testing.assert_allclose(
        polar_express_coefficients(1e-3, 5, cushion=0.0), SCHEDULES["cans"].triples, atol=5.1e-5
    )


def test_integer_schedule_is_transcribed():
    """The six triples over 1024: slopes at 0 and values at 1 are these integers over 1024."""
    triples = 1024 * np.array(SCHEDULES["you"].triples)
    np.testing.assert_array_equal(triples[:, 0], [3955, 3735, 3799, 4019, 2677, 2172])
    np.testing.assert_array_equal(triples.sum(axis=1), [657, 517, 511, 540, 810, 1021])
    np.testing.assert_array_equal(triples @ [1, 3, 5], [4077, 1007, 357, -606, -600, 83])


def test_polar_express_error_bound():
    """‖polar(A) - X_T‖ <= 1 - l_{T+1}, and the bound is attained at the lower end."""
    rng = np.random.default_rng(1)
    U = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    V = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    sigma = np.geomspace(1e-3, 1, 30)
    A = U * sigma @ V.T
    norm = np.linalg.norm(A)
    for steps in range(1, 8):
        low = 1e-3 / norm
        triples = polar_express_coefficients(low, steps, cushion=0.0)
        for a, b, c in triples:
            low = a * low + b * low**3 + c * low**5
        error = np.linalg.norm(polar_newton_schulz(A, steps, triples, eps=0.0) - U @ V.T, 2)
        assert error <= (1 - low) + 1e-12
        assert error >= 0.999 * (1 - low) - 1e-12


def matrix(rng, m, n, complex_=False):
    A = rng.standard_normal((m, n))
    return A + 1j * rng.standard_normal((m, n)) if complex_ else A


@pytest.mark.identity("polar-newton-schulz")
@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize("complex_", [False, True])
def test_scalar_polynomial(name, complex_):
    """On singular values it is the composed scalar polynomial, to 1e-11 after six steps of every
    schedule.
    """
    rng = np.random.default_rng(0)
    schedule = SCHEDULES[name]
    for shape in [(4, 7), (7, 4), (5, 5), (1, 6)]:
        A = matrix(rng, *shape, complex_)
        U, sigma, Vh = np.linalg.svd(A, full_matrices=False)
        x = sigma / (schedule.norm_factor * np.linalg.norm(A) + 1e-7)
        for k in range(6):
            a, b, c = schedule.triples[min(k, len(schedule.triples) - 1)]
            x = a * x + b * x**3 + c * x**5
        # 1e-11: slopes up to 8.3 a step amplify the rounding of the first Gram matrix.
        np.testing.assert_allclose(polar.polar_newton_schulz(A, 6, name), U * x @ Vh, atol=1e-11)


@pytest.mark.identity("polar-newton-schulz")
def test_converges_to_polar_factor():
    """The cubic converges to scipy.linalg.polar's factor, to 1e-13.

    The cubic and the quintic tend to SciPy's polar factor; zero singular values stay zero.
    """
    rng = np.random.default_rng(1)
    A = matrix(rng, 8, 5)
    for name, steps in (("cubic", 25), ("quintic", 14)):
        got = polar.polar_newton_schulz(A, steps, name)
        np.testing.assert_allclose(got, scipy.linalg.polar(A)[0], atol=1e-13)
    low = matrix(rng, 6, 2) @ matrix(rng, 2, 6)
    got = polar.polar_newton_schulz(low, 40, "cubic")
    np.testing.assert_allclose(
        np.linalg.svd(got, compute_uv=False), [1, 1, 0, 0, 0, 0], atol=2e-8
    )  # rounding in the null space grows by 1.5 a step: 1e-16 * 1.5^40 = 1e-9
    np.testing.assert_array_equal(polar.polar_newton_schulz(np.zeros((2, 3))), np.zeros((2, 3)))


def test_steps_and_transpose():
    """steps=k is k single steps of a normalised matrix; the transpose commutes."""
    rng = np.random.default_rng(2)
    A = matrix(rng, 3, 5)
    one = A / np.linalg.norm(A)
    for _ in range(3):
        S = one @ one.T
        one = 1.5 * one - 0.5 * S @ one
    np.testing.assert_allclose(polar.polar_newton_schulz(A, 3, "cubic", eps=0.0), one, atol=1e-15)
    np.testing.assert_allclose(polar.polar_newton_schulz(A.T), polar.polar_newton_schulz(A).T, atol=1e-14)
    np.testing.assert_allclose(
        polar.polar_newton_schulz(A, eps=0.5), polar.polar_newton_schulz(A * 2, eps=1.0), atol=1e-14
    )
    clamped = polar.polar_newton_schulz(A, eps=100.0, eps_rule="clamp", steps=1)
    X = A / 100
    np.testing.assert_allclose(
        clamped,
        3.4445 * X - 4.775 * X @ X.T @ X + 2.0315 * X @ X.T @ X @ X.T @ X,
        atol=1e-15,
    )


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize("options", [{}, {"coefficients": "polar-express", "steps": 4}, {"eps": 0.3}])
def test_derivatives(shape, options):
    """jvp against a complex-free central difference, vjp against jvp by the inner product."""
    rng = np.random.default_rng(3)
    A, E, G = (matrix(rng, *shape) for _ in range(3))
    h = 1e-5
    for f, jvp, vjp, kwargs in (
        (polar.polar_newton_schulz, polar.polar_newton_schulz_jvp, polar.polar_newton_schulz_vjp, options),
        (lambda X: scipy.linalg.polar(X)[0], polar.polar_jvp, polar.polar_vjp, {}),
    ):
        difference = (f(A + h * E, **kwargs) - f(A - h * E, **kwargs)) / (2 * h)
        derivative = jvp(A, E, **kwargs)
        # The central difference itself is good to about h^2 times the third derivative.
        np.testing.assert_allclose(derivative, difference, atol=1e-6 * max(1, np.abs(derivative).max()))
        gap = np.sum(G * derivative) - np.sum(vjp(A, G, **kwargs) * E)
        assert abs(gap) <= 1e-12 * np.linalg.norm(G) * np.linalg.norm(derivative)


def test_namespaces(xp, dtype):
    """Every namespace and precision gives NumPy's numbers, keeps its dtype and leaves the input alone."""
    values = np.random.default_rng(4).standard_normal((2, 3, 5)).astype(dtype)
    A = xp.asarray(values.copy())
    got = polar.polar_newton_schulz(A)
    assert got.dtype == A.dtype
    np.testing.assert_array_equal(to_numpy(A), values)
    want = np.stack([polar.polar_newton_schulz(v) for v in values.astype("float64")])
    np.testing.assert_allclose(to_numpy(got), want, atol=2e-5 if dtype == "float32" else 1e-13)
    for derivative in (polar.polar_newton_schulz_vjp, polar.polar_vjp):
        assert derivative(A, A).dtype == A.dtype


def test_bad_input():
    """Typed errors, no NaN."""
    good = np.eye(2)
    with pytest.raises(refopt.errors.ArgumentError, match="coefficients"):
        polar.polar_newton_schulz(good, coefficients="keller")
    with pytest.raises(refopt.errors.ArgumentError, match="steps"):
        polar.polar_newton_schulz(good, steps=0)
    with pytest.raises(refopt.errors.NonFiniteError, match="A"):
        polar.polar_newton_schulz(good * np.nan)
    with pytest.raises(refopt.errors.ShapeError):
        polar.polar_newton_schulz(np.ones(3))
    with pytest.raises(refopt.errors.DtypeError):
        polar.polar_newton_schulz(np.eye(2, dtype=int))
    with np.errstate(all="ignore"), pytest.raises(refopt.errors.ConvergenceError, match="overflow"):
        polar.polar_newton_schulz(np.diag([1.0, 0.0]), 12, (3.0, 3.0, 3.0))
    with pytest.raises(refopt.errors.ConvergenceError, match="rank"):
        polar.polar_jvp(np.zeros((2, 2)), good)
