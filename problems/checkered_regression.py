"""Checkered regression: the parity of hyperplanes' sides as a classifier (Achab 2023)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, count, frozen, real_part, rows
from refopt.problems.data import load
from refopt.problems.losses import sigmoid, softplus

ACHAB = Source("achab-2023-beyond", "M. Achab",
    "Beyond Log-Concavity: Theory and Algorithm for Sum-Log-Concave Optimization", arxiv="2309.15298")  # fmt: skip


@register("checkered-regression", kind="problem", source=ACHAB, where="Definition 5.4, its log-loss")
class CheckeredRegression(Problem):
    """Binary checkered regression: ``P(0|a) = (1 + Π_k tanh(<w_k, a>/2))/2``, x = (w_1, ..., w_m) of shape (m, d).

    f is the mean of ``-log P(y_i|a_i)``. Each is ``-log Σ_s exp(-ℓ_s)`` with convex ``ℓ_s = Σ_k log(1 + exp(-ε_sk <w_k, a>))``, over
    the 2^(m-1) sign vectors ε_s with an even number of -1 for y = 0, odd for y = 1; all but the last sign in the order of
    counting, + before -. `term_weights` are the shares ``exp(-ℓ_s)/Σ exp(-ℓ)``, and `term_grad` is the mean of ``Σ_s w_s ∇ℓ_s``.

    Parameters
    ----------
    planes : int
        m, from 1 (logistic regression) to 12.
    n_examples : int
        Of the default data: four normal clouds around (±1, ±1), of variance 0.2, labelled by the sign of the product of
        their centres' coordinates (1 where it is negative).
    data : pair of arrays or path, optional
        A (n, d) and labels 0 and 1.
    seed : int
        Of the default data.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
        A number out of its range, bad data.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.checkered_regression import CheckeredRegression
    >>> p = CheckeredRegression()
    >>> x = np.zeros((2, 2))
    >>> round(float(p.value(x)), 6), float(abs(p.grad(x)).max())  # log 2, at a saddle
    (0.693147, 0.0)
    """

    def __init__(self, planes: int = 2, n_examples: int = 40, data: Any = None, seed: int = 0) -> None:
        check_number(planes, "int [1, 13)", "planes")
        check_number(n_examples, "int [1, inf)", "n_examples")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        if data is None:
            rng = generator(seed, "problem")
            centres = rng.integers(0, 2, (n_examples, 2)) * 2.0 - 1.0
            inputs = centres + np.sqrt(0.2) * rng.standard_normal((n_examples, 2))
            labels = (np.prod(centres, axis=1) < 0).astype(float)
        else:
            inputs, labels = load(data)
            if labels.ndim != 1 or not set(np.unique(labels)) <= {0.0, 1.0}:
                raise ArgumentError("data: wanted labels 0 and 1, shape (n,)")
        self.inputs, self.labels = frozen(inputs), frozen(labels)
        self.n_examples, self.planes = len(inputs), int(planes)
        self._shapes = {"": (self.planes, self.inputs.shape[1])}
        free = np.array(list(itertools.product((1.0, -1.0), repeat=planes - 1))).reshape(
            2 ** (planes - 1), planes - 1
        )
        even = np.column_stack([free, np.prod(free, axis=1)])
        odd = even * np.where(np.arange(planes) == planes - 1, -1.0, 1.0)
        signs = np.where(self.labels[:, None, None] > 0, odd, even)
        self._signs = frozen(signs)

    def start(self, seed: int = 0) -> Array:
        """Return a normal start."""
        return generator(seed, "start").standard_normal(self._shapes[""])

    def _parts(self, x: Array, batch: np.ndarray | None) -> tuple[Array, Array, Array, Array]:
        """Return the inputs, the signs, ``ε_sk <w_k, a>``, shape (B, S, m), and the ℓ_s, shape (B, S)."""
        check_point(x, self._shapes)
        check_batch(batch, self.n_examples)
        a, signs = rows(self, "inputs", x, batch), rows(self, "_signs", x, batch)
        margins = signs * (a @ x.T)[:, None, :]
        return a, signs, margins, namespace(x).sum(softplus(-margins), axis=-1)

    @staticmethod
    def _least(losses: Array) -> Array:
        return namespace(losses).min(real_part(losses), axis=1, keepdims=True)

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f(x)."""
        xp, losses = namespace(x), self._parts(x, batch)[3]
        least = self._least(losses)
        return xp.mean(least[:, 0] - xp.log(xp.sum(xp.exp(least - losses), axis=1)))

    def term_weights(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return each example's shares of the terms, shape (B, S)."""
        xp, losses = namespace(x), self._parts(x, batch)[3]
        shares = xp.exp(self._least(losses) - losses)
        return shares / xp.sum(shares, axis=1, keepdims=True)

    def term_grad(self, x: Array, weights: Array, batch: np.ndarray | None = None) -> Array:
        """Return the mean over examples of ``Σ_s w_s ∇ℓ_s``."""
        a, signs, margins, losses = self._parts(x, batch)
        if tuple(getattr(weights, "shape", ())) != tuple(losses.shape):
            raise ShapeError(
                f"weights: wanted shape {tuple(losses.shape)}, got {getattr(weights, 'shape', ())}"
            )
        slopes = namespace(x).sum(weights[:, :, None] * -signs * sigmoid(-margins), axis=1)
        return slopes.T @ a / count(self, batch)

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient: the terms' with their own shares."""
        return self.term_grad(x, self.term_weights(x, batch), batch)
