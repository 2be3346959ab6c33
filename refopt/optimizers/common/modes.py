"""Tensors by their modes: Gram matrices, products along one axis."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.matrix.products import gram


def mode_gram(G: Array, axis: int) -> Array:
    """Return ``mat_i(G) mat_i(G)^T``: inner products of the slices along `axis`."""
    xp = namespace(G)
    if G.ndim == 2:
        return gram(xp.matrix_transpose(G) if axis else G)
    return gram(xp.reshape(xp.moveaxis(G, axis, 0), (G.shape[axis], -1)))


def mode_product(G: Array, axis: int, M: Array) -> Array:
    """Return G with `axis` multiplied by `M`: ``sum_j G[.., j, ..] M[j, k]``."""
    if axis == G.ndim - 1:
        return G @ M
    xp = namespace(G)
    return xp.moveaxis(xp.moveaxis(G, axis, -1) @ M, -1, axis)
