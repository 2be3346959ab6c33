"""XGrad around its bases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt
from refopt.core.errors import ArgumentTypeError

from tests.streams import schedule


def _run(method: object, steps: int = 40) -> np.ndarray:
    return refopt.minimize(refopt.problem("logistic", l2=0.1), method, steps=steps, batch_size=32, seed=1).x


def test_momentum_steps_are_nesterov() -> None:
    """s = momentum: the look-ahead gradient, the same bits; s = 1 differs in the first digits."""
    want = _run(refopt.optimizer("nesterov", lr=0.3, momentum=0.8))
    np.testing.assert_array_equal(_run(refopt.optimizer("xgrad", steps=0.8, lr=0.3, momentum=0.8)), want)
    assert np.max(np.abs(_run(refopt.optimizer("xgrad", steps=1.0, lr=0.3, momentum=0.8)) - want)) > 1e-3
    # With the rate outside the velocity, under a schedule.
    kwargs = {"lr": 0.3, "momentum": 0.8, "rate_inside": False, "schedule": schedule}
    inner = refopt.optimizer("momentum", **kwargs)
    np.testing.assert_allclose(
        _run(refopt.optimizer("xgrad", base=inner, steps=0.8)),
        _run(refopt.optimizer("nesterov", **kwargs)),
        rtol=1e-13,
    )


@pytest.mark.parametrize("base", ["momentum", "adam", "adamw", "sgdw"])
def test_no_prediction_is_the_base(base: str) -> None:
    """s = 0: the same bits, one gradient a step."""
    np.testing.assert_array_equal(
        _run(refopt.optimizer("xgrad", base=base, steps=0.0, lr=0.1)), _run(refopt.optimizer(base, lr=0.1))
    )


def test_adamw_by_hand() -> None:
    """AdamW with prediction on f = sum h_i x_i^4 / 4, one float at a time."""
    lr, b1, b2, eps, lam, steps = 0.05, 0.8, 0.7, 1e-3, 0.1, 2.0
    h = [0.5, 2.0, 1.0]

    class Quartic:
        def grad(self, x: np.ndarray) -> np.ndarray:
            return np.array(h) * x**3

    o = refopt.optimizer(
        "xgrad", base="adamw", dialect="paper", steps=steps, lr=lr, beta1=b1, beta2=b2, eps=eps,
        weight_decay=lam, decay="decoupled",
    )  # fmt: skip
    oracle = refopt.core.oracle.Oracle(Quartic())
    x = np.array([1.0, -0.5, 2.0])
    s, theta, m, v = o.init(x), [float(e) for e in x], [0.0] * 3, [0.0] * 3
    for t in range(1, 31):
        oracle.begin(t)
        x, s = o.step(x, s, oracle)
        for i in range(3):
            ahead = theta[i]
            if t > 1:
                old = (m[i] / (1 - b1 ** (t - 1))) / (math.sqrt(v[i] / (1 - b2 ** (t - 1))) + eps)
                ahead -= lr * steps * old
            g = h[i] * ahead**3
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g**2
            theta[i] *= 1 - lr * lam
            theta[i] -= lr * (m[i] / (1 - b1**t)) / (math.sqrt(v[i] / (1 - b2**t)) + eps)
        np.testing.assert_allclose(x, theta, rtol=1e-13, atol=1e-13)


def test_other_bases_are_refused() -> None:
    """A base whose averages are not known is an error that says which are."""
    with pytest.raises(ArgumentTypeError, match="momentum, adam"):
        refopt.optimizer("xgrad", base="lion")
