"""Exponential averages and their bias correction."""

from __future__ import annotations

from refopt.core.arrays import Array


def ema(average: Array, new: Array, beta: float, complement: float) -> Array:
    """Return ``beta * average + complement * new``; `complement` is ``1 - beta``, computed once a step."""
    return beta * average + complement * new


def correction(beta: float, t: int) -> float:
    """Return ``1 - beta**t``, the weight that an average started at zero has reached after `t` steps."""
    return 1.0 - beta**t


def moment_numbers(beta1: float, beta2: float, rate: float, t: int) -> dict[str, float]:
    """Return what Adam's two moments need at step `t`: ``k1``, ``k2``, ``step`` (rate over c1), ``root`` (c2^-1/2)."""
    return {
        "k1": 1.0 - beta1,
        "k2": 1.0 - beta2,
        "step": rate / correction(beta1, t),
        "root": 1.0 / correction(beta2, t) ** 0.5,
    }
