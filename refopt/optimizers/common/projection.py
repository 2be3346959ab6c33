"""Projections: of a point onto a box, of a step onto what leaves a weight's norm alone."""

from __future__ import annotations

from collections.abc import Callable

from refopt.core.arrays import Array, Namespace


def box(xp: Namespace) -> Callable[[Array, float, float], Array]:
    """Return a function that projects onto [lower, upper], elementwise.

    For a box the projection in any norm with diagonal weights is this one.
    """

    def clip(x, lower, upper):
        x = xp.where(x < lower, lower, x)
        return xp.where(x > upper, upper, x)

    return clip


def radial(
    xp: Namespace, x: Array, g: Array, u: Array, *, delta: float, eps: float, added: bool = False
) -> tuple[Array, Array]:
    """Take the radial part out of a step, where the weight seems to be free of scale (AdamP).

    A loss that does not depend on the norm of x has a gradient orthogonal to x. First every row (the
    first axis against the rest) is looked at, then the whole array: if no row's cosine between gradient
    and weight reaches ``delta / sqrt(row length)``, the rows of `u` lose their parts along those of x.

    Parameters
    ----------
    xp : namespace
    x, g, u : array, two dimensions or more
        Weight, gradient and step.
    delta : float, range [0, inf]
    eps : float, range [0, inf)
        The least norm inside the cosine, and beside the norm of x.
    added : bool
        eps beside the norms inside the cosine too.

    Returns
    -------
    step : array like u
    taken : bool, zero-dimensional array
        Whether anything was taken out.
    """
    rows, row_hit = _without_radial(xp, x, g, u, (x.shape[0], -1), delta, eps, added)
    whole, whole_hit = _without_radial(xp, x, g, u, (1, -1), delta, eps, added)
    return xp.where(row_hit, rows, xp.where(whole_hit, whole, u)), xp.logical_or(row_hit, whole_hit)


def _without_radial(
    xp: Namespace, x: Array, g: Array, u: Array, view: tuple[int, int], delta: float, eps: float, added: bool
) -> tuple[Array, Array]:
    rows, slopes, steps = (xp.reshape(a, view) for a in (x, g, u))

    def inner(a: Array, b: Array) -> Array:
        return xp.sum(a * b, axis=1, keepdims=True)

    def length(a: Array) -> Array:
        return xp.sqrt(inner(a, a))

    def at_least(a: Array) -> Array:
        # Without eps, or with one that rounds to zero, a zero row's cosine is zero as with any eps.
        least = max(eps, float(xp.finfo(a.dtype).smallest_normal))
        return xp.where(a < least, least, a)

    more = eps if added else 0.0
    cosine = xp.abs(inner(rows / at_least(length(rows) + more), slopes / at_least(length(slopes) + more)))
    normal = rows / at_least(length(rows) + eps)
    free = steps - normal * inner(normal, steps)
    return xp.reshape(free, u.shape), xp.max(cosine) < delta / rows.shape[1] ** 0.5
