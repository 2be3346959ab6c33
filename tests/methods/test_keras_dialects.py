"""Keras's choices, transcribed from keras/src/optimizers (Keras 3), beside the live peer of tests/parity.

Every Keras optimizer decays x by x * (1 - lr * weight_decay) before its step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import refopt

from tests.streams import schedule, stream

LR, WD, B1, B2, EPS, MU = 0.05, 0.1, 0.8, 0.6, 1e-2, 0.8
Step = Callable[[np.ndarray, np.ndarray, dict, int, float], np.ndarray]


def sgd(x: np.ndarray, g: np.ndarray, s: dict, t: int, lr: float) -> np.ndarray:
    return x - g * lr


def momentum(x: np.ndarray, g: np.ndarray, s: dict, t: int, lr: float) -> np.ndarray:
    s["m"] = s.get("m", 0.0) * MU - g * lr
    return x + s["m"]


def nesterov(x: np.ndarray, g: np.ndarray, s: dict, t: int, lr: float) -> np.ndarray:
    s["m"] = s.get("m", 0.0) * MU - g * lr
    return x + s["m"] * MU - g * lr


def adam(x: np.ndarray, g: np.ndarray, s: dict, t: int, lr: float) -> np.ndarray:
    alpha = lr * np.sqrt(1 - B2**t) / (1 - B1**t)
    s["m"] = s.get("m", 0.0) + (g - s.get("m", 0.0)) * (1 - B1)
    s["v"] = s.get("v", 0.0) + (g**2 - s.get("v", 0.0)) * (1 - B2)
    return x - s["m"] * alpha / (np.sqrt(s["v"]) + EPS)


def adamax(x: np.ndarray, g: np.ndarray, s: dict, t: int, lr: float) -> np.ndarray:
    s["m"] = s.get("m", 0.0) + (g - s.get("m", 0.0)) * (1 - B1)
    s["u"] = np.maximum(B2 * s.get("u", np.zeros_like(x)), np.abs(g))
    return x - lr * s["m"] / ((1 - B1**t) * (s["u"] + EPS))


BETAS = {"beta1": B1, "beta2": B2, "eps": EPS}


@pytest.mark.identity("adam", "adamax", "adamw", "momentum", "nesterov", "sgd")
@pytest.mark.parametrize(
    ("name", "step", "kwargs"),
    [
        ("sgd", sgd, {}),
        ("momentum", momentum, {"momentum": MU}),
        ("nesterov", nesterov, {"momentum": MU}),
        ("adam", adam, BETAS),
        ("adamw", adam, BETAS),
        ("adamax", adamax, BETAS),
    ],
)
def test_keras(name: str, step: Step, kwargs: dict[str, float]) -> None:
    """Keras's dialect equals its formulas transcribed, 100 steps under a schedule with decay, to
    1e-12.
    """
    for kind in ("random", "small"):
        x, gradients = stream(0, kind, steps=100, shapes={"w": (5,)})
        o = refopt.optimizer(name, dialect="keras", lr=LR, weight_decay=WD, schedule=schedule, **kwargs)
        s, y, memory = o.init(x), x["w"], {}
        for t, g in enumerate(gradients, 1):
            x, s = o.update(x, g, s)
            lr = LR * schedule(t)
            y = step(y - y * lr * WD, g["w"], memory, t, lr)
            np.testing.assert_allclose(x["w"], y, rtol=1e-12, atol=1e-13)


def test_adamw_official() -> None:
    """The authors' adam.lua: step alpha_t sqrt(c2) / c1, denominator sqrt(v) + eps, decay eta_t lambda x_old."""
    x, gradients = stream(0, "small", steps=100, shapes={"w": (5,)})
    o = refopt.optimizer("adamw", dialect="official", lr=LR, weight_decay=WD, schedule=schedule, **BETAS)
    s, y, m, v = o.init(x), x["w"], np.zeros(5), np.zeros(5)
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        m, v = B1 * m + (1 - B1) * g["w"], B2 * v + (1 - B2) * g["w"] ** 2
        old, eta = y, schedule(t)
        y = y - eta * LR * np.sqrt(1 - B2**t) / (1 - B1**t) * m / (np.sqrt(v) + EPS) - eta * WD * old
        np.testing.assert_allclose(x["w"], y, rtol=1e-12, atol=1e-13)


def test_sgdw_official() -> None:
    """The authors' sgd.lua: b_1 = g_1, b = mu b + (1 - damp) g, x -= alpha_t b + eta_t lambda x_old."""
    x, gradients = stream(0, "random", steps=100, shapes={"w": (5,)})
    o = refopt.optimizer(
        "sgdw", dialect="official", lr=LR, momentum=MU, dampening=0.3, weight_decay=WD, schedule=schedule
    )
    s, y, b = o.init(x), x["w"], None
    for t, g in enumerate(gradients, 1):
        x, s = o.update(x, g, s)
        b = g["w"] if b is None else MU * b + 0.7 * g["w"]
        y = y - schedule(t) * LR * b - schedule(t) * WD * y
        np.testing.assert_allclose(x["w"], y, rtol=1e-12, atol=1e-13)
