"""Limits of normalised gradient descent and SPIDER, and a transcription."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle, Sampler
from refopt.core.rng import generator


@pytest.mark.identity("normalized-gd")
def test_beta_zero_is_gradient_descent() -> None:
    """beta = 0 is gradient descent, bit for bit."""
    p = refopt.problem("logistic")
    a = refopt.minimize(p, "normalized-gd", lr=0.3, beta=0.0, steps=20)
    b = refopt.minimize(p, "sgd", lr=0.3, steps=20)
    np.testing.assert_array_equal(a.x, b.x)


def test_clipping() -> None:
    """beta = 1 with a floor: gradients below the floor make plain steps of rate lr / floor."""
    o = refopt.optimizer("normalized-gd", lr=0.3, floor=2.0)
    for g, want in ((np.array([0.5]), 0.075), (np.array([8.0]), 0.3)):
        x, _ = o.update(np.zeros(1), g, o.init(np.zeros(1)))
        np.testing.assert_allclose(-x, want, rtol=1e-15)


@pytest.mark.identity("spider")
def test_spider_on_full_batches() -> None:
    """On full batches it is normalized-gd with beta = 1, to 1e-12."""
    p = refopt.problem("logistic", l2=0.1)
    a = refopt.minimize(p, "spider", lr=0.05, steps=30, period=7)
    b = refopt.minimize(p, "normalized-gd", lr=0.05, steps=30)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12, atol=1e-13)


@pytest.mark.identity("spider")
def test_spider_transcription() -> None:
    """40 steps equal a literal transcription with the same samples, to 1e-12."""
    p, q, lr, seed = refopt.problem("logistic", l2=0.1), 5, 0.04, 3
    n = p.n_examples
    sampler = Sampler(n, 4, "shuffle", seed)
    o = refopt.optimizer("spider", lr=lr, period=q, large_batch=50)
    x = w = p.start()
    s, oracle = o.init(x), Oracle(p, seed, Sampler(n, 4, "shuffle", seed))
    v, previous = None, None
    for t in range(40):
        oracle.begin(t + 1)
        x, s = o.step(x, s, oracle)
        if t % q == 0:
            v = p.grad(w, batch=generator(seed, "method", t + 1).choice(n, size=50, replace=False))
        else:
            i = sampler.draw(t + 1)
            v = v + p.grad(w, batch=i) - p.grad(previous, batch=i)
        w, previous = w - lr * v / np.linalg.norm(v), w
        np.testing.assert_allclose(x, w, rtol=1e-12, atol=1e-13)
