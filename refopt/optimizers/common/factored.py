"""Squares of a matrix kept as its row and column means, an outer product of rank one."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, namespace
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.trust import leaf_norm


def row_and_column(S: Array, axes: tuple[int, int]) -> tuple[Array, Array]:
    """Return the means of S along the second and along the first of `axes`, as arrays that broadcast with it."""
    xp = namespace(S)
    return xp.mean(S, axis=axes[1], keepdims=True), xp.mean(S, axis=axes[0], keepdims=True)


def outer(R: Array, C: Array, axes: tuple[int, int], least: float = 0.0) -> Array:
    """Return ``R C / max(mean(R), least)`` of the means that `row_and_column` gives, zero where all of them are."""
    xp = namespace(R)
    mean = xp.clip(xp.mean(R, axis=axes[0], keepdims=True), min=least)
    return R / nonzero(xp)(mean) * C


def rms(a: Array) -> Array:
    """Return the root of the mean square of all entries, as an array without dimensions."""
    return leaf_norm(a) / math.prod(a.shape) ** 0.5


def clipped_rms(u: Array, threshold: float) -> Array:
    """Return ``u / max(1, rms(u) / threshold)``."""
    return u / namespace(u).clip(rms(u) / threshold, min=1.0)
