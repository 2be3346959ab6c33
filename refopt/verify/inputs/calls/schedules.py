"""Schedules: the steps at which they are asked, and how the counting of steps goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refopt.core.registry import get
from refopt.verify.inputs.calls.case import Case, Fault, Kind, Reference, negated

STEPS = (*range(1, 41), 50, 64, 99, 100, 101, 150, 199, 200, 201, 999, 1000, 1001, 10_000)

# The numbers that a schedule must have, then others; an implementation that takes none of them is told what it was made with.
OPTIONS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "cosine-decay": ({"steps": 20}, {"steps": 100, "floor": 0.1}),
    "cosine-warm-restarts": ({"period": 7}, {"period": 5, "factor": 2.0}, {"period": 6, "floor": 0.05}),
    "exponential-decay": ({"rate": 0.9}, {"rate": 0.5, "every": 10}),
    "inverse-square-root": ({"warmup": 10}, {"warmup": 8, "width": 64}),
    "inverse-time-decay": ({"rate": 0.1}, {"rate": 0.5, "every": 10}),
    "linear-decay": ({"steps": 20},),
    "one-cycle": ({"steps": 40}, {"steps": 100, "divisor": 10.0}),
    "polynomial-decay": ({"steps": 20}, {"steps": 30, "power": 2.0}, {"steps": 30, "floor": 0.1}),
    "refined": ({"norms": tuple(1.0 + 0.5 * np.sin(np.arange(24)))},),
    "step-decay": ({"every": 8}, {"every": 5, "factor": 0.1}, {"milestones": (4, 12)}),
    "warmup": ({"steps": 10}, {"steps": 10, "start": 0.1}),
    "wsd": ({"stable": 20, "decay": 15}, {"warmup": 5, "stable": 20, "decay": 15}),
}


def rate_cases(name: str, seed: int) -> list[Case]:
    """Return the same steps under each set of numbers."""
    return [
        Case(_label(o), (STEPS,), o, needs=tuple(o))
        for o in OPTIONS[name]
    ]  # fmt: skip


def _label(options: Mapping[str, Any]) -> str:
    return ", ".join(k if isinstance(v, tuple) else f"{k} {v}" for k, v in options.items())


def schedule(name: str) -> Reference:
    """Return a schedule as a function of the step and its numbers; with ``lr``, the rate itself."""
    cls = get(name)
    last = len(OPTIONS["refined"][0]["norms"])

    def run(t: int, lr: float = 1.0, **options: Any) -> float:
        if name == "refined":
            t = min(max(t, 1), len(options.get("norms", ())) or last)
        return lr * float(cls(**options).at(t))

    return run


def at_each(call: Reference, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Return what a schedule says at every step."""
    return np.array([float(call(t, **options)) for t in args[0]])


def _step(change: Any) -> Any:
    return lambda f: lambda t, **o: f(change(t), **o)


BEHIND = Fault("one-step-behind", "one step behind (t - 1 for t)", _step(lambda t: t - 1))
AHEAD = Fault(
    "one-step-ahead",
    "one step ahead (t + 1 for t, as where steps are counted from 0)",
    _step(lambda t: t + 1),
)

SCHEDULES = Kind(
    rate_cases,
    (
        BEHIND,
        AHEAD,
        Fault("one-minus", "as one minus the multiplier", lambda f: lambda t, **o: 1.0 - f(t, **o)),
        Fault("squared", "squared", lambda f: lambda t, **o: f(t, **o) ** 2),
        Fault("held-one-step", "with the first step's value at the second too", _step(lambda t: max(t - 1, 1))),
        *negated(),
    ),
    aliases={
        "lr": ("init_value", "initial_learning_rate", "base_lr", "peak_value", "eta_max"),
        "steps": ("total_steps", "decay_steps", "transition_steps", "T_max", "n_steps", "max_steps", "warmup_steps"),
        "floor": ("alpha", "eta_min", "min_ratio", "end_value"),
        "factor": ("gamma", "T_mult", "t_mul"),
        "rate": ("decay_rate", "gamma"),
        "every": ("step_size", "decay_steps", "transition_steps"),
        "period": ("T_0", "first_decay_steps"),
        "warmup": ("warmup_steps", "num_warmup_steps"),
        "power": ("exponent",),
    },
    reference=schedule,
    ask=at_each,
    conventions=(BEHIND, AHEAD),
)  # fmt: skip
