"""All leaves as one vector in the library of the parameters, and back."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, namespace
from refopt.core.params import Params, leaves, rebuild


def joined(x: Params) -> Array:
    """Return the entries of all leaves, one after the other."""
    xp = namespace(next(iter(leaves(x).values())))
    return xp.concat([xp.reshape(leaf, (-1,)) for leaf in leaves(x).values()])


def split(flat: Array, x: Params) -> Params:
    """Return `flat` in the form of `x`."""
    out, start, xp = {}, 0, namespace(flat)
    for name, leaf in leaves(x).items():
        stop = start + math.prod(leaf.shape)
        out[name] = xp.reshape(flat[start:stop], leaf.shape)
        start = stop
    return rebuild(x, out)
