"""Robust phase retrieval: a vector from the absolute values of its products, some of them grossly wrong."""

from __future__ import annotations

import math

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, count, frozen, real_part, rows


@register(
    "phase-retrieval",
    kind="problem",
    source=Source(
        key="davis-2019-stochastic",
        authors="Damek Davis, Dmitriy Drusvyatskiy",
        title="Stochastic model-based minimization of weakly convex functions",
        arxiv="1803.06523",
    ),
    where="the example of robust phase retrieval",
)
class PhaseRetrieval(Problem):
    """Robust phase retrieval ``f(x) = mean_i |<a_i, x>^2 - b_i|``, with standard normal a_i.

    f is no smooth function: `grad` is the subgradient ``mean_i 2 sign(<a_i, x>^2 - b_i) <a_i, x> a_i``, sign(0) = 0. It
    is a composition of ``c_i(x) = <a_i, x>^2 - b_i`` (`residual`, `jvp`, `vjp`) with the mean of absolute values, and
    weakly convex.

    Parameters
    ----------
    n : int
        Number of unknowns.
    measurements : int, optional
        m; 8 n if left out.
    outliers : float
        The share of the b_i that are replaced by the square of a normal number of standard deviation 5, in [0, 1).
    seed : int
        Of the truth, the a_i and the outliers.

    Attributes
    ----------
    truth : array of shape (n,)
        Of norm 1; its negative is as good.
    solution, optimum
        The truth and 0 without outliers, else None.
    weak_convexity : float
        ρ, ``2 lambda_max(mean_i a_i a_i^T)``: f + ρ ‖x‖² / 2 is convex.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        A number out of its range.

    Examples
    --------
    >>> from refopt.problems.phase_retrieval import PhaseRetrieval
    >>> p = PhaseRetrieval(n=3)
    >>> float(p.value(-p.truth)), p.residual(p.start()).shape
    (0.0, (24,))
    """

    def __init__(
        self, n: int = 8, measurements: int | None = None, outliers: float = 0.0, seed: int = 0
    ) -> None:
        check_number(n, "int [1, inf)", "n")
        if measurements is not None:
            check_number(measurements, "int [1, inf)", "measurements")
        check_number(outliers, "[0, 1)", "outliers")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        rng = generator(seed, "problem")
        self.n, self.n_examples = int(n), 8 * int(n) if measurements is None else int(measurements)
        truth = rng.standard_normal(self.n)
        self.truth = frozen(truth / np.linalg.norm(truth))
        self.vectors = frozen(rng.standard_normal((self.n_examples, self.n)))
        clean = (self.vectors @ self.truth) ** 2
        wrong = rng.permutation(self.n_examples)[: math.floor(outliers * self.n_examples)]
        clean[wrong] = (5.0 * rng.standard_normal(wrong.size)) ** 2
        self.observations = frozen(clean)
        if not wrong.size:
            self.solution, self.optimum = self.truth, 0.0
        self.weak_convexity = 2.0 * float(np.linalg.norm(self.vectors, 2)) ** 2 / self.n_examples

    def start(self, seed: int = 0) -> Array:
        """Return a random vector of norm 1."""
        g = generator(seed, "start").standard_normal(self.n)
        return g / np.linalg.norm(g)

    def error(self, x: Array) -> float:
        """Return the distance to the truth or its negative, whichever is nearer."""
        truth = self._data("truth", x)
        xp = namespace(x)
        return min(math.sqrt(float(xp.sum((x - t) ** 2))) for t in (truth, -truth))

    def _parts(self, x: Array, batch: np.ndarray | None) -> tuple[Array, Array, Array]:
        """Return the a_i, ``<a_i, x>`` and c_i(x)."""
        check_point(x, {"": (self.n,)})
        check_batch(batch, self.n_examples)
        a = rows(self, "vectors", x, batch)
        along = a @ x
        return a, along, along * along - rows(self, "observations", x, batch)

    def _sign(self, c: Array) -> Array:
        xp = namespace(c)
        return xp.astype(xp.sign(real_part(c)), c.dtype)

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f(x), a 0-d array."""
        c = self._parts(x, batch)[2]
        return namespace(c).mean(self._sign(c) * c)

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return a subgradient, the gradient wherever there is one."""
        a, along, c = self._parts(x, batch)
        return a.T @ (2.0 * self._sign(c) * along) / count(self, batch)

    def residual(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the c_i(x), shape (B,)."""
        return self._parts(x, batch)[2]

    def jvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``2 <a_i, x> <a_i, v>``."""
        check_point(v, {"": (self.n,)}, "v")
        a, along, _ = self._parts(x, batch)
        return 2.0 * along * (a @ v)

    def vjp(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``sum_i 2 u_i <a_i, x> a_i``."""
        a, along, _ = self._parts(x, batch)
        if tuple(u.shape) != tuple(along.shape):
            raise ShapeError(f"u: wanted shape {tuple(along.shape)} like the residual, got {tuple(u.shape)}")
        return a.T @ (2.0 * u * along)

    def loss_gradient(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return a subgradient of the mean of absolute values at c(x)."""
        c = self._parts(x, batch)[2]
        return self._sign(c) / count(self, batch)

    def example_prox(self, x: Array, step: float, batch: np.ndarray | None = None) -> Array:
        """Return ``argmin_y f_i(y) + ||y - x||^2 / (2 step)`` of the batch's one example, in closed form.

        Along a_i the function is a parabola or its negative between the roots of c_i: of the stationary points of
        both and the two roots, the best.
        """
        a, along, c = self._parts(x, batch)
        if c.shape[0] != 1:
            raise ArgumentError(f"batch: the proximal point is of one example, got {c.shape[0]}")
        a, s, b = a[0, ...], float(along[0]), float(rows(self, "observations", x, batch)[0])
        q = float(namespace(a).sum(a * a))
        # y = x - t a: the shares t at which <a, y> is stationary or a root.
        shares = [
            2.0 * step * sign * s / (1.0 + 2.0 * step * sign * q)
            for sign in (1.0, -1.0)
            if 1.0 + 2.0 * step * sign * q
        ]
        shares += [(s - root) / q for root in (math.sqrt(b), -math.sqrt(b))] if q else [0.0]
        cost = [abs((s - t * q) ** 2 - b) + t * t * q / (2.0 * step) for t in shares]
        return x - shares[cost.index(min(cost))] * a
