"""Norms of whole leaves, and the trust ratio that LARS and LAMB make of them."""

from __future__ import annotations

from refopt.core.arrays import Array, lengths, namespace


def leaf_norm(a: Array) -> Array:
    """Return the Euclidean norm of all entries, as an array without dimensions."""
    return lengths(a)


def trust_ratio(size: Array, denominator: Array) -> Array:
    """Return ``size / denominator``, and 1 where either is zero (with a ratio of 0 the layer would never move)."""
    xp = namespace(size)
    one = xp.ones_like(size)
    whole = (size > 0.0) & (denominator > 0.0)
    return xp.where(whole, size / xp.where(whole, denominator, one), one)
