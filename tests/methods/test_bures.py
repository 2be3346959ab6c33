"""What the papers claim of the Bures-Wasserstein loss and mean.

Identities of the Bures-Wasserstein distance, map and mean.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
import scipy.linalg
from refopt.core.arrays import to_numpy
from refopt.matrix import bures, bures_mean
from refopt.matrix.bures import (
    bures_wasserstein_distance,
    bures_wasserstein_factored,
    bures_wasserstein_factored_grad,
)
from refopt.matrix.bures_mean import bures_wasserstein_mean

from tests.methods.test_roots import with_eigenvalues


@pytest.mark.claim("bures-wasserstein-distance")
@pytest.mark.parametrize("tau", [0.0, 0.05])
def test_low_rank_minimisers(tau):
    """rank-r minimisers leave sum_{i>r} (sqrt(l_i) - sqrt(tau))^2, to 1e-12.

    W = Omega_r (Lambda_r - tau)^{1/2}: zero gradient, loss sum_{i>r} (sqrt l_i - sqrt tau)^2.
    """
    values = np.array([3.0, 2.0, 1.0, 0.4, 0.1])
    S, Q = with_eigenvalues(values)
    rng = np.random.default_rng(0)
    for r in (1, 2, 3):
        W = Q[:, :r] * np.sqrt(values[:r] - tau)
        loss = bures_wasserstein_factored(W, S, tau)
        np.testing.assert_allclose(loss, np.sum((np.sqrt(values[r:]) - np.sqrt(tau)) ** 2), rtol=1e-12)
        np.testing.assert_allclose(bures_wasserstein_factored_grad(W, S, tau), 0, atol=1e-12)
        for _ in range(20):
            other = bures_wasserstein_factored(W + 0.1 * rng.standard_normal(W.shape), S, tau)
            assert other >= loss - 1e-13


@pytest.mark.claim("bures-wasserstein-mean")
def test_mean_descent():
    """Every step lowers the objective by at least the squared distance moved.

    F(S_k) - F(S_{k+1}) >= d^2(S_k, S_{k+1}) at every step.
    """
    rng = np.random.default_rng(1)
    C = np.stack([with_eigenvalues(np.geomspace(1, 1 / k, 4), seed=k)[0] for k in (2, 30, 1000)])
    C = np.concatenate([C, spd(rng, 2, 4)])

    def objective(S):
        return np.mean([bures_wasserstein_distance(S, c, squared=True) for c in C])

    S = np.eye(4)
    for _ in range(8):
        new = bures_wasserstein_mean(C, steps=1, start=S)
        drop = objective(S) - objective(new)
        assert drop >= bures_wasserstein_distance(S, new, squared=True) - 1e-13
        S = new
    limit = bures_wasserstein_mean(C)
    assert objective(limit) <= objective(S) + 1e-13
    assert np.linalg.norm(S - limit) < 1e-2


def spd(rng, *shape, complex_=False):
    n = shape[-1]
    X = rng.standard_normal((*shape[:-1], n, 2 * n))
    X = X + 1j * rng.standard_normal(X.shape) if complex_ else X
    A = X @ X.conj().swapaxes(-1, -2) / (2 * n)
    return (A + A.conj().swapaxes(-1, -2)) / 2


@pytest.mark.identity("bures-wasserstein-distance")
@pytest.mark.parametrize("complex_", [False, True])
def test_distance_formulas(complex_):
    """Its square is tr A + tr B - 2 tr (A^{1/2} B A^{1/2})^{1/2}, to 1e-12.

    The trace formula through SciPy's root; commuting pairs; A = B; semidefinite pairs; no
    cancellation.
    """
    rng = np.random.default_rng(0)
    A, B = spd(rng, 5, complex_=complex_), spd(rng, 5, complex_=complex_)
    root = scipy.linalg.sqrtm(A)
    want = np.trace(A + B - 2 * scipy.linalg.sqrtm(root @ B @ root)).real
    np.testing.assert_allclose(bures.bures_wasserstein_distance(A, B, squared=True), want, rtol=1e-12)
    np.testing.assert_allclose(bures.bures_wasserstein_distance(B, A) ** 2, want, rtol=1e-12)
    assert bures.bures_wasserstein_distance(A, A) < 1e-14
    near = bures.bures_wasserstein_distance(A, (1 + 1e-10) * A)
    np.testing.assert_allclose(near, 0.5e-10 * np.sqrt(np.trace(A).real), rtol=1e-4)  # eps / 1e-10
    a, b = np.array([4.0, 1.0, 0.0]), np.array([1.0, 0.0, 9.0])
    commuting = bures.bures_wasserstein_distance(np.diag(a), np.diag(b))
    np.testing.assert_allclose(commuting, np.linalg.norm(np.sqrt(a) - np.sqrt(b)), rtol=1e-14)


def test_map_and_gradient():
    """T A T = B; the two maps invert each other; I - T is the gradient, by central differences."""
    rng = np.random.default_rng(1)
    A, B, dA, dB = (spd(rng, 4) for _ in range(4))
    T = bures.bures_wasserstein_map(A, B)
    np.testing.assert_allclose(T @ A @ T, B, atol=1e-13)
    np.testing.assert_allclose(T @ bures.bures_wasserstein_map(B, A), np.eye(4), atol=1e-12)
    h = 1e-5
    f = lambda X, Y: bures.bures_wasserstein_distance(X, Y, squared=True)  # noqa: E731
    difference = (f(A + h * dA, B + h * dB) - f(A - h * dA, B - h * dB)) / (2 * h)
    np.testing.assert_allclose(bures.bures_wasserstein_jvp(A, B, dA, dB), difference, rtol=1e-6)
    bar_A, bar_B = bures.bures_wasserstein_vjp(A, B, 2.0)
    np.testing.assert_allclose(np.sum(bar_A * dA + bar_B * dB), 2 * difference, rtol=1e-6)
    t = bures.bures_wasserstein_map
    difference = (t(A + h * dA, B + h * dB) - t(A - h * dA, B - h * dB)) / (2 * h)
    np.testing.assert_allclose(bures.bures_wasserstein_map_jvp(A, B, dA, dB), difference, atol=1e-6)


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_factored(tau):
    """The loss is the squared distance of W W^T + tau I; its gradient by central differences."""
    rng = np.random.default_rng(2)
    S = spd(rng, 5)
    W, E = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    loss = bures.bures_wasserstein_factored(W, S, tau)
    want = bures.bures_wasserstein_distance(W @ W.T + tau * np.eye(5), S, squared=True)
    # tau = 0: the rank-deficient W W^T has eigenvalues of rounding size 1e-16, whose roots are 1e-8.
    np.testing.assert_allclose(loss, want, rtol=1e-12 if tau else 1e-7)
    h = 1e-6
    f = bures.bures_wasserstein_factored
    difference = (f(W + h * E, S, tau) - f(W - h * E, S, tau)) / (2 * h)
    np.testing.assert_allclose(
        np.sum(bures.bures_wasserstein_factored_grad(W, S, tau) * E), difference, rtol=1e-6
    )


@pytest.mark.identity("bures-wasserstein-mean")
def test_mean_fixed_point():
    """sum_i w_i T_i = I, and closed forms: two matrices, commuting ones, to 1e-12.

    sum w_i T_i = I; (sum w_i sqrt C_i)^2 for commuting ones; the geodesic for two; equivariance.
    """
    rng = np.random.default_rng(3)
    C = spd(rng, 4, 3)
    w = np.array([0.1, 0.2, 0.3, 0.4])
    S = bures_mean.bures_wasserstein_mean(C, w)
    T = sum(wi * bures.bures_wasserstein_map(S, Ci) for wi, Ci in zip(w, C))
    np.testing.assert_allclose(T, np.eye(3), atol=1e-12)
    assert np.trace(S) <= np.sum(w[:, None] * np.trace(C, axis1=1, axis2=2)[:, None])
    Q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turned = Q @ C @ Q.T
    turned = (turned + turned.swapaxes(-1, -2)) / 2
    np.testing.assert_allclose(bures_mean.bures_wasserstein_mean(turned, w), Q @ S @ Q.T, atol=1e-12)
    diagonals = rng.uniform(0.1, 3, (4, 3))
    commuting = np.stack([np.diag(d) for d in diagonals])
    np.testing.assert_allclose(
        bures_mean.bures_wasserstein_mean(commuting, w), np.diag((w @ np.sqrt(diagonals)) ** 2), atol=1e-13
    )
    A, B, t = C[0], C[1], 0.3
    root = scipy.linalg.sqrtm(A @ B)
    between = (1 - t) ** 2 * A + t**2 * B + t * (1 - t) * (root + root.T)
    got = bures_mean.bures_wasserstein_mean(C[:2], np.array([1 - t, t]))
    np.testing.assert_allclose(got, between, atol=1e-12)
    pot = bures_mean.bures_wasserstein_mean(C, w, iteration="pot")
    np.testing.assert_allclose(pot, S, atol=1e-12)
    batch = bures_mean.bures_wasserstein_mean(np.stack([C, 2 * C]), w)
    np.testing.assert_allclose(batch, np.stack([S, 2 * S]), atol=1e-12)


def test_mean_one_dimension():
    """1 x 1: exact in one step; POT's map halves the error of the logarithm."""
    C = np.array([1.0, 4.0, 9.0]).reshape(3, 1, 1)
    np.testing.assert_allclose(bures_mean.bures_wasserstein_mean(C, steps=1), [[4.0]], rtol=1e-14)
    start = np.array([[1.0]])
    for steps in range(1, 6):
        got = bures_mean.bures_wasserstein_mean(C, steps=steps, start=start, iteration="pot")
        np.testing.assert_allclose(np.log(got / 4), np.log(1 / 4) / 2**steps, rtol=1e-10)


