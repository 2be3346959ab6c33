"""AdaHessian against a literal transcription, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator

from tests.claims.test_adahessian import Quadratic


@pytest.mark.identity("adahessian")
def test_algorithm_1() -> None:
    """Equals Algorithm 1 transcribed line by line on an indefinite quadratic with the same probes, to
    1e-12.
    """
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 4))
    h = (a + a.T) / 2
    eta, b1, b2, k, eps, lam = 0.02, 0.8, 0.7, 0.5, 1e-2, 0.1
    o = refopt.optimizer("adahessian", lr=eta, beta1=b1, beta2=b2, hessian_power=k, eps=eps, weight_decay=lam)
    x = theta = rng.standard_normal(4)
    s, oracle = o.init(x), Oracle(Quadratic(h), 11)
    m, v = np.zeros(4), np.zeros(4)
    for t in range(1, 50):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        g = h @ theta
        z = generator(11, "method", t).integers(0, 2, size=4) * 2 - 1
        d = z * (h @ z)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * d * d
        m_hat = m / (1 - b1**t)
        denominator = np.sqrt(v / (1 - b2**t)) ** k + eps
        theta = theta - eta * (m_hat / denominator + lam * theta)
        np.testing.assert_allclose(x, theta, rtol=1e-12, atol=1e-13)


def test_kernels_are_averaged() -> None:
    """A 4-D leaf's D is constant over its last two axes: the mean of h, or of |h|."""
    rng = np.random.default_rng(0)
    h = rng.standard_normal((2, 3, 2, 2))
    paper, code = refopt.optimizer("adahessian"), refopt.optimizer("adahessian", dialect="official")
    np.testing.assert_allclose(paper._spatial(h), np.broadcast_to(h.mean((2, 3), keepdims=True), h.shape))
    np.testing.assert_allclose(
        code._spatial(h), np.broadcast_to(np.abs(h).mean((2, 3), keepdims=True), h.shape)
    )
    np.testing.assert_array_equal(paper._spatial(h[0, 0]), h[0, 0])
