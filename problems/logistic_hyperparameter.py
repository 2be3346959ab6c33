"""Logistic regression whose penalty, one weight a feature, is chosen by the validation loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from refopt.core.arrays import Array, like, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import (
    check_batch,
    check_point,
    dense_hypergradient,
    frozen,
    lower_minimum,
    real_part,
)
from refopt.problems.data import BREAST_CANCER, class_indices, load, top_eigenvalue, with_intercept
from refopt.problems.losses import Logistic as Loss

DAGREOU = Source("dagreou-2022-framework", "M. Dagréou, P. Ablin, S. Vaiter, T. Moreau",
    "A framework for bilevel optimization that enables stochastic and global variance reduction algorithms",
    venue="Advances in Neural Information Processing Systems 35",
    url="https://papers.nips.cc/paper_files/paper/2022/hash/aa84ec1ac3f5fdcf77bce2c22705ab77-Abstract-Conference.html")  # fmt: skip


@register("logistic-hyperparameter", kind="problem", source=DAGREOU,
    where="the experiment on hyperparameter selection, with other data", also=(BREAST_CANCER,))  # fmt: skip
class LogisticHyperparameter(Problem):
    """Logistic regression with the penalty ``e^{x_k}`` on feature k; x is the upper player.

    Lower: ``f = mean_i l(a_i·w, b_i) + Σ_k e^{x_k} w_k²/2`` over training examples, l the logistic loss; upper:
    ``F = mean_j l(a'_j·w, b'_j)`` over as many others. With one penalty in all, x has size 1. A constant feature is
    appended, and penalised as the others are.

    A batch takes the training and the validation example of a number.

    Parameters
    ----------
    data : str, path or pair (X, y)
        As of the problem logistic; the first 2 n examples in an order drawn from `seed`.
    n : int
        Training examples.
    single : bool
        One penalty for all features, instead of one each.
    seed : int

    Attributes
    ----------
    A, Av : array of shape (n, d)
        Inputs for training and validation.
    b, bv : array of shape (n,)
        Labels, ±1.
    upper_lipschitz
        ``λ_max(A'ᵀA'/n)/4``, a bound in w. Those of the lower level depend on x.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
    MissingExtraError
        The data comes from scikit-learn and the extra ``data`` is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.logistic_hyperparameter import LogisticHyperparameter
    >>> p = LogisticHyperparameter(n=40)
    >>> x = np.full(31, -12.0)  # hardly any penalty: more would be better
    >>> bool(p.hypergradient(x).sum() < 0)
    True
    """

    def __init__(
        self, data: Any = "breast-cancer", n: int = 100, single: bool = False, seed: int = 0
    ) -> None:
        check_number(n, "int [1, inf)", "n")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        if single not in (True, False):
            raise ArgumentError(f"single: wanted True or False, got {single!r}")
        inputs, targets = load(data)
        if isinstance(data, str) and data == "digits":
            targets = targets % 2
        if 2 * n > len(inputs):
            raise ArgumentError(f"n: wanted at most half of the {len(inputs)} examples, got {n}")
        classes, index = class_indices(targets)
        if len(classes) != 2:
            raise ArgumentError(f"data: wanted two classes, got {len(classes)}")
        order = generator(seed, "problem").permutation(len(inputs))[: 2 * n]
        both, labels = with_intercept(inputs)[order], 2.0 * index[order] - 1.0
        self.A, self.Av = frozen(both[:n]), frozen(both[n:])
        self.b, self.bv = frozen(labels[:n]), frozen(labels[n:])
        self.n_examples, self.upper_lipschitz = int(n), top_eigenvalue(self.Av) / 4
        self._shapes = {"upper": (1 if single else both.shape[1],), "lower": (both.shape[1],)}

    def start(self, seed: int = 0) -> Params:
        """Return penalties of 1 and w = 0, whatever the seed."""
        return {k: np.zeros(shape) for k, shape in self._shapes.items()}

    def _at(self, x: Params, batch: np.ndarray | None, data: str, labels: str) -> tuple[Array, ...]:
        """Return each example's share of the mean over the batch, inputs, labels and outputs."""
        check_batch(batch, self.n_examples)
        check_point(x, self._shapes)
        real = {k: real_part(v) for k, v in x.items()}
        n = self.n_examples or 1
        each = np.full(n, 1.0 / n) if batch is None else np.bincount(batch, minlength=n) / batch.size
        a = self._data(data, real)
        return like(each, real["lower"]), a, self._data(labels, real), a @ x["lower"]

    def _penalized(self, upper: Array, c: Array) -> Array:
        """Return ``e^x ⊙ c``, for one penalty its sum."""
        xp = namespace(c)
        return xp.exp(upper) * (c if upper.shape[0] == c.shape[0] else xp.sum(c, keepdims=True))

    def upper_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return F."""
        each, _, b, z = self._at(x, batch, "Av", "bv")
        return namespace(z).sum(each * Loss.each(z, b))

    def upper_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of F by both players; by the upper one it is 0."""
        each, a, b, z = self._at(x, batch, "Av", "bv")
        return {"upper": 0.0 * x["upper"], "lower": a.T @ (each * Loss.gradient(z, b))}

    def upper_hvp(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Hessian of F by w times v."""
        each, a, b, z = self._at(x, batch, "Av", "bv")
        return a.T @ (each * Loss.hessian(z, b, a @ v))

    def upper_mixed(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return 0: F has no part of both players."""
        return 0.0 * x["upper"] + 0.0 * namespace(v).sum(v)

    def lower_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f."""
        each, _, b, z = self._at(x, batch, "A", "b")
        xp, w = namespace(z), x["lower"]
        return xp.sum(each * Loss.each(z, b)) + xp.sum(xp.exp(x["upper"]) * w * w) / 2

    def lower_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of f by both players."""
        each, a, b, z = self._at(x, batch, "A", "b")
        w, weights = x["lower"], namespace(z).exp(x["upper"])
        return {
            "upper": self._penalized(x["upper"], w * w / 2),
            "lower": a.T @ (each * Loss.gradient(z, b)) + weights * w,
        }

    def lower_hvp(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Hessian of f by w times v."""
        each, a, b, z = self._at(x, batch, "A", "b")
        return a.T @ (each * Loss.hessian(z, b, a @ v)) + namespace(z).exp(x["upper"]) * v

    def lower_mixed(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``e^x ⊙ w ⊙ v``, for one penalty its sum."""
        self._at(x, batch, "A", "b")
        return self._penalized(x["upper"], x["lower"] * v)

    def hessian(self, x: Params) -> np.ndarray:
        """Return the Hessian of f by w, NumPy."""
        z = self.A @ x["lower"]
        curvature = Loss.hessian(z, self.b, np.ones_like(z)) / z.size
        weights = np.broadcast_to(np.exp(x["upper"]), x["lower"].shape)
        return (self.A.T * curvature) @ self.A + np.diag(weights)

    def response(self, upper: np.ndarray) -> np.ndarray:
        """Return w*(x), NumPy, by Newton's method with halved steps.

        Raises
        ------
        ConvergenceError
            The gradient is not 1e-12 of its size at w = 0 after 100 steps.
        """
        return lower_minimum(self, upper, np.zeros(self._shapes["lower"]))

    def hypergradient(self, upper: np.ndarray) -> np.ndarray:
        """Return the derivative of F(x, w*(x)), NumPy, by the dense Hessian: ``-e^x ⊙ w* ⊙ H⁻¹ ∇_w F``."""
        return dense_hypergradient(self, upper)
