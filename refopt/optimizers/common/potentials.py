"""Mirror steps that more than one method makes: without constraints, on the simplex, in a p-norm's coordinates."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError
from refopt.core.params import Params, leaves, map_leaves


def check_simplex(x: Params, owner: str) -> None:
    """Raise unless all entries are positive and sum to one over all leaves, to the dtype's square root of eps."""
    total = math.fsum(float(namespace(a).sum(a)) for a in leaves(x).values())
    least = min(float(namespace(a).min(a)) for a in leaves(x).values())
    first = next(iter(leaves(x).values()))
    slack = float(namespace(first).finfo(first.dtype).eps) ** 0.5
    if least <= 0.0 or abs(total - 1.0) > slack:
        raise ArgumentError(
            f"{owner}: x: on the simplex wanted positive entries that sum to 1, got the sum {total:g} and the least"
            f" entry {least:g}"
        )


def simplex_step(x: Params, g: Params, eta: float, power: float = 1.0) -> Params:
    """Return the point of the simplex proportional to ``(x exp(-eta g))^power``, entropy's mirror step."""

    def logits(a: Array, b: Array) -> Array:
        return power * (namespace(a).log(a) - eta * b)

    z = map_leaves(logits, x, g)
    # The largest exponent is zero, so that the sum is at least one.
    top = max(float(namespace(a).max(a)) for a in leaves(z).values())
    w = map_leaves(lambda a: namespace(a).exp(a - top), z)
    total = math.fsum(float(namespace(a).sum(a)) for a in leaves(w).values())
    # An entry that rounds to zero would stay there for ever.
    return map_leaves(_positive, params.scale(1.0 / total, w))


def _positive(a: Array) -> Array:
    xp = namespace(a)
    least = float(xp.finfo(a.dtype).smallest_normal)
    return xp.where(a < least, least * xp.ones_like(a), a)
