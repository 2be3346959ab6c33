"""Binary logistic regression, plain or with l2 and l1 penalties."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import register
from refopt.problems.blocks import in_numbers
from refopt.problems.common import check_batch, check_point, count, dense, frozen, rows, square
from refopt.problems.data import BREAST_CANCER, DIGITS, class_indices, load, top_eigenvalue, with_intercept
from refopt.problems.losses import Logistic as Loss
from refopt.problems.quadratic import CONVEX_OPTIMIZATION


@register(
    "logistic",
    kind="problem",
    source=CONVEX_OPTIMIZATION,
    where="Section 7.1.1, logistic regression",
    also=(BREAST_CANCER, DIGITS),
)
@in_numbers
class Logistic(Problem):
    """Binary logistic regression ``f(x) = mean_i log(1 + exp(-y_i a_i^T x)) + l2 ||x||^2 / 2``.

    The objective is f + g, ``g(x) = l1 ||x||_1`` (zero by default), with `penalty` and `prox` of g.
    With `intercept` a last feature of constant 1 is appended to the inputs a_i; both penalties treat it
    like every other feature (LIBLINEAR's convention), so that mu = l2.

    As a composition, ``r(x) = A x`` (the margins without the label) and phi is the mean loss alone: the
    l2 term belongs to the value, the gradient, the HVP and the example gradients, not to the inner map.
    The Hessian is therefore the Gauss-Newton matrix plus ``l2 I``.

    Parameters
    ----------
    data : str, path or pair (X, y)
        ``"breast-cancer"`` (standardised, 1 = benign), ``"digits"`` (1 = odd), the path of a
        LIBSVM-format file, or arrays X (n, d) and y (n,) with two different labels, of which the
        larger becomes +1. A SciPy sparse X, or a file of which less than a quarter is not zero, stays sparse.
        Dask arrays stay in blocks: an answer is one graph, a batch reads the blocks that it has rows of.
    l2 : float
        Weight of the smooth regulariser, at least 0.
    l1 : float
        Weight of the l1 penalty, at least 0.
    intercept : bool
    n_examples : int, optional
        Use only the first ones of the data.

    Attributes
    ----------
    inputs : array, csr_array or Dask array of shape (n, d)
        With the constant feature, where there is one.
    labels : array of shape (n,)
        ±1.
    lipschitz, strong_convexity
        ``L = lambda_max(A^T A / n) / 4 + l2`` (a bound, attained at x = 0) and ``mu = l2`` (a bound).

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
        Bad data, not two classes, negative weights.
    MissingExtraError
        The data comes from scikit-learn and the extra ``data`` is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.logistic import Logistic
    >>> p = Logistic(([[1.0], [2.0], [-1.0]], [1, 1, 0]), intercept=False)
    >>> round(float(p.value(p.start())), 6)  # log(2)
    0.693147
    >>> p.grad(p.start())
    array([-0.66666667])
    """

    per_example = ("inputs", "labels")

    def __init__(
        self,
        data: Any = "breast-cancer",
        l2: float = 0.0,
        l1: float = 0.0,
        intercept: bool = True,
        n_examples: int | None = None,
    ) -> None:
        check_number(l2, "[0, inf)", "l2")
        check_number(l1, "[0, inf)", "l1")
        if not isinstance(intercept, bool):
            raise ArgumentTypeError(f"intercept: wanted True or False, got {intercept!r}")
        inputs, targets = load(data, n_examples, sparse=True, in_blocks=True)
        if isinstance(data, str) and data == "digits":
            targets = targets % 2
        classes, index = class_indices(targets)
        if len(classes) != 2:
            raise ArgumentError(f"data: wanted two classes, got {len(classes)}; see the problem softmax")
        if intercept:
            inputs = with_intercept(inputs)
        self.inputs, self.labels = frozen(inputs), frozen(2.0 * index - 1.0)
        self.l2, self.l1, self.intercept = float(l2), float(l1), intercept
        self.n_examples, self.dimension = inputs.shape
        self.strong_convexity = self.l2

    @functools.cached_property
    def lipschitz(self) -> float:  # type: ignore[override]
        """``lambda_max(A^T A / n) / 4 + l2``."""
        return top_eigenvalue(self.inputs) / 4 + self.l2

    @property
    def condition_number(self) -> float | None:  # type: ignore[override]
        """L / mu, None without l2."""
        return self.lipschitz / self.l2 if self.l2 > 0 else None

    def start(self, seed: int = 0) -> Array:
        """Return zeros, whatever the seed."""
        return np.zeros(self.dimension)

    def _margins(self, x: Array, batch: np.ndarray | None) -> tuple[Array, Array, Array]:
        """Return the inputs, the labels and r(x) of the batch."""
        check_point(x, {"": (self.dimension,)})
        check_batch(batch, self.n_examples)
        inputs = rows(self, "inputs", x, batch)
        return inputs, rows(self, "labels", x, batch), inputs @ x

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f(x), a 0-d array; the l1 penalty is not in it."""
        _, y, z = self._margins(x, batch)
        return namespace(x).mean(Loss.each(z, y)) + self.l2 / 2 * square(x)

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient of f."""
        return self.value_and_grad(x, batch)[1]

    def value_and_grad(self, x: Array, batch: np.ndarray | None = None) -> tuple[Array, Array]:
        """Return f(x) and its gradient."""
        a, y, z = self._margins(x, batch)
        value = namespace(x).mean(Loss.each(z, y)) + self.l2 / 2 * square(x)
        return value, (a.T @ Loss.gradient(z, y)) / count(self, batch) + self.l2 * x

    def directional(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the derivative of f at x along v, in one pass forward."""
        check_point(v, {"": (self.dimension,)}, "v")
        a, y, z = self._margins(x, batch)
        xp = namespace(x)
        return xp.mean(Loss.gradient(z, y) * (a @ v)) + self.l2 * xp.sum(x * v)

    def hvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Hessian of f at x times v."""
        check_point(v, {"": (self.dimension,)}, "v")
        a, y, z = self._margins(x, batch)
        return (a.T @ Loss.hessian(z, y, a @ v)) / count(self, batch) + self.l2 * v

    def third(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the third derivative of f at x along v, v and v."""
        check_point(v, {"": (self.dimension,)}, "v")
        a, y, z = self._margins(x, batch)
        along = a @ v
        return namespace(x).mean(Loss.third(z, y, along * along) * along)

    def example_grads(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient of each ``f_i = loss_i + l2 ||x||^2 / 2``, shape (B, d)."""
        a, y, z = self._margins(x, batch)
        return Loss.gradient(z, y)[:, None] * dense(a) + self.l2 * x[None, :]

    def residual(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``r(x) = A x``, shape (B,)."""
        return self._margins(x, batch)[2]

    def jvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``A v``."""
        check_point(v, {"": (self.dimension,)}, "v")
        return self._margins(x, batch)[0] @ v

    def vjp(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``A^T u``."""
        a = self._margins(x, batch)[0]
        if tuple(u.shape) != (a.shape[0],):
            raise ShapeError(f"u: wanted shape {(a.shape[0],)} like the residual, got {tuple(u.shape)}")
        return a.T @ u

    def loss_gradient(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient of phi, the mean loss, at r(x)."""
        _, y, z = self._margins(x, batch)
        return Loss.gradient(z, y) / count(self, batch)

    def loss_hessian(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Hessian of phi, the mean loss, at r(x) times u."""
        _, y, z = self._margins(x, batch)
        return Loss.hessian(z, y, u) / count(self, batch)

    def penalty(self, x: Array) -> Array:
        """Return ``g(x) = l1 ||x||_1``."""
        return self.l1 * namespace(x).sum(namespace(x).abs(x))

    def prox(self, x: Array, step: float) -> Array:
        """Return ``argmin_u g(u) + ||u - x||^2 / (2 step)``: soft thresholding at l1 * step."""
        check_point(x, {"": (self.dimension,)})
        xp = namespace(x)
        # x minus its projection onto the box: exact zeros, and no sign function needed.
        return x - xp.clip(x, -self.l1 * step, self.l1 * step)
