"""What the papers claim of the SPD geometries.

Identities of the SPD functions, distances, maps and means.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
import scipy.linalg
from refopt.core.arrays import to_numpy
from refopt.matrix import spd as functions
from refopt.matrix import spd_geometry as geometry
from refopt.matrix.inverse_root import inverse_pth_root
from refopt.matrix.spd_geometry import spd_distance
from refopt.matrix.square_root import sqrtm_eigh

from tests.methods.test_bures import spd
from tests.methods.test_roots import on_eigenvalues, with_eigenvalues


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
    """affine-invariant: unchanged by congruence (to 1e-10) and inversion (1e-11);
    never below log-Euclidean.

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


@pytest.mark.identity("spd-log")
@pytest.mark.parametrize("complex_", [False, True])
def test_log(complex_):
    """scipy.linalg.logm, exp(log A) = A, log det A = tr log A, to 1e-12.

    SciPy's logm; exp(log A) = A; log det A = tr log A; congruence with a unitary.
    """
    rng = np.random.default_rng(0)
    A = spd(rng, 5, complex_=complex_)
    L = functions.spd_log(A)
    np.testing.assert_allclose(L, scipy.linalg.logm(A), atol=1e-12)
    np.testing.assert_allclose(functions.spd_exp(L), A, atol=1e-13)
    np.testing.assert_allclose(np.trace(L).real, np.linalg.slogdet(A)[1], rtol=1e-12)
    np.testing.assert_allclose(functions.spd_log(functions.spd_power(A, 0.3)), 0.3 * L, atol=1e-12)


@pytest.mark.identity("spd-exp")
@pytest.mark.parametrize("complex_", [False, True])
def test_exp(complex_):
    """scipy.linalg.expm and expm_frechet, exp(X) exp(-X) = I, to 1e-12."""
    rng = np.random.default_rng(1)
    X = spd(rng, 4, complex_=complex_) - spd(rng, 4, complex_=complex_)
    E = spd(rng, 4, complex_=complex_)
    np.testing.assert_allclose(functions.spd_exp(X), scipy.linalg.expm(X), atol=1e-13)
    np.testing.assert_allclose(functions.spd_exp(X) @ functions.spd_exp(-X), np.eye(4), atol=1e-13)
    want = scipy.linalg.expm_frechet(X, E, compute_expm=False)
    np.testing.assert_allclose(functions.spd_exp_jvp(X, E), want, atol=1e-12)
    large = np.diag([700.0, -700.0, 1.0])
    np.testing.assert_allclose(functions.spd_exp(large), np.diag(np.exp(np.diag(large))), rtol=1e-13)
    assert np.all(np.isfinite(functions.spd_exp_jvp(large, np.ones((3, 3)))))


@pytest.mark.identity("spd-power")
@pytest.mark.parametrize("theta", [1.0, 0.5, -1.0, -0.25, 2.0, 0.37])
def test_power(theta):
    """scipy.linalg.fractional_matrix_power; theta 1, 1/2, -1, -1/4, 2 by other routes, to 1e-11."""
    A, Q = with_eigenvalues(np.geomspace(3, 0.03, 5))
    P = functions.spd_power(A, theta)
    np.testing.assert_allclose(P, scipy.linalg.fractional_matrix_power(A, theta), atol=1e-11)
    np.testing.assert_allclose(P, on_eigenvalues(Q, np.geomspace(3, 0.03, 5) ** theta), atol=1e-12)
    np.testing.assert_allclose(functions.spd_power(P, 1 / theta), A, atol=1e-12)
    others = {1.0: A, 0.5: sqrtm_eigh(A), -1.0: np.linalg.inv(A), -0.25: inverse_pth_root(A, 4), 2.0: A @ A}
    if theta in others:
        np.testing.assert_allclose(P, others[theta], atol=1e-11)


