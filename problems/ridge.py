"""Ridge regression: least squares with an l2 term, whose optimum is known in closed form."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentTypeError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import register
from refopt.problems.common import check_batch, check_point, count, dense, frozen, rows, square
from refopt.problems.data import DIABETES, load, top_eigenvalue, with_intercept
from refopt.problems.ridge_hyperparameter import HOERL

KNOWN = ("_singular", "lipschitz", "strong_convexity", "solution", "optimum")
RESTARTS = 5


@register("ridge", kind="problem", source=HOERL, where="Section 3, (2.3) over n", also=(DIABETES,))
class Ridge(Problem):
    """Ridge regression ``f(x) = mean_i (a_i^T x - b_i)^2 / 2 + l2 ||x||^2 / 2``.

    Its minimiser is ``x = (A^T A + n l2 I)^{-1} A^T b``, and with l2 = 0 the shortest of the minimisers. With
    `intercept` a last feature of constant 1 is appended to the inputs a_i, which is penalised like every other.

    As a composition, ``r(x) = ((A x - b) / sqrt(n), sqrt(l2) x)`` and phi(r) = ||r||^2 / 2: the l2 term is a part of
    the inner map, whole for every batch, so that the Gauss-Newton matrix is the Hessian ``A^T A / n + l2 I``.

    Parameters
    ----------
    data : str, path or pair (X, y)
        ``"diabetes"`` (standardised, the targets too), ``"breast-cancer"`` or ``"digits"`` (the label is the target),
        the path of a LIBSVM-format file, or arrays X (n, d) and y (n,). A SciPy sparse X, or a file of which less
        than a quarter is not zero, stays sparse.
    l2 : float
        Weight of the regulariser, at least 0.
    intercept : bool
    n_examples : int, optional
        Use only the first ones of the data.

    Attributes
    ----------
    inputs : array or csr_array of shape (n, d)
        With the constant feature, where there is one.
    targets : array of shape (n,)
    weight : float
        l2; a problem's attribute of that name tells of a term outside the inner map.
    lipschitz, strong_convexity
        ``L = lambda_max(A^T A / n) + l2``, by Lanczos where A is sparse; ``mu = lambda_min(A^T A / n) + l2``, and l2
        (a bound) where A is sparse.
    solution, optimum
        By the singular values of A; where it is sparse, by LSMR until the gradient is 1e-14 of that at 0, and None
        if that is not reached.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
        Bad data, a negative weight.
    MissingExtraError
        The data comes from scikit-learn and the extra ``data`` is not installed.

    Examples
    --------
    >>> from refopt.problems.ridge import Ridge
    >>> p = Ridge(([[1.0], [2.0]], [1.0, 3.0]), l2=0.5, intercept=False)
    >>> print(p.solution)  # 7 / (5 + 2 * 0.5)
    [1.16666667]
    >>> round(p.lipschitz, 12)  # 5 / 2 + 0.5, and mu is the same
    3.0
    """

    per_example = ("inputs", "targets")
    least_squares = True

    def __init__(
        self, data: Any = "diabetes", l2: float = 0.01, intercept: bool = True, n_examples: int | None = None
    ) -> None:
        check_number(l2, "[0, inf)", "l2")
        if not isinstance(intercept, bool):
            raise ArgumentTypeError(f"intercept: wanted True or False, got {intercept!r}")
        inputs, targets = load(data, n_examples, sparse=True)
        if targets.ndim != 1:
            raise ShapeError(f"data: wanted one target an example, got targets of shape {targets.shape}")
        self.inputs = frozen(with_intercept(inputs) if intercept else inputs)
        self.targets = frozen(targets)
        self.weight, self.intercept = float(l2), intercept
        self.n_examples, self.dimension = self.inputs.shape

    @functools.cached_property
    def _singular(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The singular values of A that are not zero, with their vectors; A is no sparse matrix."""
        u, s, vt = np.linalg.svd(self.inputs, full_matrices=False)
        kept = s > np.max(s, initial=0.0) * max(self.inputs.shape) * np.finfo(np.float64).eps
        return u[:, kept], s[kept], vt[kept]

    @functools.cached_property
    def lipschitz(self) -> float:  # type: ignore[override]
        """``lambda_max(A^T A / n) + l2``."""
        return top_eigenvalue(self.inputs) + self.weight

    @functools.cached_property
    def strong_convexity(self) -> float:  # type: ignore[override]
        """``lambda_min(A^T A / n) + l2``, at least l2."""
        if scipy.sparse.issparse(self.inputs):
            return self.weight
        s = self._singular[1]
        least = float(s[-1]) ** 2 / (self.n_examples or 1) if len(s) == self.dimension else 0.0
        return least + self.weight

    @property
    def condition_number(self) -> float | None:  # type: ignore[override]
        """L / mu, None where mu is 0."""
        return self.lipschitz / self.strong_convexity if self.strong_convexity > 0 else None

    @functools.cached_property
    def solution(self) -> Array | None:  # type: ignore[override]
        """The minimiser, the shortest of them where there are many."""
        shift = (self.n_examples or 1) * self.weight
        if scipy.sparse.issparse(self.inputs):
            return self._refined(math.sqrt(shift))
        u, s, vt = self._singular
        return vt.T @ (s / (s * s + shift) * (u.T @ self.targets))

    def _refined(self, damping: float) -> Array | None:
        """Return the solution by LSMR on the stacked system, started anew at its own residual until that is rounding."""
        lower = damping * scipy.sparse.eye_array(self.dimension, format="csr")
        stacked = scipy.sparse.vstack([self.inputs, lower], format="csr") if damping else self.inputs
        right = np.zeros(stacked.shape[0])
        right[: self.n_examples] = self.targets
        x, left = np.zeros(self.dimension), right
        small = 1e-14 * np.linalg.norm(stacked.T @ right)
        for _ in range(RESTARTS):
            x = x + scipy.sparse.linalg.lsmr(
                stacked, left, atol=1e-15, btol=1e-15, conlim=0, maxiter=10 * min(self.inputs.shape) + 1000
            )[0]  # fmt: skip
            left = right - stacked @ x
            if np.linalg.norm(stacked.T @ left) <= small:
                return x
        return None

    @functools.cached_property
    def optimum(self) -> float | None:  # type: ignore[override]
        """The least value of f."""
        return None if self.solution is None else float(self.value(self.solution))

    def subset(self, rows: Any) -> Any:
        """Return the same problem on some of its examples; what is known of it is found anew."""
        other = super().subset(rows)
        for name in KNOWN:
            other.__dict__.pop(name, None)
        return other

    def start(self, seed: int = 0) -> Array:
        """Return zeros, whatever the seed."""
        return np.zeros(self.dimension)

    def _fit(self, x: Array, batch: np.ndarray | None) -> tuple[Array, Array]:
        """Return the inputs of the batch and how far the model is from their targets."""
        check_point(x, {"": (self.dimension,)})
        check_batch(batch, self.n_examples)
        inputs = rows(self, "inputs", x, batch)
        return inputs, inputs @ x - rows(self, "targets", x, batch)

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f(x), a 0-d array."""
        return self._value(self._fit(x, batch)[1], x)

    def _value(self, away: Array, x: Array) -> Array:
        return namespace(x).mean(away * away) / 2 + self.weight / 2 * square(x)

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient of f."""
        return self.value_and_grad(x, batch)[1]

    def value_and_grad(self, x: Array, batch: np.ndarray | None = None) -> tuple[Array, Array]:
        """Return f(x) and its gradient."""
        a, away = self._fit(x, batch)
        return self._value(away, x), (a.T @ away) / count(self, batch) + self.weight * x

    def directional(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the derivative of f at x along v, in one pass forward."""
        check_point(v, {"": (self.dimension,)}, "v")
        a, away = self._fit(x, batch)
        xp = namespace(x)
        return xp.mean(away * (a @ v)) + self.weight * xp.sum(x * v)

    def hvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``A^T A v / n + l2 v``."""
        check_point(v, {"": (self.dimension,)}, "v")
        a = self._fit(x, batch)[0]
        return (a.T @ (a @ v)) / count(self, batch) + self.weight * v

    def third(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the third derivative of f, zero."""
        check_point(v, {"": (self.dimension,)}, "v")
        return namespace(x).sum(0.0 * self._fit(x, batch)[1])

    def example_grads(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient of each ``f_i = (a_i^T x - b_i)^2 / 2 + l2 ||x||^2 / 2``, shape (B, d)."""
        a, away = self._fit(x, batch)
        return away[:, None] * dense(a) + self.weight * x[None, :]

    def example_prox(self, x: Array, step: float, batch: np.ndarray | None = None) -> Array:
        """Return ``argmin_u f_i(u) + ||u - x||^2 / (2 step)`` for the batch's one example, by Sherman and Morrison."""
        a, away = self._fit(x, batch)
        if a.shape[0] != 1:
            raise ShapeError(f"batch: wanted one example, got {a.shape[0]}")
        one, xp = dense(a)[0, :], namespace(x)
        shrink = 1.0 + step * self.weight
        near = (xp.sum(one * x) / shrink - (xp.sum(one * x) - away[0])) / (
            1.0 + step * xp.sum(one * one) / shrink
        )
        return (x - step * near * one) / shrink

    def residual(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``r(x) = ((A x - b) / sqrt(B), sqrt(l2) x)``, shape (B + d,), and (B,) without l2."""
        return self._stacked(self._fit(x, batch)[1], x, batch)

    def _stacked(self, along: Array, x: Array, batch: np.ndarray | None) -> Array:
        scaled = along / math.sqrt(count(self, batch))
        return namespace(x).concat([scaled, math.sqrt(self.weight) * x]) if self.weight else scaled

    def jvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``(A v / sqrt(B), sqrt(l2) v)``."""
        check_point(v, {"": (self.dimension,)}, "v")
        return self._stacked(self._fit(x, batch)[0] @ v, v, batch)

    def vjp(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``A^T u_1 / sqrt(B) + sqrt(l2) u_2``."""
        a = self._fit(x, batch)[0]
        n = a.shape[0]
        self._check_output(u, n)
        back = (a.T @ u[:n]) / math.sqrt(n)
        return back + math.sqrt(self.weight) * u[n:] if self.weight else back

    def _check_output(self, u: Array, n: int) -> None:
        wanted = (n + self.dimension if self.weight else n,)
        if tuple(u.shape) != wanted:
            raise ShapeError(f"u: wanted shape {wanted} like the residual, got {tuple(u.shape)}")

    def loss_gradient(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient of phi at r(x), r(x) itself."""
        return self.residual(x, batch)

    def loss_hessian(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return u: the Hessian of phi is the identity."""
        check_point(x, {"": (self.dimension,)})
        check_batch(batch, self.n_examples)
        self._check_output(u, count(self, batch))
        return u
