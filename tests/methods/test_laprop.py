"""LaProp."""

from __future__ import annotations

import math

import numpy as np
import pytest
import refopt

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("laprop")
def test_without_momentum_it_is_adam_without_momentum() -> None:
    """β1 = 0: bias-corrected RMSprop, Adam's rule, to 1e-14."""
    a, b = (refopt.optimizer(n, lr=0.1, beta1=0.0, eps=1e-3) for n in ("laprop", "adam"))
    assert_same_run(a, b, stream(1, "ill", steps=30), rtol=1e-12, atol=1e-14)


@pytest.mark.claim("laprop")
def test_steps_are_bounded_for_any_pair_of_averages() -> None:
    """β1 = 0.99 beside β2 = 0.5, where Adam's steps have no bound: one gradient of 1e6 among zeros leaves every step of LaProp
    within lr sqrt(1 / (1 - β2)); Adam's tenth step is 4 times that."""
    ends = {}
    for name in ("laprop", "adam"):
        o = refopt.optimizer(name, lr=1.0, beta1=0.99, beta2=0.5, eps=1e-300 if name == "adam" else 1e-15)
        x = np.zeros(1)
        s, longest = o.init(x), 0.0
        for t in range(60):
            y, s = o.update(x, np.array([1e6 if t == 0 else 0.0]), s)
            longest, x = max(longest, float(np.abs(y - x)[0])), y
        ends[name] = longest
    assert ends["laprop"] <= math.sqrt(2.0) and ends["adam"] > 4 * math.sqrt(2.0)


@pytest.mark.identity("laprop")
@pytest.mark.parametrize("corrected", [True, False])
def test_by_hand_under_a_schedule(corrected: bool) -> None:
    """Thirty steps with the rate inside the average and over it, a changing rate, decay behind the step and an ε inside the root,
    the other one beside the corrected root or the plain one, to 1e-13."""
    o = refopt.optimizer(
        "laprop",
        lr=0.1,
        beta1=0.7,
        beta2=0.8,
        eps=1e-2,
        weight_decay=0.01,
        schedule=lambda t: 1.0 + 1.0 / t,
        eps_root=0.03,
        eps_corrected=corrected,
    )
    x, gradients = stream(2, "random", steps=30)
    y, s, c = dict(x), o.init(x), 0.0
    m, v = ({k: np.zeros_like(a) for k, a in x.items()} for _ in range(2))
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        rate = 0.1 * (1 + 1 / t)
        c = 0.7 * c + 0.3 * rate
        for k in y:
            v[k] = 0.8 * v[k] + 0.2 * g[k] ** 2
            root = np.sqrt(1 - 0.8**t)
            below = np.sqrt(v[k] + 0.03) / root + (1e-2 if corrected else 1e-2 / root)
            m[k] = 0.7 * m[k] + 0.3 * rate * g[k] / below
            y[k] = (y[k] - rate / c * m[k]) * 0.99
            np.testing.assert_allclose(x[k], y[k], rtol=1e-12, atol=1e-14)
    still = refopt.optimizer("laprop", lr=0.0)
    np.testing.assert_array_equal(still.update(x["w"], gradients[0]["w"], still.init(x["w"]))[0], x["w"])
