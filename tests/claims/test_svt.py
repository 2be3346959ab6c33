"""What the paper claims of singular value thresholding."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.matrix.svt import svt


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
