"""Methods that need one gradient a step and ask for it at another point than the one that they are at."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.verify.sides.functions import positional
from refopt.verify.sides.queries import SERVED

STEPS = 3


class _Watched:
    """A bowl that remembers where it was asked."""

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def grad(self, x: Params, indices: Any = None) -> Params:
        self.asked.append(np.array(x))
        return x


def asks_elsewhere(method: Any) -> bool:
    """Tell whether a method asks for its gradient at a point of its own, as Nesterov's does.

    A tape of gradients cannot show where the other side asks.
    """
    x = np.array([1.0, -2.0])
    try:
        s = method.init(x)
        for t in range(1, STEPS + 1):
            problem = _Watched()
            oracle = Oracle(problem)
            oracle.begin(t, x)
            before = x
            x, s = method.step(x, s, oracle)
            if any(not np.array_equal(point, before) for point in problem.asked):
                return True
    except Exception:
        # Of matrices alone, or with needs that the bowl has not: no look-ahead that a tape would hide.
        return False
    return False


def names_questions(other: Any) -> bool:
    """Tell whether a function says by its arguments that it asks for gradients itself: (x, state, grad)."""
    return callable(other) and positional(other)[2:3] != [] and positional(other)[2] in SERVED


def hidden(name: str) -> str:
    """Return the note of a comparison along a tape."""
    return (
        f"{name} asks for its gradient at a point of its own, which recorded gradients do not show: a rule that asks"
        " where it stands (plain momentum, for nesterov) takes the same steps here. To be told which it is, hand over"
        " a function (x, state, grad, ...), where grad is a function of a point."
    )
