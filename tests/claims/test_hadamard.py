"""What the paper claims of PHI-S."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.matrix.hadamard import fit_hadamard

from tests.identities.test_hadamard import rows


@pytest.mark.claim("hadamard-standardize")
def test_isotropic_error():
    """Errors come back scaled by phi, alike in every direction, to 1e-12.

    An error in the standardised space comes back phi times as large, whatever its direction.
    """
    X = rows(12)
    fitted = fit_hadamard(X)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((50, 12))
    back = fitted.undo(fitted.apply(X) + noise) - X
    phi = np.sqrt(np.trace(np.cov(X, rowvar=False)) / 12)
    np.testing.assert_allclose(fitted.phi, phi, rtol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), phi * np.linalg.norm(noise, axis=1), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.svd(fitted.inverse, compute_uv=False), phi, rtol=1e-12)


def test_not_whitening():
    """Correlations between channels remain, near 1 for a steep spectrum; none for an isotropic one."""
    C = np.corrcoef(fit_hadamard(rows(8)).apply(rows(8)), rowvar=False)
    assert np.abs(C - np.eye(8)).max() > 0.5
    X = np.linalg.qr(np.random.default_rng(1).standard_normal((40, 8)))[0]
    X = np.linalg.qr(X - X.mean(axis=0))[0] * np.sqrt(39)
    Y = fit_hadamard(X).apply(X)
    np.testing.assert_allclose(np.cov(Y, rowvar=False), np.eye(8), atol=1e-12)
