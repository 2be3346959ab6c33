"""Deviations of methods that draw random numbers of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.method import LeafRule
from refopt.core.rng import generator
from refopt.verify.variants.deviation import altered, deviation, rewritten, with_numbers

GRAVITY, SCALED = ("gravity",), ("randomly-scaled-sgdm",)


@deviation("start-not-drawn", "with a velocity that starts at zero", stage="settings", only=GRAVITY)
def _(method: Any) -> Any:
    return altered(method, alpha=0.0)


@deviation(
    "start-spread-without-the-rate", "with alpha, not alpha / lr, for the start's spread", stage="text", only=GRAVITY
)  # fmt: skip
def _(method: Any) -> Any:
    return _started(lambda self, v: params.scale(float(self.lr), v))(method)


def _started(change: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """Return the change of a method that alters its first velocity: ``change(method, V)``."""

    def make(method: Any) -> Any:
        if not isinstance(method, LeafRule):
            return None
        cls: Any = type(method)

        def init(self: Any, x: Any) -> Any:
            s = cls.init(self, x)
            return {**s, "V": change(self, s["V"])}

        return rewritten(method, init=init)

    return make


def _first_everywhere(self: Any, v: Any) -> Any:
    return params.map_leaves(lambda a: np.full_like(a, np.ravel(a)[0]), v)


deviation("one-draw-for-a-leaf", "with one number drawn for a whole array", stage="text", only=GRAVITY)(
    _started(_first_everywhere)
)


deviation("start-never-negative", "with the start's absolute values", stage="text", only=GRAVITY)(
    _started(lambda self, v: params.map_leaves(np.abs, v))
)


deviation("start-twice", "with twice the start's spread", stage="text", only=GRAVITY)(
    _started(lambda self, v: params.scale(2.0, v))
)


def _scaled(change: Callable[[Any, int, float], float]) -> Callable[[Any], Any]:
    """Return the change of the drawn scale: ``change(method, t, s)``."""
    return lambda method: with_numbers(
        method, lambda m, t, numbers: {**numbers, "s": change(m, t, numbers["s"])}
    )


for name, what, change in (
    ("scale-not-drawn", "with the scale 1, not drawn", lambda m, t, s: 1.0),
    ("scale-uniform", "with a scale uniform on [0, 2]", lambda m, t, s: 2.0 * (1.0 - np.exp(-s))),
    (
        "scale-drawn-once", "with the first step's scale at every step",
        lambda m, t, s: float(generator(m.seed or 0, "method", 1).exponential()),
    ),
    ("scale-twice", "with a scale of mean 2", lambda m, t, s: 2.0 * s),
    ("scale-halved", "with a scale of mean 1/2", lambda m, t, s: 0.5 * s),
):  # fmt: skip
    deviation(name, what, stage="text", only=SCALED)(_scaled(change))


@deviation("scale-by-coordinate", "with a scale drawn for every coordinate", stage="text", only=SCALED)
def _(method: Any) -> Any:
    if not isinstance(method, LeafRule):
        return None
    cls: Any = type(method)

    def update(self: Any, x: Any, grad: Any, s: Any, *, donate: bool = False) -> Any:
        _, after = cls.update(self, x, grad, s)
        rng = generator(self.seed or 0, "method", after["t"])
        return params.map_leaves(lambda a, d: a + rng.exponential(size=a.shape) * d, x, after["delta"]), after

    return rewritten(method, update=update)
