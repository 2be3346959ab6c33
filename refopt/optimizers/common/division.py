"""Division where a divisor may be zero because every gradient so far was."""

from __future__ import annotations

from collections.abc import Callable

from refopt.core.arrays import Array, Namespace


def same(d):
    """Return `d`."""
    return d


def nonzero(xp: Namespace, eps: float = 0.0) -> Callable[[Array], Array]:
    """Return a function that gives a nonnegative divisor back, with one in place of zero.

    What is divided is zero there too (an average of the same gradients), so that such a coordinate
    stays where it is. A rule whose `eps` stands beside it needs none of this.
    """
    if eps != 0.0:
        return same

    def divisor(d):
        return xp.where(d > 0.0, d, 1.0)

    return divisor
