"""The largest singular value of a large matrix, to rounding, without the others."""

from __future__ import annotations

import math

import numpy as np

from refopt.core.arrays import Array, like, namespace, norm

# Up to this order all singular values together cost no more.
DENSE, MOST = 192, 400


def largest_singular(A: Array) -> float:
    """Return the spectral norm of a matrix.

    Lanczos' bidiagonalisation from a fixed vector, orthogonalised on one side: 30 to 100 pairs of products in place of all
    singular values, until the largest has stood still for eight of them. Of a matrix on which that is not reached within `MOST`
    pairs, all singular values are found.

    Parameters
    ----------
    A : array of shape (m, n)

    Returns
    -------
    float
    """
    xp = namespace(A)
    if min(A.shape) <= DENSE:
        return float(xp.linalg.matrix_norm(A, ord=2))
    top = float(xp.max(xp.abs(A)))
    if not 0.0 < top < math.inf:
        return top
    A, eps = A / top, float(xp.finfo(A.dtype).eps)
    # Without a pattern that a matrix could have, and the same in every library.
    v = like(np.random.default_rng(0).standard_normal(A.shape[1]), A)
    v = v / norm(v)
    u, V = A @ v, v[None, :]
    diagonal, beside = [norm(u)], list[float]()
    found, still = 0.0, 0
    for k in range(1, MOST + 1):
        small = 16.0 * eps * max(*diagonal, *beside, 0.0)
        below = 0.0
        if diagonal[-1] > small:
            u = u / diagonal[-1]
            w = (u @ A) - diagonal[-1] * v
            w, before = w - (V @ w) @ V, norm(w)
            below = norm(w)
            if below < 0.7 * before:  # What is left of the earlier ones counts.
                w = w - (V @ w) @ V
                below = norm(w)
        ended = below <= small
        if ended or k % 4 == 0:
            last, found = found, float(np.linalg.norm(np.diag(diagonal) + np.diag(beside, 1), 2))
            still = still + 1 if abs(found - last) <= 2.0 * eps * found else 0
            if ended or still == 2:
                return top * found
        v = w / below
        V = xp.concat([V, v[None, :]])
        u = A @ v - below * u
        diagonal.append(norm(u))
        beside.append(below)
    return top * float(xp.linalg.matrix_norm(A, ord=2))
