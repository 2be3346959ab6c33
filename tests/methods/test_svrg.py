"""SVRG's linear rate and vanishing variance.

SVRG against a literal transcription of its procedure.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.core.sampling import Sampler


class LeastSquares:
    """P(w) = mean of (a_i w - b_i)² / 2 + gamma |w|² / 2, with known constants."""

    def __init__(self, n: int = 40, d: int = 3, gamma: float = 0.3) -> None:
        rng = np.random.default_rng(0)
        self.a = rng.standard_normal((n, d))
        self.a /= np.linalg.norm(self.a, axis=1, keepdims=True)
        self.b, self.gamma, self.n_examples = rng.standard_normal(n), gamma, n
        h = self.a.T @ self.a / n + gamma * np.eye(d)
        self.smooth = 1.0 + gamma  # of every example
        self.strong = float(np.linalg.eigvalsh(h)[0])
        self.optimum_at = np.linalg.solve(h, self.a.T @ self.b / n)

    def value(self, w: np.ndarray, batch: np.ndarray | None = None) -> float:
        a, b = (self.a, self.b) if batch is None else (self.a[batch], self.b[batch])
        return 0.5 * float(np.mean((a @ w - b) ** 2)) + self.gamma / 2 * float(w @ w)

    def grad(self, w: np.ndarray, batch: np.ndarray | None = None) -> np.ndarray:
        a, b = (self.a, self.b) if batch is None else (self.a[batch], self.b[batch])
        return a.T @ (a @ w - b) / len(b) + self.gamma * w


@pytest.mark.claim("svrg")
def test_linear_rate() -> None:
    """Option II contracts E[P - P*] by at most 1/(gamma lr (1 - 2 L lr) m) + 2 L lr/(1 - 2 L lr) an
    outer loop.

    Theorem 1: E[P(w_s) - P*] contracts by alpha = 1/(gamma lr (1-2L lr) m) + 2L lr/(1-2L lr).
    """
    p = LeastSquares()
    lr, m, outer = 0.1 / p.smooth, 300, 3
    alpha = 1 / (p.strong * lr * (1 - 2 * p.smooth * lr) * m) + 2 * p.smooth * lr / (1 - 2 * p.smooth * lr)
    assert alpha < 0.5
    best = p.value(p.optimum_at)
    gaps = np.zeros((30, outer + 1))
    for seed in range(30):
        snapshots: list[np.ndarray] = []
        o = refopt.optimizer("svrg", lr=lr, inner_steps=m, option="II")
        w = np.ones(3)
        s = o.init(w)
        from refopt.core.sampling import Sampler

        oracle = Oracle(p, seed, Sampler(p.n_examples, 1, "replacement", seed))
        for t in range(1, outer * m + 2):
            oracle.begin(t)
            w, s = o.step(w, s, oracle)
            if (t - 1) % m == 0:
                snapshots.append(s["snapshot"])
        gaps[seed] = [p.value(w) - best for w in snapshots]
    mean = gaps.mean(0)
    assert np.all(mean[1:] <= alpha * mean[:-1])


@pytest.mark.claim("svrg")
def test_variance_vanishes() -> None:
    """At the snapshot the direction is the full gradient whatever the batch, and its variance
    vanishes at the optimum.
    """
    p = LeastSquares()
    o = refopt.optimizer("svrg", lr=1.0)
    for w in (np.ones(3), p.optimum_at):
        for i in range(5):
            oracle = Oracle(p).on(np.array([i]))
            new, _ = o.step(w, o.init(w), oracle)
            np.testing.assert_allclose(w - new, p.grad(w), rtol=1e-12, atol=1e-15)


@pytest.mark.identity("svrg")
def test_full_batch_is_gradient_descent() -> None:
    """On full batches it is gradient descent, to 1e-13.

    All examples at once: the correction cancels.
    """
    p = LeastSquares()
    a = refopt.minimize(p, "svrg", np.ones(3), lr=0.3, steps=30)
    b = refopt.minimize(p, "sgd", np.ones(3), lr=0.3, steps=30)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-13)


@pytest.mark.identity("svrg")
@pytest.mark.parametrize("option", ["I", "II"])
def test_procedure(option: str) -> None:
    """Equals a literal transcription of the procedure (options I and II) with the same indices, to
    1e-12.
    """
    p, lr, m, seed = LeastSquares(), 0.1, 7, 5
    o = refopt.optimizer("svrg", lr=lr, inner_steps=m, option=option)
    x = np.ones(3)
    s = o.init(x)
    sampler = Sampler(p.n_examples, 1, "replacement", seed)
    oracle, t = Oracle(p, seed, sampler), 0
    snapshot = np.ones(3)
    for _ in range(4):
        mu = p.grad(snapshot)
        w, visited = snapshot, []
        choice = int(generator(seed, "method", t + 1).integers(0, m))
        for _ in range(m):
            t += 1
            oracle.begin(t)
            x, s = o.step(x, s, oracle)
            i = sampler.draw(t)
            visited.append(w)
            w = w - lr * (p.grad(w, i) - p.grad(snapshot, i) + mu)
            np.testing.assert_allclose(x, w, rtol=1e-12)
        snapshot = w if option == "I" else visited[choice]


@pytest.mark.parametrize(("batch", "steps"), [(1, 24), (4, 6), (5, 4), (12, 2)])
def test_default_inner_loop(batch: int, steps: int) -> None:
    """m = 2n / b by default: so many inner steps from one snapshot to the next."""
    oracle = Oracle(LeastSquares(n=12)).on(np.arange(batch))
    assert refopt.optimizer("svrg").inner_loop(oracle) == steps
