"""Generalized smoothness: w^4, whose gradient is no Lipschitz function."""

from __future__ import annotations

import numpy as np
import pytest
import refopt


class Quartic:
    def value(self, w: np.ndarray) -> float:
        return float(np.sum(w**4))

    def grad(self, w: np.ndarray) -> np.ndarray:
        return 4 * w**3


def test_quartic() -> None:
    """Gradient descent diverges from |w| > 1/sqrt(2 lr); beta = 2/3 contracts linearly; beta = 1 walks."""
    lr, w = 0.1, np.array([10.0])
    assert refopt.minimize(Quartic(), "sgd", w, lr=lr, steps=30).status == "diverged"
    o = refopt.optimizer("normalized-gd", lr=lr, beta=2 / 3)
    s, x = o.init(w), w
    for _ in range(40):
        new, s = o.update(x, Quartic().grad(x), s)
        assert new[0] == pytest.approx((1 - 4 ** (1 / 3) * lr) * x[0], rel=1e-13)
        x = new
    o = refopt.optimizer("normalized-gd", lr=lr)
    s, x, best = o.init(w), w, np.inf
    for t in range(1, 121):
        x, s = o.update(x, Quartic().grad(x), s)
        if t < 100:
            assert x[0] == pytest.approx(10.0 - lr * t, abs=1e-12)
        best = min(best, abs(float(x[0])))
    assert best <= lr


def test_scaling() -> None:
    """f -> c f: the step is multiplied by c^(1 - beta)."""
    g = np.array([1.0, -2.0, 3.0])
    for beta in (0.0, 0.3, 2 / 3, 1.0):
        o = refopt.optimizer("normalized-gd", lr=0.1, beta=beta)
        step = o.update(np.zeros(3), g, {"t": 0})[0]
        np.testing.assert_allclose(
            o.update(np.zeros(3), 7.0 * g, {"t": 0})[0], 7.0 ** (1 - beta) * step, rtol=1e-13
        )
