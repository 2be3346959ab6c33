"""SVRG against a literal transcription of its procedure."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle, Sampler
from refopt.core.rng import generator

from tests.claims.test_svrg import LeastSquares


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
