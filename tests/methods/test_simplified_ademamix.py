"""Simplified AdEMAMix."""

from __future__ import annotations

import numpy as np
import pytest
import refopt
from refopt.optimizers.first_order.ademamix import half_life_warmup

from tests.alike import assert_same_run
from tests.streams import stream


@pytest.mark.identity("simplified-ademamix")
def test_without_the_gradient_itself_it_is_adam_without_a_correction() -> None:
    """α = 0: Adam at the rate η / (1 - β1) whose first average is not corrected, written out to 1e-12; and β1 = 0 with the sum's
    weight: sign descent times (1 + α) at β2 = 0, to 1e-14."""
    x, gradients = stream(1, "ill", steps=12, shapes={"w": (5,)})
    o = refopt.optimizer("simplified-ademamix", lr=0.1, beta1=0.8, beta2=0.7, eps=0.01)
    y, s, m, v = x["w"], o.init(x), np.zeros(5), np.zeros(5)
    for t, g in enumerate((g["w"] for g in gradients), 1):
        x, s = o.update(x, {"w": g}, s)
        m, v = 0.8 * m + 0.2 * g, 0.7 * v + 0.3 * g * g
        y = y - 0.1 / 0.2 * m / (np.sqrt(v / (1 - 0.7**t)) + 0.01)
        np.testing.assert_allclose(x["w"], y, rtol=1e-12, atol=1e-14)
    o = refopt.optimizer("simplified-ademamix", lr=0.1, beta1=0.0, beta2=0.0, alpha=2.0, eps=0.0)
    assert_same_run(
        o, refopt.optimizer("sign-sgd", lr=0.3), stream(2, "ill", steps=12), rtol=1e-13, atol=1e-13
    )


@pytest.mark.identity("simplified-ademamix")
@pytest.mark.parametrize("averaged", [True, False])
def test_the_warm_up_and_the_weights(averaged: bool) -> None:
    """Ten steps, of which β1 grows over eight, with α, decay and a schedule, written out to 1e-12; averaged, gradients that stay the same
    give steps of (α / Σ β^k + 1) η times their sign."""
    o = refopt.optimizer("simplified-ademamix", lr=0.1, beta1=0.95, beta2=0.7, alpha=3.0, eps=0.01, beta1_steps=8, least_beta1=0.4,
        averaged=averaged, weight_decay=0.2, schedule=lambda t: 1 / t**0.5, half_life_shift=1e-3)  # fmt: skip
    x, gradients = stream(3, "random", steps=10, shapes={"w": (5,)})
    y, s, m, v, weights = x["w"], o.init(x), np.zeros(5), np.zeros(5), 0.0
    for t, g in enumerate((g["w"] for g in gradients), 1):
        x, s = o.update(x, {"w": g}, s)
        beta = half_life_warmup(0.4, 0.95, t / 8, 1e-3) if t < 8 else 0.95
        m, v, weights = beta * m + g, 0.7 * v + 0.3 * g * g, beta * weights + 1.0
        u = (3.0 * g + m) / (np.sqrt(v / (1 - 0.7**t)) + 0.01)
        y = y - 0.1 / t**0.5 * ((u / weights if averaged else u) + 0.2 * y)
        np.testing.assert_allclose(x["w"], y, rtol=1e-12, atol=1e-14)


@pytest.mark.claim("simplified-ademamix")
def test_it_is_accelerated_sgd_below_the_root() -> None:
    """The paper's point: with a root that stays the same (gradients all of one size) the points are those of momentum plus a gradient
    step, x ← x - η (m + α g) with m ← β m + g, to 1e-12."""
    rng = np.random.default_rng(5)
    o = refopt.optimizer("simplified-ademamix", lr=0.05, beta1=0.9, beta2=0.5, alpha=4.0, eps=0.0)
    x, y, m = np.zeros(6), np.zeros(6), np.zeros(6)
    s = o.init(x)
    for _ in range(20):
        g = 3.0 * rng.choice([-1.0, 1.0], 6)
        x, s = o.update(x, g, s)
        m = 0.9 * m + g
        y = y - 0.05 * (m + 4.0 * g) / 3.0
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)
