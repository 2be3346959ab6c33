"""Two quadratics with minima of their own: the smallest problem with a trade-off, all of it known."""

from __future__ import annotations

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, frozen
from refopt.problems.quadratic import CONVEX_OPTIMIZATION


@register("two-quadratics", kind="problem", source=CONVEX_OPTIMIZATION, where="Section 4.7.4, scalarization")
class TwoQuadratics(Problem):
    """Two objectives ``f_i(x) = (x - c_i)^T H_i (x - c_i) / 2``; the value is their mean.

    H_i has the eigenvalues of a geometric progression from 1 / `condition_number` to 1, in a basis of its own; c_i is
    drawn from the standard normal distribution. The Pareto set is the curve `pareto`.

    Parameters
    ----------
    n : int
        Number of unknowns, at least 2.
    condition_number : float
        Of H_1 and H_2, at least 1.
    seed : int
        Of bases and minima.

    Attributes
    ----------
    centers : array of shape (2, n)
        c_1 and c_2.
    hessians : array of shape (2, n, n)
    solution, optimum, lipschitz, strong_convexity
        Of the mean objective.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        A number out of its range.

    Examples
    --------
    >>> from refopt.problems.two_quadratics import TwoQuadratics
    >>> p = TwoQuadratics(n=3)
    >>> p.jacobian(p.start()).shape
    (2, 3)
    """

    def __init__(self, n: int = 4, condition_number: float = 5.0, seed: int = 0) -> None:
        check_number(n, "int [2, inf)", "n")
        check_number(condition_number, "[1, inf)", "condition_number")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        rng = generator(seed, "problem")
        self.n = int(n)
        spectrum = np.geomspace(1 / condition_number, 1.0, self.n)
        self.centers = frozen(rng.standard_normal((2, self.n)))
        bases = [np.linalg.qr(rng.standard_normal((self.n, self.n)))[0] for _ in range(2)]
        self.hessians = frozen([(q * spectrum) @ q.T for q in bases])
        self._mean_hessian = frozen(np.mean(self.hessians, axis=0))
        self.solution = self.pareto(0.5)
        self.optimum = float(self.value(self.solution))
        values = np.linalg.eigvalsh(self._mean_hessian)
        self.lipschitz, self.strong_convexity = float(values[-1]), float(values[0])

    def start(self, seed: int = 0) -> Array:
        """Return a normal start of deviation 3."""
        return 3.0 * generator(seed, "start").standard_normal(self.n)

    def pareto(self, share: float) -> np.ndarray:
        """Return the minimiser of ``share f_1 + (1 - share) f_2``: for shares in [0, 1] the Pareto set."""
        check_number(share, "[0, 1]", "share")
        weighted = self.hessians * np.array([share, 1.0 - share])[:, None, None]
        return np.linalg.solve(weighted.sum(axis=0), np.einsum("ijk,ik->j", weighted, self.centers))

    def jacobian(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradients ``H_i (x - c_i)``, one a row."""
        check_batch(batch, None)
        check_point(x, {"": (self.n,)})
        away = x - self._data("centers", x)
        return namespace(x).sum(self._data("hessians", x) * away[:, None, :], axis=2)

    def objectives(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f_1 and f_2, shape (2,)."""
        rows = self.jacobian(x, batch)
        return namespace(x).sum(rows * (x - self._data("centers", x)), axis=1) / 2

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the mean of the objectives."""
        return namespace(x).sum(self.objectives(x, batch)) / 2

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient of the mean objective."""
        return namespace(x).sum(self.jacobian(x, batch), axis=0) / 2

    def hvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the mean of H_1 and H_2 times v."""
        check_batch(batch, None)
        check_point(v, {"": (self.n,)}, "v")
        return self._data("_mean_hessian", x) @ v
