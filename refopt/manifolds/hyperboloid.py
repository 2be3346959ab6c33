"""The hyperboloid, a model of hyperbolic space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ShapeError
from refopt.core.hyper import check_number
from refopt.manifolds.base import Manifold
from refopt.manifolds.vectors import dot, length, over


@dataclass(frozen=True)
class Hyperboloid(Manifold):
    """The sheet ``<x, x> = -1/c``, x_0 > 0, of Minkowski space, ``<x, y> = -x_0 y_0 + Σ x_i y_i``: curvature -c.

    ``exp_x(u) = cosh(√c ||u||) x + sinh(√c ||u||) u / (√c ||u||)``; along the last axis, the time first.

    Parameters
    ----------
    curvature : float
        c > 0.

    Notes
    -----
    Far from the centre coordinates grow exponentially and their differences lose digits: at distance r, e^{2r} of them.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> M = refopt.manifold("hyperboloid")
    >>> print(M.dist(np.array([1.0, 0.0]), M.project(np.array([0.0, np.sinh(2.0)]))).round(12))
    2.0
    """

    name = "hyperboloid"
    second_order = False
    curvature: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.curvature, "(0, inf)", "curvature")

    def _check_shape(self, shape: tuple[int, ...], label: str) -> None:
        if shape[0] < 2:
            raise ShapeError(f"{label}: wanted at least two coordinates, got shape {shape}")

    def lorentz(self, x: Array, y: Array) -> Array:
        """Return Minkowski's product, with an axis of one."""
        return dot(x[..., 1:], y[..., 1:]) - x[..., :1] * y[..., :1]

    def _size(self, u: Array) -> Array:
        """Return √c times the length of a tangent vector."""
        xp, square = namespace(u), self.lorentz(u, u)
        return math.sqrt(self.curvature) * xp.sqrt(xp.where(square > 0, square, xp.zeros_like(square)))

    def _project(self, x: Array) -> Array:
        xp, space = namespace(x), x[..., 1:]
        radius = xp.full_like(x[..., :1], 1 / math.sqrt(self.curvature))
        return xp.concat([length(xp.concat([radius, space], axis=-1)), space], axis=-1)

    def _tangent(self, x: Array, u: Array) -> Array:
        return u + self.curvature * self.lorentz(x, u) * x

    def _gradient(self, x: Array, g: Array) -> Array:
        return self._tangent(x, namespace(g).concat([-g[..., :1], g[..., 1:]], axis=-1))

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        return self.lorentz(u, v)[..., 0]

    def _exp(self, x: Array, u: Array) -> Array:
        xp, t = namespace(x), self._size(u)
        return self._project(xp.cosh(t) * x + over(xp.sinh, t) * u)

    def _angle(self, x: Array, y: Array) -> Array:
        """Return √c times the distance, with an axis of one."""
        return 2 * namespace(x).asinh(self._size(x - y) / 2)

    def _log(self, x: Array, y: Array) -> Array:
        t = self._angle(x, y)
        return self._tangent(x, y - x) / over(namespace(x).sinh, t)

    def _dist(self, x: Array, y: Array) -> Array:
        return self._angle(x, y)[..., 0] / math.sqrt(self.curvature)

    def _transport(self, x: Array, y: Array, v: Array) -> Array:
        c = self.curvature
        return v + c * self.lorentz(y, v) / (1 - c * self.lorentz(x, y)) * (x + y)

    def _random(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return self._project(rng.standard_normal(shape) / math.sqrt(self.curvature))
