"""Weights of training examples with wrong labels, chosen by a clean validation set: a problem of two levels."""

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
from refopt.problems.data import DIGITS, class_indices, load, one_hot, top_eigenvalue, with_intercept
from refopt.problems.losses import CrossEntropy, sigmoid, softmax

FRANCESCHI = Source("franceschi-2017-hypergradient", "L. Franceschi, M. Donini, P. Frasconi, M. Pontil",
    "Forward and Reverse Gradient-Based Hyperparameter Optimization", arxiv="1703.01785")  # fmt: skip
WEIGHTS = ("sigmoid", "softmax")


@register("data-reweighting", kind="problem", source=FRANCESCHI, where="the experiment on data hyper-cleaning",
    also=(DIGITS,))  # fmt: skip
class DataReweighting(Problem):
    """Softmax regression on examples of which some have wrong labels; their logits are the upper player.

    Lower: ``f = mean_i w_i(x) l(W a_i, b_i) + l2 ||W||²/2`` over training examples, l the cross-entropy; upper:
    ``F = mean_j l(W a'_j, b'_j)`` over as many clean ones. The weights are ``w_i = 1/(1 + e^{-x_i})``, or n times the softmax of x.

    A batch takes the training and the validation example of a number. The paper has the weights themselves, in [0, 1]
    and with a bounded sum.

    Parameters
    ----------
    data : str, path or pair (X, y)
        As of the problem softmax; the first 2 n examples in an order drawn from `seed`.
    n : int
        Training examples.
    noise : float
        The share of them whose label is another one, in [0, 1].
    l2 : float
        Above 0.
    weights : {"sigmoid", "softmax"}
    seed : int

    Attributes
    ----------
    A, Av : array of shape (n, d)
        Inputs for training and validation, with a constant feature.
    Y, Yv : array of shape (n, C)
        One-hot labels.
    wrong : array of bool
        Which training labels were changed.
    lower_strong_convexity, lower_lipschitz, upper_lipschitz, mixed_norm
        Bounds in W: l2, ``λ_max(AᵀA/n)/2 + l2``, ``λ_max(A'ᵀA'/n)/2``, and of the mixed second derivative; all but the
        first and the third are of sigmoid weights, and None for others.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
    MissingExtraError
        The data comes from scikit-learn and the extra ``data`` is not installed.

    Examples
    --------
    >>> from refopt.problems.data_reweighting import DataReweighting
    >>> p = DataReweighting(n=20)
    >>> g = p.hypergradient(p.start()["upper"])
    >>> bool(g[p.wrong].mean() > 0 > g[~p.wrong].mean())  # less weight for wrong labels
    True
    """

    def __init__(
        self, data: Any = "digits", n: int = 50, noise: float = 0.4, l2: float = 0.01, weights: str = "sigmoid",
        seed: int = 0,
    ) -> None:  # fmt: skip
        check_number(n, "int [1, inf)", "n")
        check_number(noise, "[0, 1]", "noise")
        check_number(l2, "(0, inf)", "l2")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        if weights not in WEIGHTS:
            raise ArgumentError(f"weights: wanted one of {', '.join(map(repr, WEIGHTS))}, got {weights!r}")
        inputs, targets = load(data)
        if 2 * n > len(inputs):
            raise ArgumentError(f"n: wanted at most half of the {len(inputs)} examples, got {n}")
        classes, index = class_indices(targets)
        rng, k = generator(seed, "problem"), len(classes)
        order = rng.permutation(len(inputs))[: 2 * n]
        both, labels = with_intercept(inputs)[order], index[order]
        self.wrong = rng.random(n) < noise
        self.wrong.flags.writeable = False
        # Another label, each of the others as likely.
        train = (labels[:n] + self.wrong * rng.integers(1, k, size=n)) % k
        self.A, self.Av = frozen(both[:n]), frozen(both[n:])
        self.Y, self.Yv = frozen(one_hot(train, k)), frozen(one_hot(labels[n:], k))
        self.l2, self.n_examples, self.by = float(l2), int(n), weights
        self._shapes = {"upper": (n,), "lower": (k, both.shape[1])}
        self.lower_strong_convexity, self.upper_lipschitz = self.l2, top_eigenvalue(self.Av) / 2
        top, bounded = top_eigenvalue(self.A), weights == "sigmoid"
        self.lower_lipschitz = top / 2 + self.l2 if bounded else None
        # Its rows are w_i' g_i ⊗ a_i / n, with w' at most 1/4 and |g_i|² at most 2.
        self.mixed_norm = float(np.sqrt(2 * top / n)) / 4 if bounded else None

    def start(self, seed: int = 0) -> Params:
        """Return logits of 0 for all examples, and W = 0, whatever the seed."""
        return {k: np.zeros(shape) for k, shape in self._shapes.items()}

    def weights(self, upper: Array) -> Array:
        """Return w(x)."""
        return sigmoid(upper) if self.by == "sigmoid" else upper.shape[0] * softmax(upper)

    def _pulled(self, upper: Array, c: Array) -> Array:
        """Return the gradient of ``Σ_i c_i w_i(x)``, c held."""
        w = self.weights(upper)
        if self.by == "sigmoid":
            return c * w * (1.0 - w)
        return w * (c - namespace(w).sum(c * w) / w.shape[0])

    def _share(self, x: Params, batch: np.ndarray | None) -> Array:
        """Return each example's share of the mean over the batch."""
        n = self.n_examples or 1
        each = np.full(n, 1.0 / n) if batch is None else np.bincount(batch, minlength=n) / batch.size
        return like(each, _real(x)["lower"])

    def _at(
        self, x: Params, batch: np.ndarray | None, data: str, labels: str
    ) -> tuple[Array, Array, Array, Array]:
        """Return shares, inputs, labels and outputs."""
        check_batch(batch, self.n_examples)
        check_point(x, self._shapes)
        a = self._data(data, _real(x))
        return self._share(x, batch), a, self._data(labels, _real(x)), a @ x["lower"].T

    def upper_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return F."""
        share, _, y, z = self._at(x, batch, "Av", "Yv")
        return namespace(z).sum(share * CrossEntropy.each(z, y))

    def upper_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of F by both players; by the upper one it is 0."""
        share, a, y, z = self._at(x, batch, "Av", "Yv")
        return {"upper": 0.0 * x["upper"], "lower": (share[:, None] * CrossEntropy.gradient(z, y)).T @ a}

    def upper_hvp(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Hessian of F by W times v."""
        share, a, y, z = self._at(x, batch, "Av", "Yv")
        return (share[:, None] * CrossEntropy.hessian(z, y, a @ v.T)).T @ a

    def upper_mixed(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return 0: F has no part of both players."""
        return 0.0 * x["upper"] + 0.0 * namespace(v).sum(v)

    def lower_value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f."""
        share, _, y, z = self._at(x, batch, "A", "Y")
        xp, W = namespace(z), x["lower"]
        return xp.sum(share * self.weights(x["upper"]) * CrossEntropy.each(z, y)) + self.l2 / 2 * xp.sum(
            W * W
        )

    def lower_grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of f by both players."""
        share, a, y, z = self._at(x, batch, "A", "Y")
        weighted = (share * self.weights(x["upper"]))[:, None] * CrossEntropy.gradient(z, y)
        return {
            "upper": self._pulled(x["upper"], share * CrossEntropy.each(z, y)),
            "lower": weighted.T @ a + self.l2 * x["lower"],
        }

    def lower_hvp(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Hessian of f by W times v."""
        share, a, y, z = self._at(x, batch, "A", "Y")
        along = CrossEntropy.hessian(z, y, a @ v.T)
        return ((share * self.weights(x["upper"]))[:, None] * along).T @ a + self.l2 * v

    def lower_mixed(self, x: Params, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient by x of ``Σ_i w_i(x) g_i·(v a_i)/n``."""
        share, a, y, z = self._at(x, batch, "A", "Y")
        along = namespace(z).sum(CrossEntropy.gradient(z, y) * (a @ v.T), axis=1)
        return self._pulled(x["upper"], share * along)

    def hessian(self, x: Params) -> np.ndarray:
        """Return the Hessian of f by W, in the order of its entries, NumPy."""
        p = softmax(self.A @ x["lower"].T)
        w = self.weights(x["upper"]) / (self.n_examples or 1)
        k, d = self._shapes["lower"]
        H = np.zeros((k, d, k, d))
        for c in range(k):
            for e in range(k):
                H[c, :, e, :] = (self.A * (w * p[:, c] * ((c == e) - p[:, e]))[:, None]).T @ self.A
        return H.reshape(k * d, k * d) + self.l2 * np.eye(k * d)

    def response(self, upper: np.ndarray) -> np.ndarray:
        """Return W*(x), NumPy, by Newton's method with halved steps.

        Raises
        ------
        ConvergenceError
            The gradient is not 1e-12 of its size at W = 0 after 100 steps.
        """
        return lower_minimum(self, upper, np.zeros(self._shapes["lower"]))

    def hypergradient(self, upper: np.ndarray) -> np.ndarray:
        """Return the derivative of F(x, W*(x)), NumPy, by the dense Hessian: ``-∇²_xW f H⁻¹ ∇_W F``."""
        return dense_hypergradient(self, upper)


def _real(x: Params) -> Params:
    """Return parameters of the real dtype: data stays real under a complex step."""
    return {k: real_part(v) for k, v in x.items()}
