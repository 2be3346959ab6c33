"""Least squares over a denominator: total least squares, and sparse ratios, in a box."""

from __future__ import annotations

import itertools

import numpy as np
from refopt.core.arrays import Array, like, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, frozen, real_part

YUAN = Source(
    "yuan-2023-fractional",
    "G. Yuan",
    "Coordinate Descent Methods for Fractional Minimization",
    arxiv="2201.12691",
)
DENOMINATORS = ("total-least-squares", "top-k", "concave")


@register(
    "fractional-regression",
    kind="problem",
    source=YUAN,
    where="the structured fractional problem, with a quadratic f",
)
class FractionalRegression(Problem):
    """``F(x) = (‖A x - b‖²/2 + l1 ‖x‖_1) / g(x)`` on the box ``|x_i| <= bound``, with normal A, b.

    g is ``1 + ‖x‖²`` (l1 = 0, a wide box: total least squares), the sum of the k largest ``|x_i|``, or the concave
    ``1 + (n bound² - ‖x‖²)/2``.

    Parameters
    ----------
    n : int
        Number of unknowns, at least 1.
    rows : int
        Of A.
    denominator : {"total-least-squares", "top-k", "concave"}
        g.
    k : int
        Of the second, at most n.
    l1 : float
        At least 0.
    bound : float
        Positive.
    seed : int
        Of A and b.

    Attributes
    ----------
    matrix, target : array of shape (rows, n), (rows,)
        A and b.
    solution, optimum
        Of total least squares, where l1 is 0 and the box holds the solution; else None.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        A number out of its range.

    Examples
    --------
    >>> from refopt.problems.fractional_regression import FractionalRegression
    >>> p = FractionalRegression(n=3)
    >>> abs(float(p.value(p.solution)) - p.optimum) < 1e-14
    True
    """

    def __init__(
        self,
        n: int = 4,
        rows: int = 8,
        denominator: str = "total-least-squares",
        k: int = 1,
        l1: float = 0.0,
        bound: float = 100.0,
        seed: int = 0,
    ) -> None:
        check_number(n, "int [1, inf)", "n")
        check_number(rows, "int [1, inf)", "rows")
        if denominator not in DENOMINATORS:
            raise ArgumentError(f"denominator: wanted one of {', '.join(DENOMINATORS)}, got {denominator!r}")
        check_number(k, f"int [1, {n}]", "k")
        check_number(l1, "[0, inf)", "l1")
        check_number(bound, "(0, inf)", "bound")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        rng = generator(seed, "problem")
        self.n, self.denominator, self.k, self.l1, self.bound = (
            int(n),
            denominator,
            int(k),
            float(l1),
            float(bound),
        )
        self.matrix, self.target = frozen(rng.standard_normal((rows, n))), frozen(rng.standard_normal(rows))
        if denominator == "total-least-squares" and l1 == 0 and rows > n:
            # The right singular vector of the least singular value of [A, b], scaled to end in -1.
            values, right = np.linalg.svd(np.column_stack([self.matrix, self.target]))[1:]
            x = -right[-1, :-1] / right[-1, -1]
            if np.all(np.abs(x) <= bound):
                self.solution, self.optimum = frozen(x), float(values[-1] ** 2 / 2)

    def start(self, seed: int = 0) -> Array:
        """Return a normal start, in the box."""
        return np.clip(generator(seed, "start").standard_normal(self.n), -self.bound, self.bound)

    def _sizes(self, x: Array) -> tuple[Array, Array]:
        """Return the signs and the absolute values of x."""
        check_point(x, {"": (self.n,)})
        xp = namespace(x)
        sign = xp.astype(xp.sign(real_part(x)), x.dtype)
        return sign, sign * x

    def _largest(self, sizes: Array) -> Array:
        """Return ones at the k largest, zeros elsewhere."""
        xp = namespace(sizes)
        rank = xp.argsort(xp.argsort(real_part(sizes)))
        return xp.astype(rank >= self.n - self.k, sizes.dtype)

    def fraction(self, x: Array) -> tuple[Array, Array, Array]:
        """Return ``‖A x - b‖²/2``, ``l1 ‖x‖_1`` and g(x)."""
        xp, (_, sizes) = namespace(x), self._sizes(x)
        away = self._data("matrix", x) @ x - self._data("target", x)
        f, h, square = xp.sum(away * away) / 2, self.l1 * xp.sum(sizes), xp.sum(x * x)
        if self.denominator == "top-k":
            return f, h, xp.sum(sizes * self._largest(sizes))
        if self.denominator == "concave":
            return f, h, 1.0 + (self.n * self.bound**2 - square) / 2
        return f, h, 1.0 + square

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return F(x)."""
        check_batch(batch, None)
        f, h, g = self.fraction(x)
        return (f + h) / g

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient of F where there is one, with sign(0) = 0."""
        check_batch(batch, None)
        f, h, g = self.fraction(x)
        sign, sizes = self._sizes(x)
        A = self._data("matrix", x)
        above = A.T @ (A @ x - self._data("target", x)) + self.l1 * sign
        below = {"top-k": sign * self._largest(sizes), "concave": -x}.get(self.denominator, 2.0 * x)
        return (above - (f + h) / g * below) / g

    def coordinate_slope(self, x: Array, i: int) -> tuple[Array, Array]:
        """Return the derivative of ``‖A x - b‖²/2`` by x_i, and its second one, ``‖a_i‖²``."""
        check_point(x, {"": (self.n,)})
        A = self._data("matrix", x)
        column, xp = A[:, i], namespace(x)
        return xp.sum(column * (A @ x - self._data("target", x))), xp.sum(column * column)

    def coordinate_prox(self, x: Array, i: int, slope: float, curvature: float, level: float) -> Array:
        """Return ``argmin_t slope t + curvature t²/2 + l1 |x_i + t| - level g(x + t e_i)`` within the box.

        Between 0, the ends and, for the k largest, where x_i comes to be among them, the function of ``y = x_i + t`` is
        quadratic: of the stationary points and ends of all pieces, the best.
        """
        check_point(x, {"": (self.n,)})
        values = [float(x[j]) for j in range(self.n)]
        here, sizes = values[i], sorted(abs(v) for j, v in enumerate(values) if j != i)
        # g along the coordinate: linear in |y| beyond `least`, and half of `bend` y².
        least = sizes[-self.k] if self.denominator == "top-k" and self.k < self.n else 0.0
        bend = {"total-least-squares": 2.0, "top-k": 0.0, "concave": -1.0}[self.denominator]
        rises = 1.0 if self.denominator == "top-k" else 0.0

        def cost(y: float) -> float:
            t = y - here
            g = rises * max(abs(y), least) + bend * y * y / 2
            return slope * t + curvature * t * t / 2 + self.l1 * abs(y) - level * g

        ends = sorted({-self.bound, -least, 0.0, least, self.bound})
        ends = [e for e in ends if abs(e) <= self.bound]
        candidates = list(ends)
        square = curvature - level * bend
        for low, high in itertools.pairwise(ends):
            sign = 1.0 if low >= 0.0 else -1.0
            linear = (
                slope
                - curvature * here
                + sign * self.l1
                - (level * sign * rises if min(abs(low), abs(high)) >= least else 0.0)
            )
            if square > 0.0 and low < -linear / square < high:
                candidates.append(-linear / square)
        best = min(candidates, key=cost)
        return like(np.asarray(best - here), x)
