"""What the papers claim of Gram and power iteration.

Identities of the spectral norms.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import refopt
from refopt.core.arrays import to_numpy
from refopt.core.rng import generator
from refopt.matrix import conv_gram, gram
from refopt.matrix.conv_gram import conv_spectral_norm_gram
from refopt.matrix.gram import spectral_norm_gram, spectral_norm_power


@pytest.mark.claim("spectral-norm-gram")
def test_gram_superlinear():
    """An upper bound at every iterate, monotone; its error falls R-quadratically, as (sigma_2 /
    sigma_1)^q / q with q = 2^(k+1), within 20 %.

    Above sigma_1 at every iterate, monotone, R-quadratic: errors fall ever faster.
    """
    rng = np.random.default_rng(0)
    for _ in range(20):
        A = rng.standard_normal((12, 7))
        sigma = np.linalg.svd(A, compute_uv=False)
        errors = [float(spectral_norm_gram(A, k)) / sigma[0] - 1 for k in range(9)]
        assert min(errors) >= -4e-16
        assert all(b <= a + 4e-16 for a, b in itertools.pairwise(errors))
        ratio = sigma[1] / sigma[0]
        for k, error in enumerate(errors):
            q = 2 ** (k + 1)
            assert error <= 7 ** (1 / q) - 1 + 4e-16  # the certified factor
            if ratio**q < 1e-2 and error > 1e-13:  # the stated rate, once the second value is small
                assert error == pytest.approx(ratio**q / q, rel=0.2)
        # Superlinear: the ratios of successive errors fall.
        quotients = [b / a for a, b in itertools.pairwise([e for e in errors if 1e-13 < e < 1e-2])]
        assert all(b < a for a, b in itertools.pairwise(quotients))


@pytest.mark.claim("spectral-norm-gram")
def test_gram_on_orthogonal():
    """Orthogonal 8 x 8: 8^(2^-(N+1)), to 1e-13, whose logarithm only halves a step.

    All singular values equal: the bound is exactly 8^(2^-(N+1)), whose logarithm halves a step.
    """
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0]
    for steps in range(8):
        np.testing.assert_allclose(spectral_norm_gram(Q, steps), 8 ** (2.0 ** -(steps + 1)), rtol=1e-13)


@pytest.mark.claim("spectral-norm-power")
def test_power_rate():
    """A lower bound, monotone, whose error falls by (sigma_2 / sigma_1)^4 a step, to 1e-3.

    diag(1, .9, .5, .2): from below, monotone, the error falls by 0.9^4 a step.
    """
    A = np.diag([1.0, 0.9, 0.5, 0.2])
    values = [float(spectral_norm_power(A, k, start=np.ones(4))) for k in range(1, 60)]
    errors = 1 - np.array(values)
    assert np.all(errors >= -1e-15)
    assert np.all(np.diff(values) >= -1e-15)
    np.testing.assert_allclose(errors[41:] / errors[40:-1], 0.9**4, rtol=1e-3)
    # A start orthogonal to the leading vector stalls below: the reason it is no certificate.
    np.testing.assert_allclose(spectral_norm_power(A, 50, start=np.array([0.0, 1, 1, 1])), 0.9, rtol=1e-12)


@pytest.mark.claim("conv-spectral-norm-gram")
def test_conv_bounds():
    """Both bounds lie above the assembled operator at every iterate and fall with it."""
    rng = np.random.default_rng(2)
    for _ in range(3):
        K = rng.standard_normal((3, 2, 3, 3))
        circular = np.linalg.norm(assembled(K, 6, True), 2)
        padded = np.linalg.norm(assembled(K, 6, False), 2)
        old_circular = old_zero = np.inf
        for steps in range(1, 7):
            bound = float(conv_spectral_norm_gram(K, 6, steps))
            free = float(conv_spectral_norm_gram(K, steps=steps, padding="zero"))
            assert circular * (1 - 1e-14) <= bound <= old_circular * (1 + 1e-14)
            assert max(circular, padded) * (1 - 1e-14) <= free <= old_zero * (1 + 1e-14)
            old_circular, old_zero = bound, free
        large = float(conv_spectral_norm_gram(K, 64, 10))
        assert old_zero == pytest.approx(large, rel=0.03)


def test_zero_padding_may_exceed_circular():
    """(-1, 2, -1) on odd images: circular 2 - 2 cos(2 pi floor(n/2) / n) < zero 2 + 2 cos(pi / (n + 1))."""
    K = np.zeros((1, 1, 3, 3))
    K[0, 0, 1] = [-1.0, 2.0, -1.0]
    for n in (3, 5, 7):
        circular = float(conv_spectral_norm_gram(K, n, 12))
        np.testing.assert_allclose(circular, 2 - 2 * np.cos(2 * np.pi * (n // 2) / n), rtol=2e-3)
        zero = np.linalg.norm(assembled(K, n, False), 2)
        np.testing.assert_allclose(zero, 2 + 2 * np.cos(np.pi / (n + 1)), rtol=1e-12)
        assert circular < zero <= float(conv_spectral_norm_gram(K, steps=6, padding="zero"))


@pytest.mark.identity("spectral-norm-gram")
@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (1, 3)])
@pytest.mark.parametrize("complex_", [False, True])
def test_schatten(shape, complex_):
    """N steps give the Schatten norm of order 2^(N+1), to 1e-13.

    N steps give (sum sigma^(2^(N+1)))^(2^-(N+1)), at any scale.
    """
    rng = np.random.default_rng(0)
    A = rng.standard_normal((2, *shape)) + (1j * rng.standard_normal((2, *shape)) if complex_ else 0)
    sigma = np.linalg.svd(A, compute_uv=False)
    for steps in range(7):
        q = 2.0 ** (steps + 1)
        top = sigma[:, :1]
        want = top[:, 0] * np.sum((sigma / top) ** q, axis=1) ** (1 / q)
        for scale in (1.0, 1e150, 1e-150):
            np.testing.assert_allclose(gram.spectral_norm_gram(A * scale, steps) / scale, want, rtol=1e-13)
    assert gram.spectral_norm_gram(np.zeros((3, 2)), 4) == 0.0
    np.testing.assert_allclose(gram.spectral_norm_gram(A, 100), sigma[:, 0], rtol=1e-13)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 6])
def test_gram_gradient(shape, steps):
    """U diag((sigma / s)^(2^(N+1) - 1)) V*, central differences, and Euler's identity."""
    rng = np.random.default_rng(1)
    A, E = rng.standard_normal(shape), rng.standard_normal(shape)
    U, sigma, Vh = np.linalg.svd(A, full_matrices=False)
    s = float(gram.spectral_norm_gram(A, steps))
    want = U * (sigma / s) ** (2.0 ** (steps + 1) - 1) @ Vh
    gradient = gram.spectral_norm_gram_vjp(A, 1.0, steps)
    np.testing.assert_allclose(gradient, want, atol=1e-13)
    h = 1e-6
    f = gram.spectral_norm_gram
    difference = (f(A + h * E, steps) - f(A - h * E, steps)) / (2 * h)
    np.testing.assert_allclose(gram.spectral_norm_gram_jvp(A, E, steps), difference, atol=1e-7)
    np.testing.assert_array_equal(gram.spectral_norm_gram_vjp(np.zeros(shape), 1.0, steps), np.zeros(shape))


