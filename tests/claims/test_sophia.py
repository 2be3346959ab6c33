"""Sophia between Newton's step and a sign."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.claims.test_adahessian import Quadratic


@pytest.mark.claim("sophia")
def test_newton_or_sign() -> None:
    """Unclipped on a diagonal quadratic it is Newton's step times lr / gamma; where h <= 0 the step
    is lr sign(m).

    Diagonal H: x - (lr / gamma) x where unclipped and h > 0; lr sign(g) where h <= 0 or clipped.
    """
    h = np.array([0.5, 20.0, -3.0, 4.0])
    x = np.array([0.1, -0.05, 0.7, 100.0])
    kwargs = {"lr": 0.4, "beta1": 0.0, "beta2": 0.0, "gamma": 2.0, "weight_decay": 0.0}
    o = refopt.optimizer("sophia", probe="rademacher", **kwargs)
    oracle = Oracle(Quadratic(np.diag(h)), 1)
    oracle.begin(1)
    new, _ = o.step(x, o.init(x), oracle)
    np.testing.assert_allclose(new[:2], (1 - 0.4 / 2.0) * x[:2], rtol=1e-14)
    np.testing.assert_allclose(new[2:], x[2:] - 0.4 * np.sign(h * x)[2:], rtol=1e-14)
    # A stale h is still zero at the first step: a sign everywhere.
    late = refopt.optimizer("sophia", stale=True, **kwargs)
    new, _ = late.step(x, late.init(x), oracle)
    np.testing.assert_allclose(x - new, 0.4 * np.sign(h * x), rtol=1e-12)
