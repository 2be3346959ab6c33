"""SPIDER with full batches, and by hand."""

from __future__ import annotations

import numpy as np
import refopt
from refopt.core.oracle import Oracle, Sampler
from refopt.core.rng import generator


def test_full_batches_are_normalized_gd() -> None:
    """S = B = all examples: v_t is the gradient, up to the rounding of its telescoping."""
    p = refopt.problem("logistic", l2=0.1)
    a = refopt.minimize(p, "spider", lr=0.05, steps=30, period=7)
    b = refopt.minimize(p, "normalized-gd", lr=0.05, steps=30)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12, atol=1e-12)


def test_algorithm() -> None:
    """The listing with the same samples: a drawn large batch, period 4, batches of 8."""
    p, lr, q, size, seed = refopt.problem("logistic", l2=0.1), 0.05, 4, 50, 3
    o = refopt.optimizer("spider", lr=lr, period=q, large_batch=size)
    sampler = Sampler(p.n_examples, 8, "replacement", 1)
    oracle = Oracle(p, seed, sampler)
    x = p.start(0)
    s, w, before, v = o.init(x), x, None, None
    for t in range(20):
        oracle.begin(t + 1)
        x, s = o.step(x, s, oracle)
        if t % q == 0:
            large = generator(seed, "method", t + 1).integers(0, p.n_examples, size=size)
            v = p.grad(w, batch=large)
        else:
            batch = sampler.draw(t + 1)
            v = v + p.grad(w, batch=batch) - p.grad(before, batch=batch)
        before, w = w, w - lr * v / np.linalg.norm(v)
        np.testing.assert_allclose(x, w, rtol=1e-12, atol=1e-12)
