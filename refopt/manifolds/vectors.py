"""Lengths and inner products along the last axis, and functions over their argument."""

from __future__ import annotations

from collections.abc import Callable

from refopt.core.arrays import Array, namespace


def dot(u: Array, v: Array) -> Array:
    """Return the inner products along the last axis, kept as an axis of one."""
    return namespace(u).sum(u * v, axis=-1, keepdims=True)


def length(u: Array) -> Array:
    """Return the norms along the last axis, kept as an axis of one; no square over- or underflows."""
    xp = namespace(u)
    top = xp.max(xp.abs(u), axis=-1, keepdims=True)
    unit = xp.where(top > 0, top, xp.ones_like(top))
    return unit * xp.sqrt(dot(u / unit, u / unit))


def over(f: Callable[[Array], Array], t: Array) -> Array:
    """Return ``f(t) / t`` for t >= 0, with 1 at 0: f starts like t."""
    xp = namespace(t)
    one = xp.ones_like(t)
    safe = xp.where(t > 0, t, one)
    return xp.where(t > 0, f(safe) / safe, one)


def unit(u: Array) -> Array:
    """Return u over its length along the last axis; the first axis's direction where u is 0."""
    xp = namespace(u)
    size = length(u)
    first = xp.concat([xp.ones_like(u[..., :1]), xp.zeros_like(u[..., 1:])], axis=-1)
    return xp.where(size > 0, u / xp.where(size > 0, size, xp.ones_like(size)), first)
