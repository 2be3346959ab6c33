"""Keras 3's schedules, on its torch backend in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import refopt

from tests.parity.case import Arrays, Case

N = 60


def ours(*made: tuple[str, dict[str, Any]]) -> Callable[[int], Arrays]:
    """The first values of some schedules, an array each."""
    return lambda seed: {
        str(i): np.array([refopt.schedule(name, **k)(t) for t in range(1, N + 1)])
        for i, (name, k) in enumerate(made)
    }


def keras_values(*make: Callable[[Any], Any]) -> Callable[[int], Arrays]:
    """The values of Keras's schedules at the iterations 0, 1, ..., in float64."""

    def side(seed: int) -> Arrays:
        import os

        os.environ["KERAS_BACKEND"] = "torch"
        import keras

        before = keras.config.floatx()
        keras.config.set_floatx("float64")
        try:
            made = [one(keras.optimizers.schedules) for one in make]
            return {str(i): np.array([float(eta(k)) for k in range(N)]) for i, eta in enumerate(made)}
        finally:
            keras.config.set_floatx(before)

    return side


def warmed(seed: int) -> Arrays:
    """A warm-up before Keras's cosine."""
    after = refopt.schedule("cosine-decay", steps=30, floor=0.1, dialect="keras")
    eta = refopt.schedule("warmup", steps=12, start=0.25, after=after)
    return {"0": np.array([eta(t) for t in range(1, N + 1)])}


CASES = [
    Case("cosine-warm-restarts", "keras", "keras",
        ours(("cosine-warm-restarts", {"period": 7, "top_factor": 0.8, "floor": 0.1, "dialect": "keras"}),
            ("cosine-warm-restarts", {"period": 10, "factor": 1.0, "dialect": "keras"})),
        keras_values(lambda m: m.CosineDecayRestarts(1.0, 7, m_mul=0.8, alpha=0.1),
            lambda m: m.CosineDecayRestarts(1.0, 10, t_mul=1.0)),
        says="60 values of CosineDecayRestarts, over doubled cycles whose tops fall and whose floor stays, and over equal ones, to 1e-12"),
    Case("cosine-decay", "keras", "keras", ours(("cosine-decay", {"steps": 25, "floor": 0.1, "dialect": "keras"})),
        keras_values(lambda m: m.CosineDecay(1.0, 25, alpha=0.1)), says="60 values of CosineDecay with a floor, to 1e-12"),
    Case("exponential-decay", "keras", "keras",
        ours(("exponential-decay", {"rate": 0.8, "every": 7, "dialect": "keras"}),
            ("exponential-decay", {"rate": 0.8, "every": 7, "staircase": True, "dialect": "keras"})),
        keras_values(lambda m: m.ExponentialDecay(1.0, 7, 0.8), lambda m: m.ExponentialDecay(1.0, 7, 0.8, staircase=True)),
        says="60 values of ExponentialDecay, smooth and as a staircase, to 1e-12"),
    Case("inverse-time-decay", "keras", "keras",
        ours(("inverse-time-decay", {"rate": 0.3, "every": 7, "dialect": "keras"}),
            ("inverse-time-decay", {"rate": 0.3, "every": 7, "staircase": True, "dialect": "keras"})),
        keras_values(lambda m: m.InverseTimeDecay(1.0, 7, 0.3), lambda m: m.InverseTimeDecay(1.0, 7, 0.3, staircase=True)),
        says="60 values of InverseTimeDecay, smooth and as a staircase, to 1e-12"),
    Case("step-decay", "keras", "keras",
        ours(("step-decay", {"milestones": (3, 20, 21), "multipliers": (0.5, 0.7, 0.0), "dialect": "keras"})),
        keras_values(lambda m: m.PiecewiseConstantDecay([3, 20, 21], [1.0, 0.5, 0.7, 0.0])),
        rtol=0.0, says="60 values of PiecewiseConstantDecay, which rise and end at 0, bit for bit"),
    Case("polynomial-decay", "keras", "keras",
        ours(("polynomial-decay", {"steps": 13, "floor": 0.2, "dialect": "keras"}),
            ("polynomial-decay", {"steps": 13, "floor": 0.2, "power": 2.0, "cycles": True, "dialect": "keras"})),
        keras_values(lambda m: m.PolynomialDecay(1.0, 13, end_learning_rate=0.2),
            lambda m: m.PolynomialDecay(1.0, 13, end_learning_rate=0.2, power=2.0, cycle=True)),
        says="60 values of PolynomialDecay, once and with its cycles, to 1e-12"),
    Case("warmup", "keras", "keras", warmed,
        keras_values(lambda m: m.CosineDecay(0.25, 30, alpha=0.1, warmup_target=1.0, warmup_steps=12)),
        says="60 values of CosineDecay with its warm-up, in units of the target, to 1e-12"),
]  # fmt: skip
