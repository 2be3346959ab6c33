"""Rosenbrock's valley, chained, in a box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.problems.common import check_batch, check_point, frozen

ROSENBROCK = Source("rosenbrock-1960-automatic", "H. H. Rosenbrock",
    "An Automatic Method for Finding the Greatest or Least Value of a Function",
    venue="The Computer Journal 3(3), 175-184", doi="10.1093/comjnl/3.3.175")  # fmt: skip
ROOT = math.sqrt(2.0)


@register("rosenbrock", kind="problem", source=ROSENBROCK, where="the parabolic valley, for n = 2")
class Rosenbrock(Problem):
    """Rosenbrock's function, chained: ``f(x) = Σ_i 100 (x_{i+1} - x_i²)² + (1 - x_i)²``, i from 1 to n - 1.

    A sum of squares: ``f = ‖r‖²/2`` with ``r = √2 [10 (x_{i+1} - x_i²); 1 - x_i]``, for n = 2 as many as unknowns. `bounds`
    and `project` are those of the box.

    Parameters
    ----------
    n : int
        Number of unknowns, at least 2. From 4 on there is a second minimum near (-1, 1, ..., 1).
    lower, upper : float or array of shape (n,)
        The box, by default without bounds.

    Attributes
    ----------
    solution, optimum
        Ones and 0 where the box holds them, else None.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
        A number out of its range, bounds of another shape, or an empty box.

    Examples
    --------
    >>> from refopt.problems.rosenbrock import Rosenbrock
    >>> p = Rosenbrock()
    >>> round(float(p.value(p.start())), 6), float(p.value(p.solution))
    (24.2, 0.0)
    """

    least_squares = True

    def __init__(self, n: int = 2, lower: Any = -np.inf, upper: Any = np.inf) -> None:
        check_number(n, "int [2, inf)", "n")
        self.n = int(n)
        for name, bound in (("lower", lower), ("upper", upper)):
            side = np.asarray(bound, dtype=np.float64)
            if side.shape not in ((), (self.n,)):
                raise ShapeError(f"{name}: wanted a number or shape ({self.n},), got {side.shape}")
            setattr(self, name, frozen(np.broadcast_to(side, (self.n,))))
        if not np.all(self.lower < self.upper):  # type: ignore[attr-defined]
            raise ArgumentError(f"lower: wanted less than upper everywhere, got {lower!r} and {upper!r}")
        ones = np.ones(self.n)
        if np.all(self.lower <= ones) and np.all(ones <= self.upper):  # type: ignore[attr-defined]
            self.solution, self.optimum = frozen(ones), 0.0

    def start(self, seed: int = 0) -> Array:
        """Return (-1.2, 1, -1.2, ...), the usual start, whatever the seed, or the point of the box nearest to it."""
        return self.project(np.where(np.arange(self.n) % 2 == 0, -1.2, 1.0))

    def bounds(self, x: Array) -> tuple[Array, Array]:
        """Return the box's sides."""
        return self._data("lower", x), self._data("upper", x)

    def project(self, x: Array) -> Array:
        """Return the point of the box nearest to x."""
        check_point(x, {"": (self.n,)})
        lower, upper = self.bounds(x)
        xp = namespace(x)
        x = xp.where(x < lower, lower, x)
        return xp.where(x > upper, upper, x)

    def _parts(self, x: Array, batch: np.ndarray | None = None) -> tuple[Array, Array, Array]:
        """Return the x_i but for the last, ``x_{i+1} - x_i²`` and ``1 - x_i``."""
        check_batch(batch, None)
        check_point(x, {"": (self.n,)})
        left = x[:-1]
        return left, x[1:] - left * left, 1.0 - left

    @staticmethod
    def _joined(left: Array, right: Array) -> Array:
        """Return what belongs to the x_i but for the last, and to those but for the first, together."""
        xp = namespace(left)
        none = xp.zeros_like(left[:1])
        return xp.concat([left, none]) + xp.concat([none, right])

    def _along(self, x: Array, v: Array) -> Array:
        check_point(v, {"": (self.n,)}, "v")
        return v[1:] - 2.0 * x[:-1] * v[:-1]

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f(x)."""
        _, a, b = self._parts(x, batch)
        return namespace(x).sum(100.0 * a * a + b * b)

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient."""
        left, a, b = self._parts(x, batch)
        return self._joined(-400.0 * a * left - 2.0 * b, 200.0 * a)

    def directional(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the derivative along v."""
        _, a, b = self._parts(x, batch)
        return namespace(x).sum(200.0 * a * self._along(x, v) - 2.0 * b * v[:-1])

    def hvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the tridiagonal Hessian times v."""
        left, a, _ = self._parts(x, batch)
        da = self._along(x, v)
        return self._joined(-400.0 * (da * left + a * v[:-1]) + 2.0 * v[:-1], 200.0 * da)

    def third(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the third derivative along v, v and v."""
        self._parts(x, batch)
        return namespace(x).sum(-1200.0 * self._along(x, v) * v[:-1] * v[:-1])

    def residual(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return r(x), shape (2 n - 2,)."""
        _, a, b = self._parts(x, batch)
        return ROOT * namespace(x).concat([10.0 * a, b])

    def jvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Jacobian of r times v."""
        self._parts(x, batch)
        return ROOT * namespace(x).concat([10.0 * self._along(x, v), -v[:-1]])

    def vjp(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return the transposed Jacobian of r times u."""
        left, _, _ = self._parts(x, batch)
        self._check(u)
        first, second = u[: self.n - 1], u[self.n - 1 :]
        return ROOT * self._joined(-20.0 * left * first - second, 10.0 * first)

    def _check(self, u: Array) -> None:
        if tuple(getattr(u, "shape", ())) != (2 * self.n - 2,):
            raise ShapeError(
                f"u: wanted shape ({2 * self.n - 2},) like the residual, got {getattr(u, 'shape', ())}"
            )

    def loss_gradient(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return r, the gradient of ‖r‖²/2."""
        return self.residual(x, batch)

    def loss_hessian(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return u."""
        self._parts(x, batch)
        self._check(u)
        return u
