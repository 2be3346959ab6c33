"""Parameters as one vector of their library, and matrices of that order laid out by products."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from refopt.core.arrays import Array, like, namespace
from refopt.core.params import Params, leaves, rebuild


def joined(x: Params) -> Array:
    """Return all leaves as one vector of their library, in the dict's order."""
    parts = [namespace(v).reshape(v, (-1,)) for v in leaves(x).values()]
    return namespace(parts[0]).concat(parts)


def parted(vector: Array, x: Params) -> Params:
    """Return a vector in the form of `x`."""
    out, start, xp = {}, 0, namespace(vector)
    for name, leaf in leaves(x).items():
        stop = start + math.prod(leaf.shape)
        out[name] = xp.reshape(vector[start:stop], leaf.shape)
        start = stop
    return rebuild(x, out)


def matrix(product: Callable[[Params], Params], x: Params) -> Array:
    """Return the matrix that `product` multiplies parameters by, one product a column."""
    flat = joined(x)
    columns = [joined(product(parted(like(unit, flat), x))) for unit in np.eye(flat.shape[0])]
    return namespace(flat).stack(columns, axis=1)


def symmetric_matrix(product: Callable[[Params], Params], x: Params) -> Array:
    """Return the symmetric part of the matrix that `product` multiplies by, one product a parameter."""
    M = matrix(product, x)
    return (M + namespace(M).matrix_transpose(M)) / 2.0