@pytest.mark.identity("spectral-norm-power")
def test_power_rank_one():
    """Exact after one step on rank one, to 1e-14.

    One step is exact on rank one and on multiples of the identity; zero gives zero.
    """
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal(5), rng.standard_normal(3)
    value = gram.spectral_norm_power(np.outer(a, b), 1)
    np.testing.assert_allclose(value, np.linalg.norm(a) * np.linalg.norm(b), rtol=1e-14)
    np.testing.assert_allclose(gram.spectral_norm_power(7.0 * np.eye(4), 1), 7.0, rtol=1e-14)
    assert gram.spectral_norm_power(np.zeros((3, 4)), 3) == 0.0


def test_power_gradient():
    """Converged, v u* is the gradient of sigma_1: U_1 V_1^T; the jvp is its inner product."""
    rng = np.random.default_rng(3)
    A, E = rng.standard_normal((5, 4)), rng.standard_normal((5, 4))
    U, _, Vh = np.linalg.svd(A)
    gradient = gram.spectral_norm_power_vjp(A, 1.0, 400)
    np.testing.assert_allclose(gradient, np.outer(U[:, 0], Vh[0]), atol=1e-12)
    np.testing.assert_allclose(gram.spectral_norm_power_jvp(A, E, 400), np.sum(gradient * E), rtol=1e-12)
    uniform = gram.spectral_norm_power(A, 400, distribution="uniform", seed=5)
    np.testing.assert_allclose(uniform, np.linalg.norm(A, 2), rtol=1e-13)


