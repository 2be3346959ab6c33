"""signSGD and Signum."""

from __future__ import annotations

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("sign-sgd", "signum")
def test_adam_and_signum_without_memory() -> None:
    """Adam with both betas and eps at zero is signSGD, and so is Signum with β = 0, bit for bit."""
    run = stream(1, "ill", steps=20)
    sign = refopt.optimizer("sign-sgd", lr=0.01)
    assert_same_run(sign, refopt.optimizer("adam", lr=0.01, beta1=0.0, beta2=0.0, eps=0.0), run)
    assert_same_run(sign, refopt.optimizer("signum", lr=0.01, beta=0.0), run)


@pytest.mark.claim("sign-sgd", "signum")
def test_the_gradient_s_size_is_not_seen() -> None:
    """A factor for every coordinate leaves signSGD's run as it is, one factor for all of time Signum's, bit for bit."""
    x, gradients = stream(2, "random", steps=20)
    factors = {k: 2.0 ** np.random.default_rng(0).integers(-9, 9, v.shape) for k, v in x.items()}
    for name, change in (
        ("sign-sgd", lambda g: {k: v * factors[k] for k, v in g.items()}),
        ("signum", lambda g: {k: v * factors[k] for k, v in g.items()}),
    ):
        o = refopt.optimizer(name, lr=0.01)
        assert_same_run(o, o, (x, gradients), change=change)
    a = refopt.optimizer("signum", lr=0.01)
    y, s = a.update(x, gradients[0], a.init(x))
    for k in x:
        moved = gradients[0][k] != 0.0
        np.testing.assert_allclose(np.abs(y[k] - x[k])[moved], 0.01, rtol=1e-12)
        np.testing.assert_array_equal(y[k][~moved], x[k][~moved])
    assert s["t"] == 1


@pytest.mark.claim("sign-sgd")
def test_the_end_on_a_parabola_is_a_cycle_of_the_rate_s_size() -> None:
    """h x²/2 for any h: after 200 steps of 0.01 from 1.2345 the point is within 0.01 of 0 and goes to and fro."""
    for h in (1e-6, 1.0, 1e6):
        p = refopt.from_functions(
            lambda x, h=h: h * float(x @ x) / 2, lambda x, h=h: h * x, x0=np.array([1.2345])
        )
        a, b, c = (float(refopt.minimize(p, "sign-sgd", lr=0.01, steps=k).x[0]) for k in (200, 201, 202))
        assert abs(a) <= 0.01 and a * b < 0 and abs(a - c) < 1e-12


@pytest.mark.identity("signum")
def test_the_average_decides() -> None:
    """Ten steps written out, to the bit but for rounding of x, and coupled decay enters the average."""
    o = refopt.optimizer("signum", lr=0.1, beta=0.7, weight_decay=0.5, decay="coupled")
    x, gradients = stream(3, "flip", steps=10)
    s, y, m = o.init(x), dict(x), {k: np.zeros_like(v) for k, v in x.items()}
    for g in gradients:
        x, s = o.update(x, g, s)
        for k in y:
            m[k] = 0.7 * m[k] + 0.3 * (g[k] + 0.5 * y[k])
            y[k] = y[k] - 0.1 * np.sign(m[k])
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14)
