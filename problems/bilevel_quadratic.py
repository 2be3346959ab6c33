"""A quadratic over a quadratic: a problem of two levels of which everything is known."""

from __future__ import annotations

import numpy as np
from refopt.core.arrays import Array
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.problem import Problem
from refopt.core.registry import register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, frozen, product
from refopt.problems.quadratic import CONVEX_OPTIMIZATION


@register("bilevel-quadratic", kind="problem", source=CONVEX_OPTIMIZATION,
    where="Section 9.1.1, quadratic functions, one over the other")  # fmt: skip
class BilevelQuadratic(Problem):
    """Upper ``F = yᵀPy/2 + (x - c)ᵀD(x - c)/2`` over lower ``f = yᵀAy/2 - xᵀBy``.

    The best response is ``y*(x) = A⁻¹Bᵀx``, the hypergradient ``B A⁻¹P A⁻¹Bᵀ x + D (x - c)``, and the solution its
    root. A, P and D are positive definite with eigenvalues from 1/κ to 1 in bases of their own; B and c are normal.

    Parameters
    ----------
    n_upper, n_lower : int
        Sizes of x and y, at least 1.
    condition_number : float
        κ of A, at least 1.
    scalar : bool
        A = B = P = D = c = 1 of size 1 instead: y* = x, and the solution is 1/2.
    seed : int

    Attributes
    ----------
    A, B, P, D : array
        Of shapes (n_lower, n_lower), (n_upper, n_lower), (n_lower, n_lower) and (n_upper, n_upper).
    c : array of shape (n_upper,)
    solution, optimum
        Both players, and F there.
    lower_lipschitz, lower_strong_convexity
        The extreme eigenvalues of A.
    upper_lipschitz, mixed_norm
        The largest eigenvalue of P, and the largest singular value of B.

    Raises
    ------
    ArgumentError, ArgumentTypeError

    Examples
    --------
    >>> from refopt.problems.bilevel_quadratic import BilevelQuadratic
    >>> p = BilevelQuadratic(scalar=True)
    >>> p.solution["upper"], p.solution["lower"], p.optimum
    (array([0.5]), array([0.5]), 0.25)
    """

    def __init__(
        self,
        n_upper: int = 3,
        n_lower: int = 4,
        condition_number: float = 5.0,
        scalar: bool = False,
        seed: int = 0,
    ) -> None:
        check_number(n_upper, "int [1, inf)", "n_upper")
        check_number(n_lower, "int [1, inf)", "n_lower")
        check_number(condition_number, "[1, inf)", "condition_number")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        if scalar not in (True, False):
            raise ArgumentError(f"scalar: wanted True or False, got {scalar!r}")
        n, m = (1, 1) if scalar else (int(n_upper), int(n_lower))
        rng = generator(seed, "problem")

        def definite(k: int, kappa: float) -> np.ndarray:
            q = np.linalg.qr(rng.standard_normal((k, k)))[0]
            return frozen((q * np.geomspace(1.0 / kappa, 1.0, k)) @ q.T)

        one = frozen([[1.0]])
        self.A = one if scalar else definite(m, condition_number)
        self.P = one if scalar else definite(m, 2.0)
        self.D = one if scalar else definite(n, 2.0)
        self.B = one if scalar else frozen(rng.standard_normal((n, m)))
        self.c = frozen([1.0]) if scalar else frozen(rng.standard_normal(n))
        values = np.linalg.eigvalsh(self.A)
        self.lower_strong_convexity, self.lower_lipschitz = float(values[0]), float(values[-1])
        self.upper_lipschitz = float(np.linalg.eigvalsh(self.P)[-1])
        self.mixed_norm = float(np.linalg.norm(self.B, 2))
        self._shapes = {"upper": (n,), "lower": (m,)}
        response = np.linalg.solve(self.A, self.B.T)
        x = np.linalg.solve(response.T @ self.P @ response + self.D, self.D @ self.c)
        self.solution = {"upper": x, "lower": response @ x}
        self.optimum = float(self.upper_value(self.solution))

    def start(self, seed: int = 0) -> Params:
        """Return a normal start of both players."""
        rng = generator(seed, "start")
        return {name: rng.standard_normal(shape) for name, shape in self._shapes.items()}

    def response(self, upper: np.ndarray) -> np.ndarray:
        """Return y*(x), NumPy."""
        return np.linalg.solve(self.A, self.B.T @ upper)

    def hypergradient(self, upper: np.ndarray) -> np.ndarray:
        """Return the derivative of F(x, y*(x)), NumPy."""
        back = np.linalg.solve(self.A, self.P @ self.response(upper))
        return self.B @ back + self.D @ (upper - self.c)

    def _at(self, x: Params, batch: np.ndarray | None) -> tuple[Array, Array]:
        check_batch(batch, None)
        check_point(x, self._shapes)
        return x["upper"], x["lower"]

    def upper_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return F."""
        u, y = self._at(x, batch)
        away = u - self._data("c", x)
        return product(y, self._data("P", x) @ y) / 2 + product(away, self._data("D", x) @ away) / 2

    def upper_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of F by both players."""
        u, y = self._at(x, batch)
        return {
            "upper": self._data("D", x) @ (u - self._data("c", x)),
            "lower": self._data("P", x) @ y,
        }

    def upper_hvp(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return P v."""
        self._at(x, batch)
        return self._data("P", x) @ v

    def upper_mixed(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return 0: no term has both."""
        self._at(x, batch)
        return 0.0 * x["upper"]

    def lower_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f."""
        u, y = self._at(x, batch)
        return product(y, self._data("A", x) @ y) / 2 - product(u, self._data("B", x) @ y)

    def lower_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of f by both players."""
        u, y = self._at(x, batch)
        B = self._data("B", x)
        return {"upper": -(B @ y), "lower": self._data("A", x) @ y - u @ B}

    def lower_hvp(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return A v."""
        self._at(x, batch)
        return self._data("A", x) @ v

    def lower_mixed(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return -B v."""
        self._at(x, batch)
        return -(self._data("B", x) @ v)
