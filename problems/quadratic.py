"""A quadratic of any spectrum, of which everything is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from refopt.core.arrays import Array, check_array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, frozen

CONVEX_OPTIMIZATION = Source(
    key="boyd-2004-convex",
    authors="Stephen Boyd, Lieven Vandenberghe",
    title="Convex Optimization",
    venue="Cambridge University Press",
    url="https://web.stanford.edu/~boyd/cvxbook/",
)


@register(
    "quadratic",
    kind="problem",
    source=CONVEX_OPTIMIZATION,
    where="Section 9.1.1, quadratic minimization",
)
class Quadratic(Problem):
    """A quadratic ``f(x) = (x - x*)^T H (x - x*) / 2 + f*`` whose Hessian has any spectrum.

    ``H = Q diag(spectrum) Q^T`` with Q drawn uniformly from the orthogonal matrices (Q = I where
    `diagonal`), and x* drawn from the standard normal distribution. As a composition,
    ``r(x) = x - x*`` and ``phi(r) = r^T H r / 2 + f*``, so that its Gauss-Newton matrix is H.

    Parameters
    ----------
    n : int
        Number of unknowns; the length of `spectrum` where that is given.
    spectrum : array of shape (n,), optional
        The eigenvalues of H, of any sign; default: n values in geometric progression from
        1 / `condition_number` to 1.
    condition_number : float
        L / mu of the default spectrum, at least 1; 100 if left out. Not together with `spectrum`.
    diagonal : bool
        H is diag(spectrum), in the given order.
    optimum : float
        f*, the value at x*.
    seed : int
        Of Q and x*.

    Attributes
    ----------
    center : array of shape (n,)
        x*, the stationary point.
    hessian : array of shape (n, n)
    solution, optimum
        x* and f* where H is positive semidefinite; otherwise None (there is no minimum).
    lipschitz, strong_convexity, condition_number
        max |eigenvalue|; min eigenvalue where it is not negative; their quotient where it is positive.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
        Bad sizes, an empty or non-finite spectrum, both spectrum and condition number.

    Examples
    --------
    >>> from refopt.problems.quadratic import Quadratic
    >>> p = Quadratic(spectrum=[1.0, 4.0], diagonal=True)
    >>> p.condition_number, float(p.value(p.solution))
    (4.0, 0.0)
    >>> p.hvp(p.start(), p.solution * 0 + 1.0)
    array([1., 4.])
    """

    def __init__(
        self,
        n: int | None = None,
        spectrum: Any = None,
        condition_number: float | None = None,
        diagonal: bool = False,
        optimum: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_number(optimum, "(-inf, inf)", "optimum")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        if not isinstance(diagonal, bool):
            raise ArgumentTypeError(f"diagonal: wanted True or False, got {diagonal!r}")
        if spectrum is not None and condition_number is not None:
            raise ArgumentError("condition_number: give it or the spectrum, not both")
        if spectrum is None:
            n = 20 if n is None else n
            condition_number = 100.0 if condition_number is None else condition_number
            check_number(n, "int [1, inf)", "n")
            check_number(condition_number, "[1, inf)", "condition_number")
            values = np.geomspace(1 / condition_number, 1.0, n) if n > 1 else np.ones(1)
        else:
            if isinstance(spectrum, np.ndarray) and spectrum.dtype.kind in "iu":
                spectrum = spectrum.astype(np.float64)
            values = np.array(check_array(spectrum, "spectrum", ndim=1), dtype=np.float64)
            if values.size == 0 or (n is not None and n != values.size):
                raise ArgumentError(f"spectrum: wanted {n or 'at least one'} values, got {values.size}")
        rng = generator(seed, "problem")
        self.n = int(values.size)
        self.center = frozen(rng.standard_normal(self.n))
        self.diagonal = diagonal
        self._diagonal = frozen(values)
        if diagonal:
            self.hessian = frozen(np.diag(values))
        else:
            q, r = np.linalg.qr(rng.standard_normal((self.n, self.n)))
            q = q * np.sign(np.diag(r))  # makes Q uniform: QR alone fixes the signs of R
            h = (q * values) @ q.T
            self.hessian = frozen((h + h.T) / 2)
        self.spectrum = frozen(np.sort(values))
        self._offset = float(optimum)
        self.lipschitz = float(np.max(np.abs(values)))
        if self.spectrum[0] >= 0:
            self.solution, self.optimum = self.center, self._offset
            self.strong_convexity = float(self.spectrum[0])
            if self.spectrum[0] > 0:
                self.condition_number = self.lipschitz / self.strong_convexity

    def start(self, seed: int = 0) -> Array:
        """Return a standard normal start."""
        return generator(seed, "start").standard_normal(self.n)

    def _times(self, x: Array, v: Array) -> Array:
        if self.diagonal:
            return self._data("_diagonal", x) * v
        return self._data("hessian", x) @ v

    def residual(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``r(x) = x - x*``."""
        check_batch(batch, None)
        check_point(x, {"": (self.n,)})
        return x - self._data("center", x)

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f(x)."""
        d = self.residual(x, batch)
        return namespace(x).sum(d * self._times(x, d)) / 2 + self._offset

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``H (x - x*)``."""
        return self._times(x, self.residual(x, batch))

    def value_and_grad(self, x: Array, batch: np.ndarray | None = None) -> tuple[Array, Array]:
        """Return f(x) and its gradient."""
        d = self.residual(x, batch)
        g = self._times(x, d)
        return namespace(x).sum(d * g) / 2 + self._offset, g

    def directional(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``v^T H (x - x*)``."""
        check_point(v, {"": (self.n,)}, "v")
        return namespace(x).sum(v * self.grad(x, batch))

    def hvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``H v``."""
        check_batch(batch, None)
        check_point(v, {"": (self.n,)}, "v")
        return self._times(x, v)

    def jvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return v: the Jacobian of r is the identity."""
        check_batch(batch, None)
        return check_point(v, {"": (self.n,)}, "v")

    def vjp(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return u: the Jacobian of r is the identity."""
        check_batch(batch, None)
        return check_point(u, {"": (self.n,)}, "u")

    def loss_gradient(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``H r(x)``."""
        return self.grad(x, batch)

    def loss_hessian(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``H u``."""
        return self.hvp(x, u, batch)