def test_mean_derivatives():
    """Implicit derivative against central differences, reverse against forward."""
    rng = np.random.default_rng(4)
    C, D = spd(rng, 3, 3), spd(rng, 3, 3)
    G = spd(rng, 3)
    w = np.array([0.5, 0.2, 0.3])
    S = bures_mean.bures_wasserstein_mean(C, w)
    h = 1e-5
    f = bures_mean.bures_wasserstein_mean
    difference = (f(C + h * D, w) - f(C - h * D, w)) / (2 * h)
    derivative = bures_mean.bures_wasserstein_mean_jvp(C, S, D, w)
    np.testing.assert_allclose(derivative, difference, atol=1e-7)
    back = bures_mean.bures_wasserstein_mean_vjp(C, S, G, w)
    np.testing.assert_allclose(np.sum(back * D), np.sum(G * derivative), rtol=1e-10)


def test_namespaces(xp, dtype):
    """Every namespace and precision; dtype kept, input untouched."""
    values = spd(np.random.default_rng(5), 2, 3, 4).astype(dtype)
    values = (values + values.swapaxes(-1, -2)) / 2
    C = xp.asarray(values.copy())
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    distance, mean = bures.bures_wasserstein_distance, bures_mean.bures_wasserstein_mean
    got, centre = distance(C[0, ...], C[1, ...]), mean(C)
    assert got.dtype == C.dtype == centre.dtype
    np.testing.assert_array_equal(to_numpy(C), values)
    double = values.astype("float64")
    np.testing.assert_allclose(to_numpy(got), distance(double[0], double[1]), atol=tolerance)
    np.testing.assert_allclose(to_numpy(centre), mean(double), atol=tolerance)
    back = bures_mean.bures_wasserstein_mean_vjp(C[0, ...], centre[0, ...], centre[0, ...])
    assert back.dtype == C.dtype


