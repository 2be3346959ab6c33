"""Logistic regression on the sphere and on planes: a small problem with equality constraints."""

from __future__ import annotations

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import register
from refopt.core.rng import generator
from refopt.linear.iterative_sketching import HONG
from refopt.problems.common import check_point, frozen
from refopt.problems.logistic import Logistic


@register(
    "constrained-logistic",
    kind="problem",
    source=HONG,
    where="the experiment on constrained logistic regression",
)
class ConstrainedLogistic(Logistic):
    """Logistic regression with ``c(x) = [A x - b; ‖x‖² - 1] = 0``, on normal inputs and labels.

    A has standard normal entries and b is such that there are feasible points.

    Parameters
    ----------
    n : int
        Number of unknowns, at least 2.
    planes : int
        Rows of A, at most n - 2.
    n_examples : int
        At least 2.
    l2 : float
        Weight of the regulariser, at least 0.
    seed : int
        Of data and constraints.

    Attributes
    ----------
    equality : bool
        True: `constraint` is an equality.
    planes, offsets : array of shape (planes, n), (planes,)
        A and b.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        A number out of its range.

    Examples
    --------
    >>> from refopt.problems.constrained_logistic import ConstrainedLogistic
    >>> p = ConstrainedLogistic(n=4, planes=1)
    >>> p.constraint(p.start()).shape
    (2,)
    """

    equality = True

    def __init__(
        self, n: int = 3, planes: int = 1, n_examples: int = 20, l2: float = 0.0, seed: int = 0
    ) -> None:
        check_number(n, "int [2, inf)", "n")
        check_number(planes, f"int [0, {n - 2}]", "planes")
        check_number(n_examples, "int [2, inf)", "n_examples")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        rng = generator(seed, "problem")
        inputs = rng.standard_normal((n_examples, n))
        labels = rng.permutation(np.arange(n_examples) % 2)
        super().__init__((inputs, labels), l2=l2, intercept=False)
        point = rng.standard_normal(n)
        self.planes = frozen(rng.standard_normal((planes, n)))
        self.offsets = frozen(self.planes @ (point / np.linalg.norm(point)))

    def start(self, seed: int = 0) -> Array:
        """Return a random vector of norm 1."""
        g = generator(seed, "start").standard_normal(self.dimension)
        return g / np.linalg.norm(g)

    def constraint(self, x: Array) -> Array:
        """Return c(x), shape (planes + 1,)."""
        check_point(x, {"": (self.dimension,)})
        xp = namespace(x)
        away = self._data("planes", x) @ x - self._data("offsets", x)
        return xp.concat([away, xp.reshape(xp.sum(x * x) - 1.0, (1,))])

    def constraint_vjp(self, x: Array, u: Array) -> Array:
        """Return ``Aᵀu + 2 u_last x``."""
        check_point(x, {"": (self.dimension,)})
        self._check(u)
        return self._data("planes", x).T @ u[:-1] + 2.0 * u[-1] * x

    def constraint_hvp(self, x: Array, u: Array, v: Array) -> Array:
        """Return ``2 u_last v``."""
        check_point(x, {"": (self.dimension,)})
        check_point(v, {"": (self.dimension,)}, "v")
        self._check(u)
        return 2.0 * u[-1] * v

    def _check(self, u: Array) -> None:
        shape = (self.planes.shape[0] + 1,)
        if tuple(getattr(u, "shape", ())) != shape:
            raise ShapeError(f"u: wanted shape {shape} like the constraint, got {getattr(u, 'shape', ())}")
