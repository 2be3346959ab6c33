"""Gradient accumulation: one large batch, written out with temporary steps, and what waits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.alike import SMALL_MLP


def run(o: Any, p: Any, batches: list[np.ndarray]) -> list[Any]:
    x, points = p.start(1), []
    s = o.init(x)
    for rows in batches:
        x, s = o.step(x, s, Oracle(p).on(rows))
        points.append((x, s))
    return points


@pytest.mark.identity("gradient-accumulation")
@pytest.mark.parametrize("base", ["sgd", "adam", "lion"])
def test_is_one_large_batch(base: str) -> None:
    """Twelve batches of five, three at a time, make the base's four steps on batches of fifteen, to 1e-11; x stands still between, to the
    bit, and the base has made four steps.
    """
    p, rng = refopt.problem("mlp", **SMALL_MLP), np.random.default_rng(0)
    large = [rng.choice(20, 15, replace=False) for _ in range(4)]
    small = [part for rows in large for part in np.split(rows, 3)]
    points = run(refopt.optimizer("gradient-accumulation", base=base, batches=3, lr=0.05), p, small)
    want = run(refopt.optimizer(base, lr=0.05), p, large)
    start = p.start(1)
    for k in start:
        for i in range(4):
            np.testing.assert_allclose(points[3 * i + 2][0][k], want[i][0][k], rtol=1e-11, atol=1e-12)
            before = start if i == 0 else points[3 * i - 1][0]
            np.testing.assert_array_equal(points[3 * i][0][k], before[k])
            np.testing.assert_array_equal(points[3 * i + 1][0][k], before[k])
    assert points[-1][1]["base"]["t"] == 4 and points[-1][1]["t"] == 12
    assert [s["base"]["t"] for _, s in points[:4]] == [0, 0, 1, 1]


@pytest.mark.identity("gradient-accumulation")
def test_temporary_steps_written_out() -> None:
    """With γ = 0.3, eleven batches of four, four at a time under momentum, equal the loop written out: gradients where temporary steps
    led, their mean, one step from where these began (1e-12); after the eighth three wait.
    """
    p, rng = refopt.problem("mlp", **SMALL_MLP), np.random.default_rng(1)
    batches = [rng.choice(20, 4, replace=False) for _ in range(11)]
    base = refopt.optimizer("momentum", lr=0.2, momentum=0.5)
    points = run(refopt.optimizer("gradient-accumulation", base=base, batches=4, inner_lr=0.3), p, batches)
    x = p.start(1)
    b = base.init(x)
    for k in range(2):
        u, total = x, {n: np.zeros_like(v) for n, v in x.items()}
        for rows in batches[4 * k : 4 * k + 4]:
            g = p.grad(u, rows)
            total = {n: total[n] + g[n] for n in g}
            u = {n: u[n] - 0.3 * g[n] for n in g}
        x, b = base.update(x, {n: v / 4 for n, v in total.items()}, b)
        for n in x:
            np.testing.assert_allclose(points[4 * k + 3][0][n], x[n], rtol=1e-12, atol=1e-13)
    for n in x:
        np.testing.assert_array_equal(points[-1][0][n], points[7][0][n])


@pytest.mark.claim("gradient-accumulation")
def test_variance_falls() -> None:
    """The mean of k gradients of independent batches has a k-th of one's variance: over 400 draws within a tenth and a half, and the
    point at which SGD's noise settles is nearer the minimum with accumulation at the same rate.
    """
    rng = np.random.default_rng(2)
    p = refopt.problem("logistic", data=(rng.standard_normal((40, 3)), np.arange(40) % 2), l2=0.3)
    best = refopt.minimize(p, "sgd", lr=0.5, steps=300).x

    def moves(k: int) -> np.ndarray:
        o = refopt.optimizer("gradient-accumulation", batches=k, lr=1.0)
        out = []
        for _ in range(400 // k):
            x, s = best, o.init(best)
            for _ in range(k):
                x, s = o.step(x, s, Oracle(p).on(rng.integers(0, 40, 4)))
            out.append(x - best)
        return np.array(out)

    ratio = np.sum(moves(1).var(0)) / np.sum(moves(8).var(0))
    assert 4 < ratio < 14
    far = {}
    for k in (1, 8):
        runs = [refopt.minimize(p, "gradient-accumulation", best, batches=k, lr=0.5, batch_size=4, sampling="replacement",
            steps=30 * k, seed=s, record_every=240).x for s in range(6)]  # fmt: skip
        far[k] = np.mean([np.sum((x - best) ** 2) for x in runs])
    assert far[8] < 0.4 * far[1]
