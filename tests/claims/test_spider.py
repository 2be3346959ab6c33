"""SPIDER's estimate, and functions without Lipschitz gradients."""

from __future__ import annotations

import numpy as np
import refopt
from refopt.core.oracle import Oracle, Sampler


class Sum:
    """(1/n) sum_i phi(w - a_i), phi a power of every entry."""

    def __init__(self, power: int) -> None:
        self.a, self.power = np.random.default_rng(0).standard_normal((64, 3)), power
        self.n_examples = 64

    def grad(self, w: np.ndarray, batch: np.ndarray | None = None) -> np.ndarray:
        a = self.a if batch is None else self.a[batch]
        return np.mean(self.power * (w - a) ** (self.power - 1), axis=0)


def test_error_stays_inside_a_period() -> None:
    """Quadratic components with one Hessian: differences of gradients are exact, so v - grad is constant."""
    p, o = Sum(2), refopt.optimizer("spider", lr=0.1, period=5, large_batch=4)
    oracle, x = Oracle(p, 0, Sampler(64, 2, "shuffle", 0)), np.ones(3)
    s, error = o.init(x), np.zeros(3)
    for t in range(20):
        oracle.begin(t + 1)
        new, s = o.step(x, s, oracle)
        now = s["v"] - p.grad(x)
        if t % 5:
            np.testing.assert_allclose(now, error, atol=1e-12)
        else:
            assert np.max(np.abs(now)) > 1e-3
        error, x = now, new


def test_where_sgd_diverges() -> None:
    """Quartics from afar: SGD at the same rate leaves every bound, SPIDER walks to the optimum."""
    p, lr = Sum(4), 0.05
    start = np.array([8.0, -6.0, 5.0])
    sgd, o = refopt.optimizer("sgd", lr=lr), refopt.optimizer("spider", lr=lr, period=8)
    oracle, x, y = Oracle(p, 0, Sampler(64, 4, "shuffle", 0)), start, start
    s, sy, smallest = o.init(x), sgd.init(y), np.inf
    for t in range(1, 301):
        oracle.begin(t)
        if t <= 5:
            y, sy = sgd.step(y, sy, oracle)
        new, s = o.step(x, s, oracle)
        np.testing.assert_allclose(np.linalg.norm(new - x), lr, rtol=1e-12)
        x = new
        smallest = min(smallest, float(np.linalg.norm(p.grad(x))))
    assert np.max(np.abs(y)) > 1e6
    assert smallest < 0.5
    assert np.linalg.norm(p.grad(start)) > 2000.0
