"""What the sliced distances share: their result, directions, and the comparison of two samples on a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refopt.core.arrays import Array, Namespace, lengths, like
from refopt.core.rng import generator


@dataclass(frozen=True)
class DiscrepancyResult:
    """A discrepancy of two samples.

    Attributes
    ----------
    value : array of shape ()
    gradient_x, gradient_y : array
        Its derivatives in the points of each sample, of the samples' shapes.
    """

    value: Array
    gradient_x: Array
    gradient_y: Array


def unit_vectors(rng: np.random.Generator, count: int, d: int) -> np.ndarray:
    """Return `count` points of the unit sphere in d dimensions, uniformly drawn."""
    gaussian = rng.standard_normal((count, d))
    return gaussian / lengths(gaussian, axis=1, keepdims=True)


def directions(reference: Array, count: int, seed: int) -> Iterator[Array]:
    """Yield uniform directions of the space of the points `reference`, of its library and dtype."""
    for direction in unit_vectors(generator(seed, "method"), count, reference.shape[1]):
        yield like(direction, reference)


def number_below(xp: Namespace, ordered: Array, at: Array) -> Array:
    """Return twice the number of `ordered` below each point, counting a tie once."""
    return xp.searchsorted(ordered, at) + xp.searchsorted(ordered, at, side="right")


def wasserstein_line(
    xp: Namespace, s: Array, t: Array, a: Array, b: Array, p: float
) -> tuple[Array, Array, Array]:
    r"""Return :math:`W_p^p` of two weighted samples on a line and its derivatives in the points.

    It is :math:`\sum_k \Delta_k |F^{-1}(q_k) - G^{-1}(q_k)|^p` over the merged levels :math:`q_k` of the distribution
    functions F and G.

    Parameters
    ----------
    s, t : array of shape (n,) and (m,)
    a, b : array of shape (n,) and (m,)
        Masses of equal total.
    p : float
        At least 1.
    """
    orders = xp.argsort(s), xp.argsort(t)
    points = [xp.take(v, o) for v, o in zip((s, t), orders)]
    levels = [xp.cumulative_sum(xp.take(w, o)) for w, o in zip((a, b), orders)]
    merged = xp.sort(xp.concat(levels))
    share = merged - xp.concat([xp.zeros_like(merged[:1]), merged[:-1]])
    # Rounding may leave the last level of one function above the other's.
    at = [
        xp.where(i < v.shape[0], i, v.shape[0] - 1)
        for v, i in ((v, xp.searchsorted(v, merged)) for v in levels)
    ]
    gap = xp.take(points[0], at[0]) - xp.take(points[1], at[1])
    value = xp.sum(share * xp.abs(gap) ** p)
    slope = xp.cumulative_sum(share * p * xp.abs(gap) ** (p - 1.0) * xp.sign(gap))
    slope = xp.concat([xp.zeros_like(slope[:1]), slope])
    sides = []
    for place, order in zip(at, orders):
        # The levels of one point stand side by side: its slope is a difference of two sums.
        ends = xp.take(slope, xp.searchsorted(place, xp.arange(1, order.shape[0] + 1, device=order.device)))
        sorted_slope = ends - xp.concat([xp.zeros_like(ends[:1]), ends[:-1]])
        sides.append(xp.take(sorted_slope, xp.argsort(order)))
    return value, sides[0], -sides[1]
