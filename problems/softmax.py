"""Multiclass logistic regression: one linear layer under the cross-entropy."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from refopt.core.arrays import Array
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.problems.data import (
    BREAST_CANCER,
    DIGITS,
    class_indices,
    load,
    one_hot,
    top_eigenvalue,
    with_intercept,
)
from refopt.problems.network import Network


@register(
    "softmax",
    kind="problem",
    source=Source(
        key="bohning-1992-multinomial",
        authors="Dankmar Böhning",
        title="Multinomial logistic regression algorithm",
        venue="Annals of the Institute of Statistical Mathematics 44(1), 197-200",
        doi="10.1007/BF00048682",
    ),
    where="the multinomial log-likelihood and the bound on its Hessian, which gives L",
    also=(DIGITS, BREAST_CANCER),
)
class Softmax(Network):
    """Multiclass logistic regression with the parameters ``{"W": (C, d), "b": (C,)}``.

    ``f = mean_i (log(sum_c exp(z_ic)) - z_{i y_i}) + l2 (||W||^2 + ||b||^2) / 2`` with
    ``z_i = W a_i + b``. The model is one linear layer, ``layers`` gives it; the inner map is
    ``r = z`` without the l2 term, so that the Hessian is the Gauss-Newton matrix plus ``l2 I``.
    The minimiser is not unique for l2 = 0: adding one vector to all rows of W changes nothing.

    Parameters
    ----------
    data : str, path or pair (X, y)
        ``"digits"``, ``"breast-cancer"``, the path of a LIBSVM-format file, or arrays X (n, d)
        and labels y (n,); the classes are the different labels in ascending order. A SciPy sparse X, or a file of
        which less than a quarter is not zero, stays sparse. Dask arrays stay in blocks: an answer is one graph, a batch
        reads the blocks that it has rows of.
    l2 : float
        Weight of the regulariser of W and b, at least 0.
    n_examples : int, optional
        Use only the first ones of the data.

    Attributes
    ----------
    classes : array of shape (C,)
        The labels of the data, in the order of W's rows.
    lipschitz, strong_convexity
        ``L = lambda_max(A^T A / n) / 2 + l2`` with the constant feature in A (a bound: the Hessian by
        the logits is at most I / 2), and ``mu = l2``.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
        Bad data, fewer than two classes, a negative weight.
    MissingExtraError
        The data comes from scikit-learn and the extra ``data`` is not installed.

    Examples
    --------
    >>> from refopt.problems.softmax import Softmax
    >>> p = Softmax(([[0.0], [1.0]], [0, 1]))
    >>> round(float(p.value(p.start())), 6)  # log(2)
    0.693147
    >>> p.grad(p.start())["W"]
    array([[ 0.25], [-0.25]])
    """

    def __init__(self, data: Any = "digits", l2: float = 0.0, n_examples: int | None = None) -> None:
        check_number(l2, "[0, inf)", "l2")
        inputs, targets = load(data, n_examples, sparse=True, in_blocks=True)
        self.classes, index = class_indices(targets)
        widths = (inputs.shape[1], len(self.classes))
        # There is no hidden layer, so the activation is never applied.
        self._set([("W", "b")], widths, "tanh", "cross-entropy", inputs, one_hot(index, widths[1]), l2)
        self.strong_convexity = self.l2

    @functools.cached_property
    def lipschitz(self) -> float:  # type: ignore[override]
        """``lambda_max(A^T A / n) / 2 + l2``, with the constant feature in A."""
        return top_eigenvalue(with_intercept(self.inputs)) / 2 + self.l2

    @property
    def condition_number(self) -> float | None:  # type: ignore[override]
        """L / mu, None without l2."""
        return self.lipschitz / self.l2 if self.l2 > 0 else None

    def start(self, seed: int = 0) -> dict[str, Array]:
        """Return zeros, whatever the seed."""
        return {name: np.zeros(shape) for name, shape in self._shapes.items()}
