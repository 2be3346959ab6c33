"""Projections: of a point onto a box, of a step onto what leaves a weight's norm alone."""

from __future__ import annotations

from collections.abc import Callable

from refopt.core.arrays import Array, Namespace


def box(xp: Namespace) -> Callable[[Array, float, float], Array]:
    """Return a function that projects onto [lower, upper], elementwise.

    For a box the projection in any norm with diagonal weights is this one.
    """

    def clip(x, lower, upper):  # type: ignore[no-untyped-def]
        x = xp.where(x < lower, lower, x)
        return xp.where(x > upper, upper, x)

    return clip
