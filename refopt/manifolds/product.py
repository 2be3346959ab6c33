"""Products of manifolds: one for each named leaf of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentTypeError, ShapeError
from refopt.core.params import Params
from refopt.manifolds.base import Manifold


@dataclass(frozen=True)
class Product(Manifold):
    """A product: points and tangent vectors are dicts of arrays, every map goes leaf by leaf.

    The metric is the sum over leaves and over the stacks in them, the distance the root of the sum of squares.

    Parameters
    ----------
    factors : dict of str to Manifold

    Examples
    --------
    >>> import numpy as np, refopt
    >>> M = refopt.manifold("product", factors={"a": refopt.manifold("sphere"), "b": refopt.manifold("euclidean")})
    >>> x = {"a": np.array([1.0, 0.0]), "b": np.array([0.0])}
    >>> print(M.dist(x, {"a": np.array([0.0, 1.0]), "b": np.array([2.0])}).round(6))
    2.543109
    """

    name = "product"
    factors: Mapping[str, Manifold] = field(default_factory=dict)

    def __post_init__(self) -> None:
        good = isinstance(self.factors, Mapping) and self.factors
        if not good or not all(isinstance(m, Manifold) for m in self.factors.values()):
            raise ArgumentTypeError(f"factors: wanted a dict of manifolds, got {self.factors!r}")

    @property
    def isometric(self) -> bool:  # type: ignore[override]
        """Whether all of them are."""
        return all(m.isometric for m in self.factors.values())

    @property
    def second_order(self) -> bool:  # type: ignore[override]
        """Whether all of them are."""
        return all(m.second_order for m in self.factors.values())

    def _checked(self, **arrays: Any) -> list[Any]:
        for label, value in arrays.items():
            if not isinstance(value, dict):
                raise ArgumentTypeError(f"{label}: wanted a dict of arrays, got {type(value).__qualname__}")
            if value.keys() != self.factors.keys():
                raise ShapeError(
                    f"{label}: wanted the names {', '.join(self.factors)}, got {', '.join(value)}"
                )
        return list(arrays.values())

    def _each(self, method: str, *points: Params) -> Params:
        return {k: getattr(m, method)(*(p[k] for p in points)) for k, m in self.factors.items()}

    def _project(self, x: Params) -> Params:
        return self._each("project", x)

    def _tangent(self, x: Params, u: Params) -> Params:
        return self._each("tangent", x, u)

    def _gradient(self, x: Params, g: Params) -> Params:
        return self._each("gradient", x, g)

    def _exp(self, x: Params, u: Params) -> Params:
        return self._each("exp", x, u)

    def _retract(self, x: Params, u: Params) -> Params:
        return self._each("retract", x, u)

    def _log(self, x: Params, y: Params) -> Params:
        return self._each("log", x, y)

    def _transport(self, x: Params, y: Params, v: Params) -> Params:
        return self._each("transport", x, y, v)

    def _inner(self, x: Params, u: Params, v: Params) -> Array:
        return sum(map(_total, self._each("inner", x, u, v).values()))

    def _dist(self, x: Params, y: Params) -> Array:
        squares = {k: d * d for k, d in self._each("dist", x, y).items()}
        return sum(map(_total, squares.values())) ** 0.5

    def random(self, shape: Any, rng: np.random.Generator | int = 0) -> Any:
        """Return random points; `shape` is a dict of shapes."""
        rng = np.random.default_rng(rng)
        return {k: m.random(shape[k], rng) for k, m in self.factors.items()}

    def random_tangent(self, x: Params, rng: np.random.Generator | int = 0) -> Any:
        """Return a random tangent vector at `x`."""
        rng = np.random.default_rng(rng)
        return {k: m.random_tangent(x[k], rng) for k, m in self.factors.items()}

    def check(self, x: Params, name: str = "x") -> None:
        """Raise unless every leaf of `x` is on its manifold."""
        self._checked(**{name: x})
        for k, m in self.factors.items():
            m.check(x[k], f"{name}[{k!r}]")


def _total(values: Array) -> Array:
    return namespace(values).sum(values)
