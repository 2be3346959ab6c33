"""Division where a divisor may be zero because every gradient so far was."""

from __future__ import annotations

from collections.abc import Callable

from refopt.core.arrays import Array, Namespace


def nonzero(xp: Namespace) -> Callable[[Array], Array]:
    """Return a function that gives a nonnegative divisor back, with one in place of zero.

    What is divided is zero there too (an average of the same gradients), so that such a coordinate
    stays where it is.
    """

    def divisor(d):
        return xp.where(d > 0.0, d, 1.0)

    return divisor