def test_derivatives():
    """jvp against central differences for log and power, repeated and far apart eigenvalues."""
    rng = np.random.default_rng(2)
    E, G = rng.standard_normal((2, 5, 5))
    E = E + E.T
    A, _ = with_eigenvalues([2.0, 2.0, 2.0 + 1e-9, 0.5, 0.05])
    h = 1e-6
    for f, jvp, vjp, arguments in (
        (functions.spd_log, functions.spd_log_jvp, functions.spd_log_vjp, ()),
        (functions.spd_power, functions.spd_power_jvp, functions.spd_power_vjp, (0.3,)),
        (functions.spd_power, functions.spd_power_jvp, functions.spd_power_vjp, (-0.5,)),
        (functions.spd_exp, functions.spd_exp_jvp, functions.spd_exp_vjp, ()),
    ):
        difference = (f(A + h * E, *arguments) - f(A - h * E, *arguments)) / (2 * h)
        derivative = jvp(A, E, *arguments)
        np.testing.assert_allclose(derivative, difference, atol=1e-6 * np.abs(derivative).max())
        np.testing.assert_allclose(np.sum(vjp(A, G, *arguments) * E), np.sum(G * derivative), rtol=1e-11)


@pytest.mark.identity("spd-distance")
def test_distances():
    """Closed forms, SciPy's generalised eigenvalues, d^2 = g(Log, Log), to 1e-12.

    Closed forms, SciPy's generalised eigenvalues, and d^2 = g(Log, Log).
    """
    rng = np.random.default_rng(3)
    A, B, M = (spd(rng, 4) for _ in range(3))
    d = geometry.spd_distance
    values = scipy.linalg.eigh(B, A, eigvals_only=True)
    np.testing.assert_allclose(d(A, B), np.linalg.norm(np.log(values)), rtol=1e-12)
    want = np.linalg.norm(scipy.linalg.logm(A) - scipy.linalg.logm(B))
    np.testing.assert_allclose(d(A, B, "log-euclidean"), want, rtol=1e-12)
    inverse = np.linalg.inv(M)
    root = scipy.linalg.sqrtm(A @ inverse @ B @ inverse)
    want = np.trace(inverse @ A) + np.trace(inverse @ B) - 2 * np.trace(root).real
    np.testing.assert_allclose(d(A, B, "bures-wasserstein", M=M, squared=True), want, rtol=1e-12)
    for metric in ("affine-invariant", "bures-wasserstein"):
        V = geometry.spd_log_map(A, B, metric)
        np.testing.assert_allclose(geometry.spd_inner(A, V, V, metric), d(A, B, metric) ** 2, rtol=1e-12)
        np.testing.assert_allclose(geometry.spd_exp_map(A, V, metric), B, atol=1e-12)
    for metric in geometry.METRICS:
        assert d(A, A, metric) < 1e-13
        np.testing.assert_allclose(d(A, B, metric), d(B, A, metric), rtol=1e-12)
        power = d(functions.spd_power(A, 0.7), functions.spd_power(B, 0.7), metric) / 0.7
        np.testing.assert_allclose(d(A, B, metric, theta=0.7), power, rtol=1e-12)


@pytest.mark.parametrize("metric", geometry.METRICS)
@pytest.mark.parametrize("theta", [1.0, 0.5])
def test_distance_gradients(metric, theta):
    """The gradients of d^2 in both arguments, by central differences."""
    rng = np.random.default_rng(4)
    A, B, dA, dB, M = (spd(rng, 4) for _ in range(5))
    options = {"theta": theta, "M": M if metric == "bures-wasserstein" else None}
    h = 1e-5
    f = lambda X, Y: geometry.spd_distance(X, Y, metric, squared=True, **options)  # noqa: E731
    difference = (f(A + h * dA, B + h * dB) - f(A - h * dA, B - h * dB)) / (2 * h)
    np.testing.assert_allclose(
        geometry.spd_distance_jvp(A, B, dA, dB, metric, **options), difference, rtol=1e-6
    )


def test_maps_and_geodesics():
    """The BW exponential at I is (I + V/2)^2; geodesics end where they should, at constant speed."""
    rng = np.random.default_rng(5)
    A, B = spd(rng, 3), spd(rng, 3)
    V = 0.5 * (A - B)
    half = np.eye(3) + V / 2
    np.testing.assert_allclose(
        geometry.spd_exp_map(np.eye(3), V, "bures-wasserstein"), half @ half, atol=1e-13
    )
    for metric in ("affine-invariant", "bures-wasserstein"):
        np.testing.assert_allclose(geometry.spd_geodesic(A, B, 1.0, metric), B, atol=1e-12)
        middle = geometry.spd_geodesic(A, B, 0.25, metric)
        part = geometry.spd_distance(A, middle, metric) / geometry.spd_distance(A, B, metric)
        np.testing.assert_allclose(part, 0.25, rtol=1e-11)


