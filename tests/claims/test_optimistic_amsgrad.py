"""What a prediction is worth."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.optimistic_amsgrad import extrapolate


@pytest.mark.claim("optimistic-amsgrad")
def test_perfect_prediction() -> None:
    """Gradients that are predicted exactly let v decay by beta2 a step (to 1e-12) and leave its
    maximum as it is, bit for bit.

    A constant gradient is predicted exactly once r + 1 are known: v only decays, its maximum stays.
    """
    o = refopt.optimizer("optimistic-amsgrad", history=3)
    x, g = np.zeros(2), np.array([3.0, -1.0])
    s = o.init(x)
    for t in range(1, 12):
        before = s
        x, s = o.update(x, g, s)
        if t >= 4:
            np.testing.assert_allclose(s["prediction"], g, rtol=1e-12)
        if t >= 5:
            np.testing.assert_allclose(s["v"], 0.99 * before["v"], rtol=1e-12)
            np.testing.assert_array_equal(s["v_max"], before["v_max"])


@pytest.mark.claim("optimistic-amsgrad")
def test_extrapolation_of_a_linear_iteration() -> None:
    """RMPE of a linear iteration with r - 1 distinct eigenvalues finds its fixed point as lambda -> 0
    (1e-4 of the last error).

    x <- x* + G (x - x*) with three eigenvalues, r = 4: the extrapolation tends to x* with lambda.
    """
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    g = (q * np.array([0.9, 0.9, 0.5, 0.5, -0.3, -0.3])) @ q.T
    target, x = rng.standard_normal(6), rng.standard_normal(6)
    points = [x]
    for _ in range(4):
        points.append(target + g @ (points[-1] - target))
    last = np.linalg.norm(points[-1] - target)
    errors = [np.linalg.norm(extrapolate(points, lam) - target) for lam in (1e-2, 1e-5, 1e-8, 1e-11)]
    assert np.all(np.diff(errors) < 0)
    assert errors[-1] < 1e-4 * last
