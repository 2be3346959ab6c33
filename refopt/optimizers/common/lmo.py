"""Steepest directions under a norm: its linear maximisers (Bernstein and Newhouse 2024, Pethick et al. 2025)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, lengths, namespace


def as_matrix(a: Array) -> Array:
    """Return `a` as a matrix: (first axis, rest); a vector becomes one column."""
    return namespace(a).reshape(a, (a.shape[0], -1) if a.ndim else (1, 1))


def polar_and_nuclear(G: Array) -> tuple[Array, Array]:
    """Return ``U V^T`` over the nonzero singular values of `G`, and their sum.

    A singular value counts as zero below ``max(m, n) eps`` of the largest, so that directions which are
    rounding alone do not move.
    """
    xp = namespace(G)
    U, S, Vh = xp.linalg.svd(G, full_matrices=False)
    cut = max(G.shape) * float(xp.finfo(G.dtype).eps) * xp.max(S)
    kept = xp.where(cut < S, xp.ones_like(S), xp.zeros_like(S))
    return (U * kept) @ Vh, xp.sum(S)


def divided(a: Array, by: Array) -> Array:
    """Return ``a / by``, and 0 where `by` is 0."""
    xp = namespace(a)
    return xp.where(by > 0.0, a / xp.where(by > 0.0, by, xp.ones_like(by)), xp.zeros_like(a))


def _euclid(G: Array, axis: int | None) -> Array:
    return lengths(G, axis, keepdims=True)


# What a matrix G of shape (d_out, d_in) gives under each norm: the maximiser D of <G, T> over |T| = 1,
# and the dual norm of G, which is that maximum.


def max_direction(G: Array) -> tuple[Array, Array]:
    """Entrywise maximum (ℓ1 → ℓ∞): ``sign(G)``, ``Σ |G|``."""
    xp = namespace(G)
    return xp.sign(G), xp.sum(xp.abs(G))


def frobenius_direction(G: Array) -> tuple[Array, Array]:
    """Euclidean: ``G / ‖G‖_F``, ``‖G‖_F``."""
    xp = namespace(G)
    size = _euclid(G, None)
    return divided(G, size), xp.sum(size)


def spectral_direction(G: Array) -> tuple[Array, Array]:
    """Spectral (ℓ2 → ℓ2): ``U V^T``, the nuclear norm."""
    return polar_and_nuclear(G)


def rms_direction(G: Array) -> tuple[Array, Array]:
    """RMS → RMS, ``‖T‖ = sqrt(d_in / d_out) ‖T‖_2``."""
    scale = math.sqrt(G.shape[0] / G.shape[1])
    D, nuclear = polar_and_nuclear(G)
    return scale * D, scale * nuclear


def column_direction(G: Array) -> tuple[Array, Array]:
    """ℓ1 → RMS, ``‖T‖ = max_j ‖column j‖ / sqrt(d_out)``: each column to RMS one."""
    xp = namespace(G)
    sizes, scale = _euclid(G, 0), math.sqrt(G.shape[0])
    return scale * divided(G, sizes), scale * xp.sum(sizes)


def row_direction(G: Array) -> tuple[Array, Array]:
    """ℓ2 → ℓ∞, ``‖T‖ = max_i ‖row i‖``: each row to length one."""
    xp = namespace(G)
    sizes = _euclid(G, 1)
    return divided(G, sizes), xp.sum(sizes)


DIRECTIONS = {
    "max": max_direction,
    "frobenius": frobenius_direction,
    "spectral": spectral_direction,
    "rms": rms_direction,
    "column": column_direction,
    "row": row_direction,
}
