"""ProxyProx: its limits, and the rate that the distance of the Hessians sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.oracle import Oracle

from tests.methods.values import Cubic, H, X

NEAR = H + np.diag([0.3, -0.2, 0.1])


def exactly(p: Any, proxy: Any, eta: float, x: np.ndarray = X) -> np.ndarray:
    """One step with the inner problem solved to rounding."""
    o = refopt.optimizer("proxyprox", proxy=proxy, prox_step=eta, inner_steps=400, lr=0.2)
    return o.step(x, o.init(x), Oracle(p))[0]


@pytest.mark.claim("proxyprox")
def test_errors_on_quadratics() -> None:
    """With an exact inner solution the error is multiplied by I - (H_p + I/η)⁻¹ H_h, to 1e-10: with H_p near H_h far
    faster than gradient descent can; p = h is the proximal point (I + η H)⁻¹, p = 0 gradient descent with step η.
    """
    eta = 5.0
    for proxy, hp in ((Cubic(NEAR), NEAR), (None, H)):
        want = X - np.linalg.solve(hp + np.eye(3) / eta, H @ X)
        np.testing.assert_allclose(exactly(Cubic(H), proxy, eta), want, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(
        exactly(Cubic(H), None, eta), np.linalg.solve(np.eye(3) + eta * H, X), rtol=1e-9, atol=1e-11
    )
    got = exactly(Cubic(H), Cubic(0.0 * H), 0.3)
    np.testing.assert_allclose(got, X - 0.3 * H @ X, rtol=1e-10)
    slow = np.max(np.abs(np.linalg.eigvals(np.eye(3) - np.linalg.solve(NEAR + np.eye(3) / eta, H))))
    values = np.linalg.eigvalsh(H)
    assert slow < 0.5 * (values[-1] - values[0]) / (values[-1] + values[0])


@pytest.mark.identity("proxyprox")
def test_one_inner_step_is_gradient_descent() -> None:
    """With one inner step it is gradient descent with α on h, whatever the proxy, to 1e-14: 20 steps under a
    schedule.
    """
    p = refopt.problem("logistic", l2=0.1, n_examples=80)
    a = refopt.minimize(p, "sgd", lr=0.3, schedule=lambda t: 1 / t, steps=20)
    for proxy in (None, np.arange(7)):
        o = refopt.optimizer("proxyprox", lr=0.3, schedule=lambda t: 1 / t, inner_steps=1, proxy=proxy)
        b = refopt.minimize(p, o, steps=20)
        np.testing.assert_allclose(a.x, b.x, rtol=1e-11, atol=1e-14)
        assert b.state == {"t": 20}


@pytest.mark.identity("proxyprox")
def test_written_out() -> None:
    """Steps on two curved functions equal the authors' loop written out, with ∇p at w_k once, to 1e-12; the price is
    one gradient of h and the proxy's own.
    """
    h, p, eta, alpha = Cubic(H, 1.3), Cubic(NEAR, 0.8), 0.7, 0.1
    o = refopt.optimizer("proxyprox", proxy=p, prox_step=eta, inner_steps=4, lr=alpha, proxy_cost=0.1)
    oracle, x, y = Oracle(h), X, X
    s = o.init(x)
    for _ in range(3):
        x, s = o.step(x, s, oracle)
        c, w = h.grad(y) - p.grad(y), y
        for _ in range(4):
            w = w - alpha * (p.grad(w) + c + (w - y) / eta)
        y = w
        np.testing.assert_allclose(x, y, rtol=1e-12)
    assert oracle.counts.calls == {"grad": 15}
    np.testing.assert_allclose(oracle.counts.equivalents, 3 * 1.4)


@pytest.mark.claim("proxyprox")
def test_cheaper_than_gradient_descent() -> None:
    """On logistic regression with a tenth of the examples as proxy it comes to a gradient of 1e-6 for a quarter of
    the gradients that descent with 1/L takes (112 against 526).
    """
    p = refopt.problem("logistic", l2=0.05, n_examples=300)
    rows = np.arange(0, 300, 10)
    o = refopt.optimizer("proxyprox", proxy=rows, prox_step=30.0, lr=1 / p.lipschitz, inner_steps=20)
    fast = refopt.minimize(p, o, steps=200, tol=1e-6, record_every=200)
    slow = refopt.minimize(p, "sgd", lr=1 / p.lipschitz, steps=3000, tol=1e-6, record_every=3000)
    assert fast.status == slow.status == "converged"
    assert fast.gradient_equivalents < slow.gradient_equivalents / 4


@pytest.mark.parametrize("proxy", [3, np.array([]), np.array([0.5]), np.zeros((2, 2), dtype=int), object()])
def test_proxy_that_is_none(proxy: Any) -> None:
    with pytest.raises(refopt.errors.ArgumentTypeError, match="proxy: wanted a problem with grad"):
        refopt.optimizer("proxyprox", proxy=proxy)
