"""What the papers claim of the Bures-Wasserstein loss and mean."""

from __future__ import annotations

import numpy as np
import pytest
from refopt.matrix.bures import (
    bures_wasserstein_distance,
    bures_wasserstein_factored,
    bures_wasserstein_factored_grad,
)
from refopt.matrix.bures_mean import bures_wasserstein_mean

from tests.identities.test_bures import spd
from tests.identities.test_roots import with_eigenvalues


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
