"""Normalised steps where gradient descent fails, and SPIDER's estimate.

Limits of normalised gradient descent and SPIDER, and a transcription.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle
from refopt.core.rng import generator
from refopt.core.sampling import Sampler


def _quartic() -> object:
    return refopt.from_functions(lambda w: float(w[0] ** 4), lambda w: 4 * w**3, x0=np.array([3.0]))


@pytest.mark.claim("normalized-gd")
def test_quartic() -> None:
    """On f = w^4 from w = 3 gradient descent at rate 0.1 diverges; beta = 2/3 contracts by exactly 1
    - 4^(1/3) lr a step.

    f = w^4, |w_0| = 3 > 1 / sqrt(2 lr): GD diverges, beta = 2/3 is w <- (1 - 4^(1/3) lr) w, beta = 1
    is sign descent.
    """
    lr = 0.1
    assert refopt.minimize(_quartic(), "sgd", lr=lr, steps=50).status == "diverged"
    r = refopt.minimize(_quartic(), "normalized-gd", lr=lr, beta=2 / 3, steps=30)
    assert r.x[0] == pytest.approx(3.0 * (1 - 4 ** (1 / 3) * lr) ** 30, rel=1e-12)
    r = refopt.minimize(_quartic(), "normalized-gd", lr=lr, steps=12)
    assert r.x[0] == pytest.approx(3.0 - 12 * lr, rel=1e-12)
    r = refopt.minimize(_quartic(), "spider", lr=lr, steps=12)
    assert r.x[0] == pytest.approx(3.0 - 12 * lr, rel=1e-12)


@pytest.mark.claim("normalized-gd")
@pytest.mark.claim("spider", says="Every step has length lr, to 1e-12.")
def test_step_lengths() -> None:
    """beta = 1: every step has length lr; f scaled by c scales a step by c^(1 - beta), to 1e-13.

    beta = 1: length lr over all leaves; f -> c f scales the step by c^(1 - beta).
    """
    rng = np.random.default_rng(0)
    x = {"a": rng.standard_normal((2, 3)), "b": rng.standard_normal(4)}
    g = {k: rng.standard_normal(v.shape) for k, v in x.items()}

    def move(c: float, beta: float) -> float:
        o = refopt.optimizer("normalized-gd", lr=0.3, beta=beta)
        new, _ = o.update(x, {k: c * v for k, v in g.items()}, o.init(x))
        return float(np.sqrt(sum(np.sum((new[k] - x[k]) ** 2) for k in x)))

    assert move(1.0, 1.0) == pytest.approx(0.3, rel=1e-14)
    for beta in (0.0, 0.4, 1.0):
        assert move(7.0, beta) / move(1.0, beta) == pytest.approx(7.0 ** (1 - beta), rel=1e-13)
    p = refopt.problem("logistic")
    visited = [p.start()]
    refopt.minimize(p, "spider", lr=0.05, steps=25, batch_size=8, callback=visited.append)
    np.testing.assert_allclose(np.linalg.norm(np.diff(visited, axis=0), axis=1), 0.05, rtol=1e-12)


@pytest.mark.claim("spider")
def test_spider_error_is_constant_within_a_period() -> None:
    """Components with one Hessian: the estimate's error stays constant within a period, to 1e-12.

    f_i that differ in linear terms only: v_t - grad f(w_t) changes only where a period begins.
    """
    rng = np.random.default_rng(0)
    h, c = np.diag([1.0, 4.0]), rng.standard_normal((30, 2))

    class Shared:
        n_examples = 30

        def grad(self, w: np.ndarray, batch: np.ndarray | None = None) -> np.ndarray:
            return h @ w + (c if batch is None else c[batch]).mean(0)

    p, o = Shared(), refopt.optimizer("spider", lr=0.1, period=6, large_batch=10)
    x = np.array([3.0, -2.0])
    s, oracle, errors = o.init(x), Oracle(p, 1, Sampler(30, 2, "replacement", 1)), []
    for t in range(1, 25):
        oracle.begin(t)
        before = x
        x, s = o.step(x, s, oracle)
        errors.append(s["v"] - p.grad(before))
    e = np.array(errors).reshape(4, 6, 2)
    np.testing.assert_allclose(e, np.broadcast_to(e[:, :1], e.shape), atol=1e-13)
    assert np.linalg.norm(e[0, 0] - e[1, 0]) > 1e-3


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
