"""What is claimed of the doubly-stochastic layer and the Sinkhorn divergence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from refopt.transport.sinkhorn_divergence import sinkhorn_divergence
from refopt.transport.sinkhorn_normalize import sinkhorn_normalize

from tests.claims.test_smooth_ot import linear_program


@pytest.mark.claim("sinkhorn-normalize")
def test_offset_contracts() -> None:
    """With an offset o the passes end at 1 / n, the gap falling by (1 + n o)^-2 a pass, to 1e-4."""
    n, offset = 5, 0.05
    Q = np.random.default_rng(0).random((n, n))
    gaps = [np.abs(sinkhorn_normalize(Q, passes=k, offset=offset) - 1 / n).max() for k in (14, 15, 16)]
    assert gaps[-1] > 1e-9
    for early, late in itertools.pairwise(gaps):
        np.testing.assert_allclose(late / early, (1 + n * offset) ** -2, rtol=1e-4)
    # Without an offset the limit is the diagonal scaling of Q: ratios of 2 x 2 minors stay.
    S = sinkhorn_normalize(Q, passes=400)
    np.testing.assert_allclose(S.sum(1), 1, rtol=1e-12)
    ratio = (Q[0, 0] * Q[1, 1]) / (Q[0, 1] * Q[1, 0])
    np.testing.assert_allclose((S[0, 0] * S[1, 1]) / (S[0, 1] * S[1, 0]), ratio, rtol=1e-11)


@pytest.mark.claim("sinkhorn-divergence")
def test_divergence_limits() -> None:
    """nonnegative; tends to |mean x - mean y|^2 for large reg (1e-4 at 1e5), to the linear program
    for small (1e-3 at 2e-3).
    """
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((9, 2)), rng.standard_normal((7, 2)) + np.array([1, 0])
    for reg in (0.1, 1.0, 10.0):
        assert sinkhorn_divergence(x, y, reg).value > 0
        assert sinkhorn_divergence(x, x + 0.1 * y[:1], reg).value > 0
    mean = np.sum((x.mean(0) - y.mean(0)) ** 2)
    np.testing.assert_allclose(sinkhorn_divergence(x, y, 1e5).value, mean, rtol=1e-4)
    exact = linear_program(np.full(9, 1 / 9), np.full(7, 1 / 7), ((x[:, None] - y) ** 2).sum(-1))
    np.testing.assert_allclose(sinkhorn_divergence(x, y, 2e-3, tol=1e-6).value, exact, rtol=1e-3)
    # The two forms differ at a finite reg.
    assert (
        abs(sinkhorn_divergence(x, y, 1.0).value - sinkhorn_divergence(x, y, 1.0, form="sharp").value) > 0.05
    )
