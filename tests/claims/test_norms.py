"""What the papers claim of Gram and power iteration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from refopt.matrix.conv_gram import conv_spectral_norm_gram
from refopt.matrix.gram import spectral_norm_gram, spectral_norm_power

from tests.identities.test_norms import assembled


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