def test_bad_input():
    """Typed errors that name the argument."""
    errors = refopt.errors
    good = np.eye(2)
    with pytest.raises(errors.ConvergenceError, match="B"):
        bures.bures_wasserstein_distance(good, -good)
    with pytest.raises(errors.ShapeError, match="B"):
        bures.bures_wasserstein_distance(good, np.eye(3))
    with pytest.raises(errors.DtypeError, match="B"):
        bures.bures_wasserstein_distance(good, good.astype("float32"))
    with pytest.raises(errors.ConvergenceError, match="A"):
        bures.bures_wasserstein_map(np.diag([1.0, 0.0]), good)
    stack = np.stack([good, good])
    for weights in ([0.5, 0.6], [1.5, -0.5]):
        with pytest.raises(errors.ArgumentError, match="weights"):
            bures_mean.bures_wasserstein_mean(stack, np.array(weights))
    with pytest.raises(errors.ShapeError, match="weights"):
        bures_mean.bures_wasserstein_mean(stack, np.ones(3) / 3)
    with pytest.raises(errors.ConvergenceError, match="C"):
        bures_mean.bures_wasserstein_mean(np.stack([good, 0 * good]))
    hard = with_eigenvalues(np.geomspace(1, 1e-3, 3))[0]
    with pytest.raises(errors.ShapeError, match="C"):
        bures_mean.bures_wasserstein_mean(hard)
