"""The unit sphere."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.manifolds.base import Manifold
from refopt.manifolds.vectors import dot, length, over, unit


@dataclass(frozen=True)
class Sphere(Manifold):
    """The unit sphere: ``exp_x(u) = cos||u|| x + sin||u|| u / ||u||``; along the last axis.

    Parameters
    ----------
    carry : {"parallel", "projection"}
        What `transport` does; projection is cheaper, and geoopt's.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> M = refopt.manifold("sphere")
    >>> print(M.exp(np.array([1.0, 0.0]), np.array([0.0, np.pi / 2])).round(12))
    [0. 1.]
    """

    name = "sphere"
    carry: str = "parallel"

    def __post_init__(self) -> None:
        if self.carry not in ("parallel", "projection"):
            raise ArgumentError(f"carry: wanted 'parallel' or 'projection', got {self.carry!r}")

    @property
    def isometric(self) -> bool:  # type: ignore[override]
        """Whether `transport` is parallel."""
        return self.carry == "parallel"

    def _check_shape(self, shape: tuple[int, ...], label: str) -> None:
        if shape[0] < 2:
            raise ShapeError(f"{label}: wanted at least two coordinates, got shape {shape}")

    def _project(self, x: Array) -> Array:
        return unit(x)

    def _tangent(self, x: Array, u: Array) -> Array:
        return u - dot(x, u) * x

    def _exp(self, x: Array, u: Array) -> Array:
        xp, t = namespace(x), length(u)
        return unit(xp.cos(t) * x + over(xp.sin, t) * u)

    def _log(self, x: Array, y: Array) -> Array:
        xp = namespace(x)
        across = self._tangent(x, y - x)
        s = length(across)
        angle = 2 * xp.atan2(length(x - y), length(x + y))
        return xp.where(s > 0, angle / xp.where(s > 0, s, xp.ones_like(s)), xp.ones_like(s)) * across

    def _dist(self, x: Array, y: Array) -> Array:
        xp = namespace(x)
        return 2 * xp.atan2(length(x - y), length(x + y))[..., 0]

    def _transport(self, x: Array, y: Array, v: Array) -> Array:
        if self.carry == "projection":
            return self._tangent(y, v)
        return v - dot(y, v) / (1 + dot(x, y)) * (x + y)