def test_power_starts():
    """A drawn start is standard normal, or uniform on [0, 1), from the seed's stream."""
    A = np.random.default_rng(9).standard_normal((5, 4))
    for name, draw in (("normal", "standard_normal"), ("uniform", "random")):
        start = getattr(generator(3, "start"), draw)(4)
        want = gram.spectral_norm_power(A, 2, start=start)
        got = gram.spectral_norm_power(A, 2, distribution=name, seed=3)
        np.testing.assert_allclose(got, want, rtol=1e-15)


def assembled(K, n, circular):
    """The convolution's matrix on n x n images (cross-correlation, as layers have it)."""
    out, into, k, _ = K.shape
    M = np.zeros((out, n, n, into, n, n))
    for y in range(n):
        for x in range(n):
            for u in range(k):
                for v in range(k):
                    row, column = y + u - k // 2, x + v - k // 2
                    if circular or (0 <= row < n and 0 <= column < n):
                        M[:, y, x, :, row % n, column % n] += K[:, :, u, v]
    return M.reshape(out * n * n, into * n * n)


@pytest.mark.identity("conv-spectral-norm-gram")
@pytest.mark.parametrize("channels", [(3, 2), (2, 3), (1, 1)])
def test_conv_operator(channels):
    """Tends to the norm of the assembled circular operator, to 1e-12.

    The circular value tends to the assembled operator's norm; its gradient is the differences'.
    """
    rng = np.random.default_rng(4)
    K = rng.standard_normal((*channels, 3, 3))
    want = np.linalg.norm(assembled(K, 5, True), 2)
    np.testing.assert_allclose(conv_gram.conv_spectral_norm_gram(K, 5, 14), want, rtol=1e-12)
    E = rng.standard_normal(K.shape)
    h = 1e-6
    f = lambda X: conv_gram.conv_spectral_norm_gram(X, (5, 6), 3)  # noqa: E731
    difference = (f(K + h * E) - f(K - h * E)) / (2 * h)
    np.testing.assert_allclose(conv_gram.conv_spectral_norm_gram_jvp(K, E, (5, 6), 3), difference, atol=1e-7)
    one = rng.standard_normal((4, 3, 1, 1))
    np.testing.assert_allclose(
        conv_gram.conv_spectral_norm_gram(one, 3, 5), gram.spectral_norm_gram(one[..., 0, 0], 5), rtol=1e-14
    )


@pytest.mark.parametrize("channels", [(3, 2), (2, 3), (1, 1)])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_size_free_gradient(channels, steps):
    """The zero-padding bound's gradient: central differences, and Euler's identity <gradient, K> = bound."""
    rng = np.random.default_rng(7)
    K, E = rng.standard_normal((2, *channels, 3, 2))
    h = 1e-6
    f = lambda X: conv_gram.conv_spectral_norm_gram(X, steps=steps, padding="zero")  # noqa: E731
    derivative = conv_gram.conv_spectral_norm_gram_jvp(K, E, steps=steps, padding="zero")
    np.testing.assert_allclose(derivative, (f(K + h * E) - f(K - h * E)) / (2 * h), rtol=1e-6)
    gradient = conv_gram.conv_spectral_norm_gram_vjp(K, 1.0, steps=steps, padding="zero")
    np.testing.assert_allclose(np.sum(gradient * K), f(K), rtol=1e-12)
    none = conv_gram.conv_spectral_norm_gram_vjp(0 * K, 1.0, steps=steps, padding="zero")
    np.testing.assert_array_equal(none, 0 * K)


