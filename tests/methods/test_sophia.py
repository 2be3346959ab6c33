"""Sophia between Newton's step and a sign.

Sophia against a literal transcription; its Gauss-Newton-Bartlett estimate against the exact diagonal.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.errors import CapabilityError
from refopt.core.oracle import Oracle
from refopt.core.params import flatten, unflatten
from refopt.core.rng import generator
from refopt.optimizers.second_order.sophia import gauss_newton_bartlett

from tests.methods.test_adahessian import Quadratic
from tests.parity.peers.second_order import N, Quartic, _start
from tests.streams import schedule


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


@pytest.mark.identity("sophia")
@pytest.mark.parametrize("refresh_first", [True, False])
def test_algorithm_3(refresh_first: bool) -> None:
    """Equals Algorithm 3 transcribed with Python floats on an indefinite function with the same
    probes, to 1e-13.
    """
    lr, b1, b2, gamma, eps, lam, k, seed = 0.1, 0.8, 0.6, 0.5, 0.1, 0.1, 3, 5
    problem, x = Quartic(2), _start(2)
    o = refopt.optimizer(
        "sophia", lr=lr, beta1=b1, beta2=b2, gamma=gamma, eps=eps, weight_decay=lam, update_every=k,
        schedule=schedule, refresh_first=refresh_first,
    )  # fmt: skip
    oracle, s = Oracle(problem, seed), o.init(x)
    theta, m, h = [float(e) for e in x], [0.0] * N, [0.0] * N
    for t in range(1, 31):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        at = np.array(theta)
        g = problem.grad(at)
        if t % k == 1 and (refresh_first or t > 1):
            u = generator(seed, "method", t).standard_normal(N)
            estimate = u * problem.hvp(at, u)
            h = [b2 * hi + (1 - b2) * float(e) for hi, e in zip(h, estimate)]
        eta = lr * schedule(t)
        for i in range(N):
            m[i] = b1 * m[i] + (1 - b1) * float(g[i])
            theta[i] -= eta * lam * theta[i]
            theta[i] -= eta * min(max(m[i] / max(gamma * h[i], eps), -1.0), 1.0)
        np.testing.assert_allclose(x, theta, rtol=1e-13, atol=1e-13)


@pytest.mark.identity("sophia")
def test_gnb_is_unbiased() -> None:
    """The Gauss-Newton-Bartlett estimate's mean over drawn labels is the Gauss-Newton diagonal (4000
    draws, 5 sigma).

    The mean of B g^2 over labels from the model is the diagonal of the Gauss-Newton matrix.
    """
    rng = np.random.default_rng(0)
    p = refopt.problem("mlp", data=(rng.standard_normal((24, 4)), np.arange(24) % 3), widths=(2,))
    x = p.start(0)
    oracle = Oracle(p, 3)
    size = flatten(x).size
    exact = np.empty(size)
    for i in range(size):
        e = np.zeros(size)
        e[i] = 1.0
        exact[i] = flatten(oracle.ggn(x, unflatten(e, x)))[i]
    n = 4000
    total, squares = np.zeros(size), np.zeros(size)
    for k in range(1, n + 1):
        oracle.begin(k)
        d = flatten(gauss_newton_bartlett(oracle, x))
        total += d
        squares += d * d
    mean = total / n
    spread = np.sqrt(np.maximum(squares / n - mean**2, 0.0) / n)
    assert np.all(np.abs(mean - exact) <= 5 * spread + 1e-15)
    assert math.isclose(mean.sum(), exact.sum(), rel_tol=0.1)


def test_gnb_runs_and_asks_for_layers() -> None:
    """The switch changes what is asked for; a problem without layers is refused."""
    p = refopt.problem("mlp", widths=(3,))
    r = refopt.minimize(p, "sophia", estimator="gnb", gamma=0.05, lr=0.01, steps=20)
    assert dict(r.calls) == {"grad": 20, "layers": 2}
    assert r.fun < p.value(p.start(0))
    with pytest.raises(CapabilityError):
        refopt.minimize(refopt.problem("quadratic"), "sophia", estimator="gnb", steps=1)
