"""XGrad on a quadratic.

XGrad's limits, and its AdamW form written out.
"""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.core.errors import CapabilityError

from tests.methods.test_gradient_descent import grad
from tests.streams import schedule


@pytest.mark.claim("xgrad")
@pytest.mark.parametrize("ahead", [0.5, 1.0, 3.0])
def test_rate_on_a_quadratic(ahead: float) -> None:
    """On a quadratic 400 steps are the powers of the 2 x 2 iteration with g(x - lr s v), to 1e-10 of
    its radius' power.

    v' = mu v + h (x - lr s v), x' = x - lr v': the run is the powers of this iteration.
    """
    h, lr, mu = np.array([1.0, 8.0]), 0.05, 0.6
    p = refopt.from_functions(lambda x: float(0.5 * np.sum(h * x * x)), lambda x: h * x, x0=np.ones(2))
    visited: list[np.ndarray] = []
    refopt.minimize(
        p, "xgrad", base="momentum", rate_inside=False, momentum=mu, lr=lr, steps_ahead=ahead, steps=400,
        callback=visited.append,
    )  # fmt: skip
    for i, k in enumerate(h):
        a = np.array([[mu - k * lr * ahead, k], [-lr * (mu - k * lr * ahead), 1 - lr * k]])
        radius = float(np.abs(np.linalg.eigvals(a)).max())
        assert radius < 1
        for t in (1, 2, 10, 100, 400):
            want = (np.linalg.matrix_power(a, t) @ np.array([0.0, 1.0]))[1]
            # 400 products, each rounded, in an iteration that is not normal.
            assert abs(visited[t - 1][i] - want) <= 1e-10 * radius**t


START = np.array([1.0, -2.0, 3.0])


def _problem() -> object:
    return refopt.from_functions(lambda x: 0.0, grad, x0=START)


@pytest.mark.identity("xgrad")
@pytest.mark.parametrize("inside", [True, False])
def test_limits(inside: bool) -> None:
    """Around momentum with s = mu it is Nesterov's look-ahead, to 1e-13; s = 0 is the base, bit for
    bit.

    s = mu around momentum: Nesterov's look-ahead. s = 0: the base.
    """
    common = {"lr": 0.03, "momentum": 0.75, "rate_inside": inside, "steps": 40, "schedule": schedule}
    a = refopt.minimize(_problem(), "xgrad", base="momentum", steps_ahead=0.75, **common)
    b = refopt.minimize(_problem(), "nesterov", **common)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-13)
    a = refopt.minimize(_problem(), "xgrad", base="momentum", steps_ahead=0, **common)
    b = refopt.minimize(_problem(), "momentum", **common)
    np.testing.assert_array_equal(a.x, b.x)


@pytest.mark.identity("xgrad")
def test_adamw_written_out() -> None:
    """Around AdamW, 40 steps on a nonlinear function equal the authors' algorithm written out, to
    1e-12.
    """
    lr, b1, b2, eps, wd, ahead = 0.05, 0.8, 0.7, 1e-2, 0.1, 2.0
    r = refopt.minimize(
        _problem(), "xgrad", base="adamw", steps_ahead=ahead, lr=lr, beta1=b1, beta2=b2, eps=eps, weight_decay=wd,
        decay="decoupled", schedule=schedule, steps=40,
    )  # fmt: skip
    x, m, v = START, np.zeros(3), np.zeros(3)
    for t in range(1, 41):
        eta, at = lr * schedule(t), x
        if t > 1:
            at = x - ahead * eta * (m / (1 - b1 ** (t - 1))) / (np.sqrt(v / (1 - b2 ** (t - 1))) + eps)
        g = grad(at)
        x = x * (1 - eta * wd)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        x = x - eta * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    np.testing.assert_allclose(r.x, x, rtol=1e-12)


def test_other_bases_are_refused() -> None:
    with pytest.raises(CapabilityError, match="xgrad"):
        refopt.minimize(_problem(), "xgrad", base="adamax", lr=0.1, steps=2)
