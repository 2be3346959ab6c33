"""The Grassmann manifold of subspaces."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.arrays import Array, namespace
from refopt.manifolds.base import Manifold
from refopt.manifolds.stiefel import check_tall, polar, transposed


@dataclass(frozen=True)
class Grassmann(Manifold):
    """Subspaces of dimension p, each given by a matrix x of shape (n, p) with orthonormal columns.

    Tangent vectors are across x, ``x^T u = 0``. With ``u = U Σ V^T``, ``exp_x(u) = x V cos Σ V^T + U sin Σ V^T``; the distance
    is the norm of the principal angles.

    Notes
    -----
    Matrices that differ by a rotation of their columns are one point: ``exp(x, log(x, y))`` spans what y spans. The
    transport is parallel, and given in the columns of y.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> M = refopt.manifold("grassmann")
    >>> print(M.dist(np.eye(3)[:, :1], np.array([[0.6], [0.8], [0.0]])).round(6), round(float(np.arccos(0.6)), 6))
    0.927295 0.927295
    """

    name = "grassmann"
    axes = 2

    def _check_shape(self, shape: tuple[int, ...], label: str) -> None:
        check_tall(shape, label)

    def _project(self, x: Array) -> Array:
        return polar(x)

    def _tangent(self, x: Array, u: Array) -> Array:
        return u - x @ (transposed(x) @ u)

    def _exp(self, x: Array, u: Array) -> Array:
        xp = namespace(x)
        w, angles, vt = xp.linalg.svd(u, full_matrices=False)
        cos, sin = xp.cos(angles)[..., None, :], xp.sin(angles)[..., None, :]
        return ((x @ transposed(vt)) * cos + w * sin) @ vt

    def _principal(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        """Return directions across x, the angles to y, and the turns R, Q: columns of x R lean towards those of y Q."""
        xp = namespace(x)
        q, cos, rt = xp.linalg.svd(transposed(y) @ x, full_matrices=False)
        r = transposed(rt)
        across = self._tangent(x, y @ q - x @ r)
        sin = xp.sqrt(xp.sum(across * across, axis=-2))
        return across / xp.where(sin > 0, sin, xp.ones_like(sin))[..., None, :], xp.atan2(sin, cos), r, q

    def _log(self, x: Array, y: Array) -> Array:
        w, angles, r, _ = self._principal(x, y)
        return (w * angles[..., None, :]) @ transposed(r)

    def _dist(self, x: Array, y: Array) -> Array:
        xp, angles = namespace(x), self._principal(x, y)[1]
        return xp.sqrt(xp.sum(angles * angles, axis=-1))

    def _transport(self, x: Array, y: Array, v: Array) -> Array:
        xp = namespace(x)
        w, angles, r, q = self._principal(x, y)
        along = transposed(w) @ v
        # What lies along the geodesic's directions turns with them, the rest stays.
        bent = (xp.cos(angles) - 1)[..., :, None] * along
        back = xp.sin(angles)[..., :, None] * along
        moved = v + w @ bent - (x @ r) @ back
        return moved @ r @ transposed(q)
