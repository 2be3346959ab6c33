"""A lower level with many solutions, with and without a constraint that couples the players."""

from __future__ import annotations

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, square

LIU = Source("liu-2023-averaged", "R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang",
    "Averaged Method of Multipliers for Bi-Level Optimization without Lower-Level Strong Convexity",
    arxiv="2302.03407")  # fmt: skip
YAO = Source("yao-2024-constrained", "W. Yao, C. Yu, S. Zeng, J. Zhang",
    "Constrained Bi-Level Optimization: Proximal Lagrangian Value function Approach and Hessian-free Algorithm",
    arxiv="2401.16164")  # fmt: skip


@register("merely-convex-lower", kind="problem", source=LIU, where="the synthetic example", also=(YAO,))
class MerelyConvexLower(Problem):
    """Upper ``F = ‖x - y_2‖²/2 + ‖y_1 - 1‖²/2`` over lower ``f = ‖y_1‖²/2 - xᵀy_1``, in which y_2 is free.

    The lower player is the matrix with rows y_1 and y_2. All ones solve it. With `constrained`, f has ``1ᵀy_2`` more
    and the lower level is held to ``1ᵀ(x + y_1 + y_2) = 0``; then x = -0.3, y_1 = 0.7, y_2 = -0.4 in every coordinate.

    Parameters
    ----------
    n : int
        Of x, y_1 and y_2.
    constrained : bool

    Attributes
    ----------
    solution, optimum
        The optimistic one: of all best responses the upper level's best.
    equality : bool
        True: `constraint` is an equality.

    Raises
    ------
    ArgumentError, ArgumentTypeError

    Examples
    --------
    >>> from refopt.problems.merely_convex_lower import MerelyConvexLower
    >>> MerelyConvexLower(n=1).solution
    {'upper': array([1.]), 'lower': array([[1.],
           [1.]])}
    """

    equality = True

    def __init__(self, n: int = 3, constrained: bool = False) -> None:
        check_number(n, "int [1, inf)", "n")
        if constrained not in (True, False):
            raise ArgumentError(f"constrained: wanted True or False, got {constrained!r}")
        self.n, self._linear = int(n), 1.0 if constrained else 0.0
        self._shapes = {"upper": (self.n,), "lower": (2, self.n)}
        point = (-0.3, 0.7, -0.4) if constrained else (1.0, 1.0, 1.0)
        self.solution = {
            "upper": np.full(self.n, point[0]),
            "lower": np.repeat(np.array(point[1:])[:, None], self.n, axis=1),
        }
        if constrained:
            self.constraint, self.constraint_vjp, self.project = self._sum, self._sum_vjp, self._centred
        self.optimum = float(self.upper_value(self.solution))

    def start(self, seed: int = 0) -> Params:
        """Return a normal start."""
        rng = generator(seed, "start")
        return {name: rng.standard_normal(shape) for name, shape in self._shapes.items()}

    def _at(self, x: Params, batch: np.ndarray | None) -> tuple[Array, Array, Array]:
        check_batch(batch, None)
        check_point(x, self._shapes)
        return x["upper"], x["lower"][0, :], x["lower"][1, :]

    def upper_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return F."""
        u, y1, y2 = self._at(x, batch)
        return square(u - y2) / 2 + square(y1 - 1.0) / 2

    def upper_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of F by both players."""
        u, y1, y2 = self._at(x, batch)
        return {"upper": u - y2, "lower": namespace(u).stack([y1 - 1.0, y2 - u])}

    def upper_hvp(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return v: the Hessian of F by y is the identity."""
        self._at(x, batch)
        return 1.0 * v

    def upper_mixed(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return -v_2."""
        self._at(x, batch)
        return -v[1, :]

    def lower_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f."""
        u, y1, y2 = self._at(x, batch)
        xp = namespace(u)
        return square(y1) / 2 - xp.sum(u * y1) + self._linear * xp.sum(y2)

    def lower_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of f by both players."""
        u, y1, y2 = self._at(x, batch)
        return {"upper": -y1, "lower": namespace(u).stack([y1 - u, 0.0 * y2 + self._linear])}

    def lower_hvp(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return v_1 over zeros."""
        self._at(x, batch)
        return namespace(v).stack([v[0, :], 0.0 * v[1, :]])

    def lower_mixed(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return -v_1."""
        self._at(x, batch)
        return -v[0, :]

    def _sum(self, x: Params) -> Array:
        """Return the sum of all entries of both players, shape (1,)."""
        u, y1, y2 = self._at(x, None)
        xp = namespace(u)
        return xp.reshape(xp.sum(u) + xp.sum(y1) + xp.sum(y2), (1,))

    def _sum_vjp(self, x: Params, u: Array) -> Params:
        """Return u in every entry."""
        return {name: 0.0 * leaf + u for name, leaf in x.items()}

    def _centred(self, x: Params) -> Params:
        """Return the nearest point whose entries sum to zero."""
        mean = self._sum(x) / (3 * self.n)
        return {name: leaf - mean for name, leaf in x.items()}
