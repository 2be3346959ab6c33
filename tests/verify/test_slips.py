"""Slips that were written down before the oracle was asked, and that it did not know then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import refopt


def _adam(x: Any, g: Any, state: Any, late: int, inside: float) -> Any:
    """Adam with `late` in the corrections' counter and a decay `inside` the quotient."""
    m, v, t = (0 * x, 0 * x, 1) if state is None else state
    m, v, k = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g, max(t - late, 1)
    u = (m / (1 - 0.9**k) + inside * x) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
    return u, (m, v, t + 1)


def behind(x: Any, g: Any, state: Any, lr: float = 1e-3) -> Any:
    """Adam whose counter starts at 0, and is 1 at least where it divides."""
    u, state = _adam(x, g, state, 1, 0.0)
    return x - lr * u, state


def inside(x: Any, g: Any, state: Any, lr: float = 1e-3, weight_decay: float = 1e-2) -> Any:
    """AdamW whose decay is divided by the root, too."""
    u, state = _adam(x, g, state, 0, weight_decay)
    return x - lr * u, state


def mean(x: Any, g: Any, state: Any, lr: float = 1e-2, eps: float = 1e-10) -> Any:
    """AdaGrad of the mean of squares."""
    total, t = (0 * x, 0) if state is None else state
    total, t = total + g * g, t + 1
    return x - lr * g / (np.sqrt(total / t) + eps), (total, t)


def velocity(
    x: Any,
    g: Any,
    state: Any,
    lr: float = 1.0,
    momentum: float = 0.9,
    trust: float = 0.001,
    weight_decay: float = 1e-4,
) -> Any:
    """LARS whose ratio is to the velocity's norm."""
    v = momentum * (0 * x if state is None else state) + g + weight_decay * x
    a, b = np.linalg.norm(x), np.linalg.norm(v)
    return x - lr * (trust * a / b if a > 0 and b > 0 else trust) * v, v


FOUND = {
    behind: ("adam", "bias-correction-one-step-behind"),
    inside: ("adamw", "weight-decay-in-the-quotient"),
    mean: ("adagrad", "mean-in-place-of-the-sum"),
    velocity: ("lars", "ratio-of-the-velocity"),
}


@pytest.mark.parametrize("mine", FOUND, ids=lambda f: f.__name__)
def test_slips_are_named(mine: Any) -> None:
    """Each is explained, by the name of the slip."""
    method, name = FOUND[mine]
    why = refopt.verify.diagnose(mine, method, steps=30)
    assert any(name in names for names in (why.explained_by, *why.also)), str(why)
