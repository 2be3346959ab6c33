"""Exponential averages and their bias correction."""

from __future__ import annotations

from refopt.core.arrays import Array


def ema(average: Array, new: Array, beta: float, complement: float) -> Array:
    """Return ``beta * average + complement * new``; `complement` is ``1 - beta``, computed once a step."""
    return beta * average + complement * new


def correction(beta: float, t: int) -> float:
    """Return ``1 - beta**t``, the weight that an average started at zero has reached after `t` steps."""
    return 1.0 - beta**t
