"""Apollo, the diagonal quasi-Newton method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt

from tests.parity.case import Case
from tests.parity.makers import ours, torch_side
from tests.streams import stream


@pytest.mark.identity("apollo-dqn")
@pytest.mark.parametrize("rebound", ["constant", "belief"])
@pytest.mark.parametrize("decay", ["coupled", "decoupled", "stable"])
def test_by_hand(rebound: str, decay: str) -> None:
    """Ten steps with NumPy alone, with decay of each kind, a warm-up of six steps and a schedule, to 1e-12."""
    o = refopt.optimizer("apollo-dqn", lr=0.2, beta=0.7, eps=0.05, rebound=rebound, least=0.4, warmup=6, first_share=0.1, weight_decay=0.3,
        decay=decay, schedule=lambda t: 1 / t**0.5)  # fmt: skip
    x, gradients = stream(0, "random", steps=10, shapes={"w": (3, 2)})
    y = x["w"]
    x, s = y, o.init(y)
    m, B, d = np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))
    for t, g in enumerate((g["w"] for g in gradients), 1):
        x, s = o.update(x, g, s)
        g = g + (0.3 * y if decay == "coupled" else 0.0)
        alpha = 0.3 / (1 - 0.7**t)
        change = g - m
        m = m + alpha * change
        size = np.sum(d**4) ** 0.25 + (0.05 / 0.4 if rebound == "constant" else 0.05)
        unit = d / size
        B = B - (alpha * np.sum(change * unit) / size + np.sum(B * unit**2)) * unit**2
        D = np.maximum(np.abs(B), 0.4)
        if rebound == "belief":
            D = np.maximum(np.abs(B), np.abs(change).max()) + 0.05 / alpha
        d = m / D
        if decay != "coupled":
            d = d + 0.3 / (np.mean(D) if decay == "stable" else 1.0) * y
        y = y - 0.2 / t**0.5 * (0.1 + 0.9 * min(1.0, (t - 1) / 6)) * d
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(s["B"], B, rtol=1e-12, atol=1e-13)


@pytest.mark.claim("apollo-dqn")
def test_the_weak_secant_equation() -> None:
    """ε = 0: the new B obeys ``dᵀ B d = -α <Δ, d>``, the change of the averaged gradient along the last direction, over 15 steps, to 1e-10;
    directions of 1e-90 have fourth powers too."""
    o = refopt.optimizer("apollo-dqn", eps=0.0, warmup=0, lr=0.1)
    x, gradients = stream(1, "random", steps=15, shapes={"w": (5,)})
    x, s = x["w"], o.init(x["w"])
    for g in (g["w"] for g in gradients):
        m, d = s["m"], s["d"]
        x, s = o.update(x, g, s)
        assert np.sum(s["B"] * d * d) == pytest.approx(-np.sum((s["m"] - m) * d), rel=1e-10)
    o = refopt.optimizer("apollo-dqn", eps=0.0, warmup=0, least=1e90)
    s = o.init(x)
    for g in gradients[:3]:
        _, s = o.update(x, g["w"], s)
    assert np.all(np.isfinite(s["B"])) and np.any(s["B"] != 0.0)


def test_no_gradient_without_eps() -> None:
    """The bound of belief is zero then, and no division: x stays."""
    o = refopt.optimizer("apollo-dqn", rebound="belief", eps=0.0, warmup=0)
    x, s = o.update(np.ones(2), np.zeros(2), o.init(np.ones(2)))
    x, s = o.update(x, np.zeros(2), s)
    np.testing.assert_array_equal(x, np.ones(2))


MINE: dict[str, Any] = {"lr": 0.05, "beta": 0.8, "eps": 1e-2, "weight_decay": 0.1}
KIND = ("random",)
SMALL = {"w": (2, 3), "b": (3,)}
CASES = [
    Case("apollo-dqn", "official", "XuezheMax/apollo@7adf28f",
        ours("apollo-dqn", kinds=KIND, shapes=SMALL, scheduled=False, dialect="official", warmup=30, **MINE), None,
        says="The authors' Apollo with its constant bound, L2 and a warm-up of 30 steps, 200 steps, to 1e-12."),
    Case("apollo-dqn", "official-belief", "XuezheMax/apollo@7adf28f",
        ours("apollo-dqn", kinds=KIND, shapes=SMALL, dialect="official-belief", warmup=0, **MINE), None,
        says="The authors' Apollo with the bound of belief, decoupled decay and a schedule, 200 steps, to 1e-12."),
    Case("apollo-dqn", "kozistr", "pytorch-optimizer",
        ours("apollo-dqn", kinds=KIND, shapes=SMALL, dialect="kozistr", warmup=0, decay="stable", **MINE),
        torch_side("ApolloDQN", kinds=KIND, shapes=SMALL, double=True, warmup_steps=0, weight_decay_type="stable", **MINE),
        says="pytorch_optimizer.ApolloDQN with stable decay, no warm-up and a schedule, 200 steps, to 1e-12."),
]  # fmt: skip