def test_autocorrelation():
    """All lags of sum_i K[o, i] * K[o', i], against the definition."""
    rng = np.random.default_rng(5)
    K = rng.standard_normal((2, 3, 3, 2))
    C = conv_gram.autocorrelation(K)
    assert C.shape == (2, 2, 5, 3)
    for dy in range(-2, 3):
        for dx in range(-1, 2):
            total = np.zeros((2, 2))
            for y in range(3):
                for x in range(2):
                    if 0 <= y + dy < 3 and 0 <= x + dx < 2:
                        total += K[:, :, y + dy, x + dx] @ K[:, :, y, x].T
            np.testing.assert_allclose(C[:, :, dy + 2, dx + 1], total, atol=1e-14)
    zero = np.zeros((1, 2, 3, 3))
    for padding in ("circular", "zero"):
        assert conv_gram.conv_spectral_norm_gram(zero, 4, 2, padding=padding) == 0.0


@pytest.mark.parametrize("name", ["spectral-norm-gram", "spectral-norm-power", "conv-spectral-norm-gram"])
def test_namespaces(name, xp, dtype):
    """Every namespace and precision; dtype kept, input untouched."""
    values = np.random.default_rng(6).standard_normal((2, 4, 3, 3)).astype(dtype)
    A = xp.asarray(values.copy())
    f = refopt.get(name)
    got = f(A)
    assert got.dtype == A.dtype
    np.testing.assert_array_equal(to_numpy(A), values)
    np.testing.assert_allclose(
        to_numpy(got), f(values.astype("float64")), rtol=2e-5 if dtype == "float32" else 1e-13
    )
    vjp = {
        "spectral-norm-gram": gram.spectral_norm_gram_vjp,
        "spectral-norm-power": gram.spectral_norm_power_vjp,
        "conv-spectral-norm-gram": conv_gram.conv_spectral_norm_gram_vjp,
    }[name](A)
    assert vjp.dtype == A.dtype
    if name == "conv-spectral-norm-gram":
        assert f(A, padding="zero").dtype == A.dtype
        assert conv_gram.conv_spectral_norm_gram_vjp(A, padding="zero").dtype == A.dtype


def test_bad_input():
    """Typed errors that name the argument."""
    errors = refopt.errors
    with pytest.raises(errors.ShapeError, match="A"):
        gram.spectral_norm_gram(np.ones(3))
    with pytest.raises(errors.ArgumentError, match="steps"):
        gram.spectral_norm_gram(np.eye(2), -1)
    with pytest.raises(errors.NonFiniteError):
        gram.spectral_norm_power(np.full((2, 2), np.nan))
    with pytest.raises(errors.ArgumentError, match="start"):
        gram.spectral_norm_power(np.eye(2), start=np.zeros(2))
    with pytest.raises(errors.ShapeError, match="start"):
        gram.spectral_norm_power(np.eye(2), start=np.ones(3))
    with pytest.raises(errors.ArgumentError, match="distribution"):
        gram.spectral_norm_power(np.eye(2), distribution="cauchy")
    K = np.ones((1, 1, 3, 3))
    with pytest.raises(errors.ArgumentError, match="n: "):
        conv_gram.conv_spectral_norm_gram(K, 2)
    with pytest.raises(errors.ShapeError, match="K"):
        conv_gram.conv_spectral_norm_gram(np.ones((3, 3)))
    with pytest.raises(errors.ArgumentError, match="padding"):
        conv_gram.conv_spectral_norm_gram(K, padding="reflect")
    for empty in ((0, 3), (3, 0), (2, 0, 3)):
        with pytest.raises(errors.ShapeError, match="A: is empty"):
            gram.spectral_norm_gram(np.zeros(empty))


def test_no_matrices_at_all():
    """An empty batch of matrices has no norms; a start serves a whole batch."""
    assert gram.spectral_norm_gram(np.zeros((0, 2, 3))).shape == (0,)
    A = np.random.default_rng(0).standard_normal((5, 3, 4))
    each = [float(gram.spectral_norm_power(a, 30, start=np.ones(4))) for a in A]
    np.testing.assert_allclose(gram.spectral_norm_power(A, 30, start=np.ones(4)), each, rtol=1e-12)
