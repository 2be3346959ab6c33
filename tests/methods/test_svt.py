"""What the paper claims of singular value thresholding.

Identities of singular value thresholding.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.arrays import to_numpy
from refopt.matrix.svt import svt, svt_jvp, svt_vjp


@pytest.mark.claim("svt")
def test_individual_fairness():
    """Rows come no further apart than 1 / p times those observed.

    Rows of the estimate are no further apart than 1 / p times the observed rows; clipping keeps it.
    """
    rng = np.random.default_rng(0)
    Z = rng.uniform(-1, 1, (20, 15))
    mask = rng.random(Z.shape) < 0.7
    observed = np.where(mask, Z, 0)
    p = mask.mean()
    for threshold in (0.5, 2.0, 3.0):
        estimate = svt(Z, mask, threshold=threshold)
        apart = np.linalg.norm(estimate[:, None] - estimate[None], axis=-1)
        before = np.linalg.norm(observed[:, None] - observed[None], axis=-1)
        assert np.all(apart <= before / p + 1e-12)
        assert np.linalg.norm(estimate) > 0


@pytest.mark.claim("svt")
def test_denoising():
    """Rank 3, 200 x 300, noise 0.3: mean squared error 0.0021, official 0.088.

    Rank 3 with noise, fully observed: Chatterjee's threshold removes the noise, the official none.
    """
    rng = np.random.default_rng(1)
    truth = rng.uniform(-1, 1, (200, 3)) @ rng.uniform(-1, 1, (3, 300)) / 3
    Z = truth + 0.3 * rng.standard_normal((200, 300))
    good = np.mean((svt(Z, variance=0.09) - truth) ** 2)
    official = np.mean((svt(Z, rule="sampling", variance=0.1) - truth) ** 2)
    assert (good, official) == pytest.approx((0.00207, 0.0882), rel=5e-3)


def test_exact_recovery():
    """No noise, everything observed, tau below sigma_r: the matrix itself."""
    rng = np.random.default_rng(2)
    truth = rng.uniform(-1, 1, (20, 2)) @ rng.uniform(-1, 1, (2, 30)) / 2
    np.testing.assert_allclose(svt(truth, threshold=1e-3), truth, atol=1e-14)


@pytest.mark.identity("svt")
def test_projection():
    """The estimate is Z V V^T / p on the kept right vectors, to 1e-13.

    Z V V^T / p over the kept right vectors; ties at tau are kept; thresholds follow their formulas.
    """
    rng = np.random.default_rng(0)
    Z = rng.uniform(-1, 1, (2, 8, 12))
    mask = rng.random((2, 8, 12)) < 0.6
    for options, q in (
        ({}, lambda p: p),
        ({"variance": 0.2}, lambda p: p * 0.2 + p * (1 - p) * 0.8),
        ({"rule": "sampling", "variance": 0.1}, lambda p: p * (1 - p) * 0.1),
        ({"rule": "sampling", "eta": 0.0}, lambda p: p * (1 - p)),
    ):
        got = svt(Z, mask, clip=False, **options)
        for z, m, estimate in zip(Z, mask, got):
            p = m.mean()
            z = np.where(m, z, 0)
            tau = (2 + options.get("eta", 0.01)) * np.sqrt(12 * q(p))
            _, sigma, Vh = np.linalg.svd(z, full_matrices=False)
            kept = Vh[sigma >= tau]
            np.testing.assert_allclose(estimate, z @ kept.T @ kept / p, atol=1e-13)
    D = np.diag([0.5, 0.25, 0.125])
    np.testing.assert_allclose(svt(D, threshold=0.25), np.diag([0.5, 0.25, 0.0]), atol=1e-15)


@pytest.mark.parametrize("above", [False, True])
def test_threshold_formula(above):
    """A diagonal a millionth above tau is kept, a millionth below is dropped; p = 1/2, n = 4."""
    p, s = 0.5, 0.2
    mask = np.add.outer(np.arange(4), np.arange(4)) % 2 == 0
    for options, q in (
        ({}, p),
        ({"variance": s}, p * s + p * (1 - p) * (1 - s)),
        ({"rule": "sampling", "variance": s}, p * (1 - p) * s),
        ({"rule": "sampling"}, p * (1 - p)),
    ):
        Z = (1 + (1e-6 if above else -1e-6)) * 2.01 * np.sqrt(4 * q) * np.eye(4)
        want = Z / p if above else 0 * Z
        np.testing.assert_allclose(svt(Z, mask, clip=False, **options), want, rtol=1e-14)


def test_extremes():
    """tau = 0 and full observation give Z; tau above sigma_1 gives 0; nothing observed gives 0."""
    Z = np.random.default_rng(1).uniform(-1, 1, (5, 4))
    np.testing.assert_allclose(svt(Z, threshold=0.0), Z, atol=1e-14)
    np.testing.assert_array_equal(svt(Z, threshold=100.0), np.zeros((5, 4)))
    np.testing.assert_array_equal(svt(np.full((3, 3), np.nan), np.zeros((3, 3), bool)), np.zeros((3, 3)))
    assert np.abs(svt(3 * Z, threshold=0.0)).max() == 1.0
    assert np.abs(svt(3 * Z, threshold=0.0, clip=False)).max() > 1.0


@pytest.mark.parametrize("clip", [False, True])
def test_derivatives(clip):
    """Central differences and the inner product, with mask, on tall and wide matrices."""
    rng = np.random.default_rng(2)
    for shape in ((6, 4), (4, 6)):
        Z, E, G = (rng.uniform(-1, 1, shape) for _ in range(3))
        mask = rng.random(shape) < 0.7
        options = {"threshold": 0.8, "clip": clip}
        h = 1e-6
        difference = (svt(Z + h * E, mask, **options) - svt(Z - h * E, mask, **options)) / (2 * h)
        derivative = svt_jvp(Z, E, mask, **options)
        np.testing.assert_allclose(derivative, difference, atol=1e-7)
        assert np.abs(derivative).max() > 0
        back = svt_vjp(Z, G, mask, **options)
        np.testing.assert_allclose(np.sum(back * E), np.sum(G * derivative), rtol=1e-12)
    np.testing.assert_allclose(
        svt_jvp(np.eye(3), E[:3, :3], threshold=0.5, clip=False), E[:3, :3], atol=1e-14
    )


def test_namespaces(xp, dtype):
    """Every namespace and precision; dtype kept, input untouched."""
    rng = np.random.default_rng(3)
    values = rng.uniform(-1, 1, (2, 5, 4)).astype(dtype)
    mask = rng.random((2, 5, 4)) < 0.8
    Z = xp.asarray(values.copy())
    got = svt(Z, xp.asarray(mask), threshold=0.9)
    assert got.dtype == Z.dtype
    np.testing.assert_array_equal(to_numpy(Z), values)
    want = svt(values.astype("float64"), mask, threshold=0.9)
    np.testing.assert_allclose(to_numpy(got), want, atol=1e-5 if dtype == "float32" else 1e-13)
    assert svt_vjp(Z, Z, threshold=0.9).dtype == Z.dtype


def test_bad_input():
    """Typed errors that name the argument."""
    errors = refopt.errors
    with pytest.raises(errors.NonFiniteError, match="Z"):
        svt(np.full((2, 2), np.nan))
    with pytest.raises(errors.ArgumentTypeError, match="mask"):
        svt(np.eye(2), np.eye(2))
    with pytest.raises(errors.ShapeError, match="mask"):
        svt(np.eye(2), np.ones(2, bool))
    with pytest.raises(errors.ArgumentError, match="threshold"):
        svt(np.eye(2), threshold=-1.0)
    with pytest.raises(errors.ArgumentError, match="variance"):
        svt(np.eye(2), variance=2.0)
    with pytest.raises(errors.ArgumentError, match="rule"):
        svt(np.eye(2), rule="soft")
