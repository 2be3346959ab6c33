"""The bilinear game: two players, one saddle, and gradients that turn around it."""

from __future__ import annotations

import numpy as np
from refopt.core.arrays import Array
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, frozen, product

COMPLEX = Source("lorraine-2021-complex", "J. Lorraine, D. Acuna, P. Vicol, D. Duvenaud",
    "Complex Momentum for Optimization in Games", arxiv="2102.08431")  # fmt: skip


@register("bilinear-game", kind="problem", source=COMPLEX, where="the bilinear game of the experiments")
class BilinearGame(Problem):
    """``F(x, y) = xᵀMy`` for the upper player, ``f = -F`` for the lower one; both at 0 is the only equilibrium.

    Parameters
    ----------
    n : int
        Of each player.
    condition_number : float
        M is diagonal, from 1 to so much, in geometric progression.

    Attributes
    ----------
    M : array of shape (n, n)
    solution, optimum
        Zeros, and 0.

    Raises
    ------
    ArgumentError, ArgumentTypeError

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.bilinear_game import BilinearGame
    >>> p, x = BilinearGame(n=1), {"upper": np.array([2.0]), "lower": np.array([3.0])}
    >>> p.upper_grad(x)["upper"], p.lower_grad(x)["lower"]
    (array([3.]), array([-2.]))
    """

    def __init__(self, n: int = 3, condition_number: float = 2.0) -> None:
        check_number(n, "int [1, inf)", "n")
        check_number(condition_number, "[1, inf)", "condition_number")
        self.n, self.optimum = int(n), 0.0
        self.M = frozen(np.diag(np.geomspace(1.0, condition_number, self.n)))
        self.solution = {"upper": np.zeros(self.n), "lower": np.zeros(self.n)}

    def start(self, seed: int = 0) -> Params:
        """Return a normal start of both players."""
        rng = generator(seed, "start")
        return {name: rng.standard_normal(self.n) for name in ("upper", "lower")}

    def upper_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return F."""
        check_batch(batch, None)
        check_point(x, {"upper": (self.n,), "lower": (self.n,)})
        return product(x["upper"], self._data("M", x) @ x["lower"])

    def upper_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of F by both players."""
        self.upper_value(x, batch)
        M = self._data("M", x)
        return {"upper": M @ x["lower"], "lower": x["upper"] @ M}

    def lower_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f."""
        return -self.upper_value(x, batch)

    def lower_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of f by both players."""
        return {name: -g for name, g in self.upper_grad(x, batch).items()}
