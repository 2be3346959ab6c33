"""What every manifold offers, and the checks of what it is given."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from refopt.core.arrays import Array, check_array, namespace
from refopt.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    CapabilityError,
    DtypeError,
    ShapeError,
    UnknownNameError,
    nearest,
)
from refopt.core.guard import SEEDS, explained
from refopt.core.hyper import check_number


def _named(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what an operation was given, by name."""
    return {**dict(zip([*inspect.signature(operation).parameters][1:], args)), **kwargs}


def _generator(rng: Any) -> np.random.Generator:
    """Return a generator as it is, or the one of a seed."""
    if isinstance(rng, np.random.Generator):
        return rng
    check_number(rng, SEEDS, "rng")
    return np.random.default_rng(int(rng))


def _explained(operation: Any) -> Any:
    """Say, typed, what an operation was given where array code fails on it, and let NumPy warn of nothing."""

    @functools.wraps(operation)
    def call(self: Manifold, *args: Any, **kwargs: Any) -> Any:
        label = f"{self.name}.{operation.__name__}"
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return explained(operation, label, lambda: _named(operation, args, kwargs), (self, *args), kwargs)

    return call


@dataclass(frozen=True)
class Manifold:
    """Base of the manifolds: an array holds a stack of points, the last `axes` axes are one point.

    Tangent vectors are given as arrays of the point's shape. Inner products and distances have the shape of the stack.
    Everything runs on any array-API library, in the dtype given. Shapes and dtypes are checked, values are not: what
    is not finite comes out not finite. `check` tells whether a point is on the manifold.

    A subclass gives the rules with an underscore: ``_project``, ``_tangent``, ``_gradient``, ``_inner``, ``_exp``,
    ``_random``, and, where they are known in closed form, ``_log``, ``_dist`` and ``_transport``.

    Attributes
    ----------
    name : str
    axes : int
        How many of the last axes are one point.
    isometric : bool
        Whether `transport` keeps inner products: it is parallel along the shortest geodesic.
    second_order : bool
        Whether `retract` agrees with `exp` up to the square of the vector.
    """

    name: ClassVar[str] = ""
    axes: ClassVar[int] = 1
    isometric: ClassVar[bool] = True
    second_order: ClassVar[bool] = True

    def _checked(self, **arrays: Any) -> list[Array]:
        out: list[Array] = []
        for label, value in arrays.items():
            a = check_array(value, label, min_ndim=self.axes, finite=True)
            self._check_shape(tuple(a.shape[a.ndim - self.axes :]), label)
            if out and tuple(a.shape) != tuple(out[0].shape):
                raise ShapeError(f"{label}: wanted shape {tuple(out[0].shape)} like x, got {tuple(a.shape)}")
            if out and a.dtype != out[0].dtype:
                raise DtypeError(f"{label}: wanted dtype {out[0].dtype} like x, got {a.dtype}")
            out.append(a)
        return out

    def _check_shape(self, shape: tuple[int, ...], label: str) -> None:
        """Raise unless one point may have `shape`."""
        if 0 in shape:
            raise ShapeError(f"{label}: is empty, shape {shape}")

    def spread(self, values: Array) -> Array:
        """Return numbers of the stack's shape with an axis of one for each axis of a point.

        Parameters
        ----------
        values : array
            Of the stack's shape.

        Returns
        -------
        array
            That broadcasts against points.
        """
        return namespace(values).reshape(values, (*values.shape, *[1] * self.axes))

    @_explained
    def project(self, x: Array) -> Array:
        """Return the point of the manifold nearest to `x` (or near it, where the manifold is open).

        Parameters
        ----------
        x : array
            Any array of the manifold's shape.

        Returns
        -------
        array
            Of the shape of `x`.
        """
        return self._project(*self._checked(x=x))

    @_explained
    def tangent(self, x: Array, u: Array) -> Array:
        """Return the tangent vector at `x` nearest to the ambient vector `u`.

        Parameters
        ----------
        x : array
            A stack of points.
        u : array
            Any vectors, of its shape.

        Returns
        -------
        array
            Of the shape of `x`.
        """
        return self._tangent(*self._checked(x=x, u=u))

    @_explained
    def gradient(self, x: Array, g: Array) -> Array:
        """Return the Riemannian gradient, ``<grad, v>_x = sum(g v)`` for tangent v, from the Euclidean one.

        Parameters
        ----------
        x : array
            A stack of points.
        g : array
            Euclidean gradients, of its shape.

        Returns
        -------
        array
            Of the shape of `x`.
        """
        return self._gradient(*self._checked(x=x, g=g))

    @_explained
    def inner(self, x: Array, u: Array, v: Array) -> Array:
        """Return the inner products of tangent vectors at `x`, of the stack's shape.

        Parameters
        ----------
        x : array
            A stack of points.
        u, v : array
            Tangent vectors at `x`, of its shape.

        Returns
        -------
        array
            Of the stack's shape.
        """
        return self._inner(*self._checked(x=x, u=u, v=v))

    @_explained
    def norm(self, x: Array, u: Array) -> Array:
        """Return the lengths of tangent vectors at `x`, of the stack's shape.

        Parameters
        ----------
        x : array
            A stack of points.
        u : array
            Tangent vectors at `x`, of its shape.

        Returns
        -------
        array
            Of the stack's shape.
        """
        squares = self.inner(x, u, u)
        xp = namespace(squares)
        return xp.sqrt(xp.where(squares > 0, squares, xp.zeros_like(squares)))

    @_explained
    def exp(self, x: Array, u: Array) -> Array:
        """Return the end of the geodesic that starts at `x` with the velocity `u`, after time 1.

        Parameters
        ----------
        x : array
            A stack of points.
        u : array
            Tangent vectors at `x`, of its shape.

        Returns
        -------
        array
            Of the shape of `x`.
        """
        return self._exp(*self._checked(x=x, u=u))

    @_explained
    def retract(self, x: Array, u: Array) -> Array:
        """Return a point that agrees with ``exp(x, u)`` to first order, and is cheaper where there is such a map.

        Parameters
        ----------
        x : array
            A stack of points.
        u : array
            Tangent vectors at `x`, of its shape.

        Returns
        -------
        array
            Of the shape of `x`.
        """
        return self._retract(*self._checked(x=x, u=u))

    @_explained
    def log(self, x: Array, y: Array) -> Array:
        """Return the shortest tangent vector at `x` with ``exp(x, u) = y``.

        Parameters
        ----------
        x, y : array
            Stacks of points, of one shape.

        Returns
        -------
        array
            Of the shape of `x`.

        Raises
        ------
        CapabilityError
            It has no closed form on this manifold.
        """
        return self._log(*self._checked(x=x, y=y))

    @_explained
    def dist(self, x: Array, y: Array) -> Array:
        """Return the lengths of the shortest geodesics from `x` to `y`, of the stack's shape.

        Parameters
        ----------
        x, y : array
            Stacks of points, of one shape.

        Returns
        -------
        array
            Of the stack's shape.

        Raises
        ------
        CapabilityError
            It has no closed form on this manifold.
        """
        return self._dist(*self._checked(x=x, y=y))

    @_explained
    def transport(self, x: Array, y: Array, v: Array) -> Array:
        """Return the tangent vector `v` at `x` carried to `y`: parallel where `isometric`, else projected.

        Parameters
        ----------
        x, y : array
            Stacks of points, of one shape.
        v : array
            Tangent vectors at `x`, of its shape.

        Returns
        -------
        array
            Of the shape of `x`. Tangent vectors at `y`.
        """
        return self._transport(*self._checked(x=x, y=y, v=v))

    @_explained
    def random(self, shape: Any, rng: np.random.Generator | int = 0) -> np.ndarray:
        """Return random points as float64 NumPy.

        Parameters
        ----------
        shape : int or tuple of int
            Of the whole stack, a point's axes last.
        rng : numpy.random.Generator or int
            A generator or a seed.

        Returns
        -------
        numpy.ndarray
            Of that shape.

        Raises
        ------
        ShapeError
            No point has this shape.
        """
        if isinstance(shape, (str, dict, set)) or not isinstance(shape, (int, Iterable)):
            raise ArgumentTypeError(f"shape: wanted an int or a tuple of int, got {shape!r}")
        wanted = (shape,) if isinstance(shape, int) else tuple(shape)
        for n in wanted:
            check_number(n, "int [0, inf)", "shape")
        if len(wanted) < self.axes:
            raise ShapeError(f"shape: wanted at least {self.axes} axes, got {wanted}")
        self._check_shape(wanted[len(wanted) - self.axes :], "shape")
        return self._random(wanted, _generator(rng))

    @_explained
    def random_tangent(self, x: Array, rng: np.random.Generator | int = 0) -> np.ndarray:
        """Return a random tangent vector at `x` (float64 NumPy).

        Parameters
        ----------
        x : array
            A stack of points.
        rng : numpy.random.Generator or int
            A generator or a seed.

        Returns
        -------
        numpy.ndarray
            Of the shape of `x`.
        """
        (x,) = self._checked(x=x)
        return self._tangent(x, _generator(rng).standard_normal(x.shape))

    @_explained
    def check(self, x: Array, name: str = "x") -> None:
        """Raise unless `x` is on the manifold, to a thousand times the rounding of its dtype.

        Parameters
        ----------
        x : array
            A stack of points.
        name : str
            What an error calls it.

        Raises
        ------
        ArgumentError, ArgumentTypeError, DtypeError, ShapeError
        """
        if not isinstance(name, str):
            raise ArgumentTypeError(f"name: wanted a str, got {type(name).__qualname__}")
        (x,) = self._checked(**{name: x})
        xp = namespace(x)
        size = max(1.0, float(xp.max(xp.abs(x))))
        gap = float(xp.max(xp.abs(self._project(x) - x)))
        if not gap <= 1e3 * math.prod(x.shape[x.ndim - self.axes :]) * float(xp.finfo(x.dtype).eps) * size:
            raise ArgumentError(
                f"{name}: is not on {self!r}, the nearest point of it is off by {gap:.3g}; project it first"
            )

    def _project(self, x: Array) -> Array:
        raise NotImplementedError

    def _tangent(self, x: Array, u: Array) -> Array:
        raise NotImplementedError

    def _gradient(self, x: Array, g: Array) -> Array:
        return self._tangent(x, g)

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        return namespace(x).sum(u * v, axis=tuple(range(-self.axes, 0)))

    def _exp(self, x: Array, u: Array) -> Array:
        raise NotImplementedError

    def _retract(self, x: Array, u: Array) -> Array:
        return self._project(x + u)

    def _log(self, x: Array, y: Array) -> Array:
        raise CapabilityError(f"log: no closed form is known on {self!r}")

    def _dist(self, x: Array, y: Array) -> Array:
        raise CapabilityError(f"dist: no closed form is known on {self!r}")

    def _transport(self, x: Array, y: Array, v: Array) -> Array:
        return self._tangent(y, v)

    def _random(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return self._project(rng.standard_normal(shape))


def manifold(name: str, **options: Any) -> Manifold:
    """Return a manifold by name.

    Parameters
    ----------
    name : str
        ``"euclidean"``, ``"sphere"``, ``"stiefel"``, ``"grassmann"``, ``"spd"``, ``"poincare-ball"``, ``"hyperboloid"``
        or ``"product"``.
    options
        The manifold's own, such as ``curvature``.

    Returns
    -------
    Manifold
        With `exp`, `log`, `dist`, `transport`, `gradient`, `retract`, ...

    Raises
    ------
    UnknownNameError, ArgumentTypeError, ArgumentError

    Examples
    --------
    >>> import numpy as np, refopt
    >>> M = refopt.manifold("poincare-ball", curvature=1.0)
    >>> x, y = np.array([0.5, 0.0]), np.array([0.0, 0.5])
    >>> print(M.exp(x, M.log(x, y)).round(12) + 0.0, M.dist(x, y).round(6))
    [0.  0.5] 1.6807
    """
    from refopt import manifolds

    known = [m.name.replace("_", "-") for m in pkgutil.iter_modules(manifolds.__path__)]
    if isinstance(name, str) and name in known:
        module = importlib.import_module(f"refopt.manifolds.{name.replace('-', '_')}")
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, Manifold) and cls.name == name:
                try:
                    inspect.signature(cls).bind(**options)
                except TypeError as error:
                    raise ArgumentTypeError(f"manifold {name!r}: {error}") from None
                return explained(cls, f"manifold {name!r}", options, (), options)
    known = [k for k in known if k not in ("base", "vectors")]
    raise UnknownNameError(
        f"no manifold is called {name!r}.{nearest(str(name), known)} There are: {', '.join(known)}"
    )
