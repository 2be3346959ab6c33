"""Euclidean space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import check_number
from refopt.manifolds.base import Manifold


@dataclass(frozen=True)
class Euclidean(Manifold):
    """Euclidean space: everything is what it is called.

    Parameters
    ----------
    axes : int
        How many of the last axes are one point; with 0 every entry is a line of its own.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> refopt.manifold("euclidean").exp(np.array([1.0]), np.array([0.5]))
    array([1.5])
    """

    name = "euclidean"
    axes: int = 1  # type: ignore[misc]

    def __post_init__(self) -> None:
        check_number(self.axes, "int [0, inf)", "axes")

    def _project(self, x: Array) -> Array:
        return namespace(x).asarray(x, copy=True)

    def _tangent(self, x: Array, u: Array) -> Array:
        return namespace(u).asarray(u, copy=True)

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        return u * v if self.axes == 0 else super()._inner(x, u, v)

    def _exp(self, x: Array, u: Array) -> Array:
        return x + u

    def _log(self, x: Array, y: Array) -> Array:
        return y - x

    def _dist(self, x: Array, y: Array) -> Array:
        d: Any = y - x
        return self.norm(x, d)

    def _random(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(shape)