def test_means():
    """Zero gradient; commuting: geometric mean; two matrices: the geodesic's middle; congruence."""
    rng = np.random.default_rng(6)
    C = spd(rng, 4, 3)
    w = np.array([0.1, 0.4, 0.3, 0.2])
    for metric in ("affine-invariant", "bures-wasserstein"):
        S = geometry.spd_mean(C, w, metric)
        V = sum(wi * geometry.spd_log_map(S, c, metric) for wi, c in zip(w, C))
        np.testing.assert_allclose(V, 0, atol=1e-12)
        middle = geometry.spd_geodesic(C[0], C[1], 0.5, metric)
        np.testing.assert_allclose(geometry.spd_mean(C[:2], metric=metric), middle, atol=1e-12)
    P = rng.standard_normal((3, 3))
    moved = P @ C @ P.T
    moved = (moved + moved.swapaxes(-1, -2)) / 2
    want = P @ geometry.spd_mean(C, w) @ P.T
    np.testing.assert_allclose(geometry.spd_mean(moved, w), want, atol=1e-11)
    logs = sum(wi * scipy.linalg.logm(c) for wi, c in zip(w, C))
    np.testing.assert_allclose(geometry.spd_mean(C, w, "log-euclidean"), scipy.linalg.expm(logs), atol=1e-12)
    spread = np.stack([with_eigenvalues(np.geomspace(1e4, 1e-4, 3), seed=k)[0] for k in range(4)])
    S = geometry.spd_mean(spread)
    V = sum(geometry.spd_log_map(S, c) for c in spread) / 4
    # eps times condition numbers of 1e8.
    assert geometry.spd_inner(S, V, V) ** 0.5 < 1e-7


@pytest.mark.parametrize("name", ["spd-log", "spd-exp", "spd-power", "spd-distance"])
def test_namespaces(name, xp, dtype):
    """Every namespace and precision; dtype kept, input untouched."""
    values = spd(np.random.default_rng(7), 2, 3, 4).astype(dtype)
    values = (values + values.swapaxes(-1, -2)) / 2
    A = xp.asarray(values.copy())
    f = refopt.get(name)
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    double = values.astype("float64")
    if name == "spd-distance":
        for metric in geometry.METRICS:
            got = f(A[0, ...], A[1, ...], metric)
            assert got.dtype == A.dtype
            np.testing.assert_allclose(to_numpy(got), f(double[0], double[1], metric), atol=tolerance)
            mean = geometry.spd_mean(A, metric=metric)
            assert mean.dtype == A.dtype
            np.testing.assert_allclose(
                to_numpy(mean), geometry.spd_mean(double, metric=metric), atol=tolerance
            )
    else:
        got = f(A)
        assert got.dtype == A.dtype
        np.testing.assert_allclose(to_numpy(got), f(double), atol=tolerance)
    np.testing.assert_array_equal(to_numpy(A), values)
    for vjp in (functions.spd_log_vjp, functions.spd_exp_vjp, functions.spd_power_vjp):
        assert vjp(A, A).dtype == A.dtype


def test_bad_input():
    """Typed errors that name the argument."""
    errors = refopt.errors
    eye = np.eye(2)
    for f in (
        functions.spd_log,
        lambda X: functions.spd_power(X, -1.0),
        lambda X: geometry.spd_distance(X, eye),
    ):
        with pytest.raises(errors.ConvergenceError, match="A"):
            f(np.diag([1.0, 0.0]))
    with pytest.raises(errors.ArgumentError, match="overflow"):
        functions.spd_exp(np.diag([800.0, 0.0]))
    with pytest.raises(errors.ArgumentError, match="overflow"):
        functions.spd_exp(np.diag([100.0, 0.0]).astype("float32"))
    with pytest.raises(errors.ArgumentError, match="theta"):
        geometry.spd_distance(eye, eye, theta=0.0)
    with pytest.raises(errors.ArgumentError, match="metric"):
        geometry.spd_distance(eye, eye, "stein")
    with pytest.raises(errors.ArgumentError, match="M"):
        geometry.spd_distance(eye, eye, M=eye)
    with pytest.raises(errors.ConvergenceError, match="V"):
        geometry.spd_exp_map(eye, -3 * eye, "bures-wasserstein")
    with pytest.raises(errors.ArgumentError, match="symmetric"):
        functions.spd_exp(np.array([[0.0, 1.0], [0.0, 0.0]]))
