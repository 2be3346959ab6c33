"""Two encoders under a contrastive loss over all pairs of a batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ShapeError
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, frozen, real_part, rows
from refopt.problems.losses import softmax

GAO = Source("gao-2021-scaling", "L. Gao, Y. Zhang, J. Han, J. Callan",
    "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arxiv="2101.06983")  # fmt: skip


@register("two-tower", kind="problem", source=GAO, where="the contrastive loss with in-batch negatives")
class TwoTower(Problem):
    """Two tanh encoders, whose representations of a pair should be nearer than those of others.

    The parameters are ``{"W": (k, d), "V": (k, e)}``; ``f = mean_i log Σ_j exp(<x_i, y_j> - <x_i, y_i>)`` with ``x_i = tanh(W a_i)``, ``y_i = tanh(V b_i)``: every example is a negative
    for all others of its batch, so that f is no mean over examples (`additive` is False). As a composition r is [x, y], shape
    (B, 2 k), whose rows depend on their own example alone.

    Parameters
    ----------
    width : int
        k.
    n_examples : int
    dimensions : tuple of int
        d and e.
    seed : int
        Of the pairs: a_i and b_i are linear images of a common normal vector of k entries, with noise of deviation 0.3.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        A number out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.two_tower import TwoTower
    >>> p = TwoTower(n_examples=8)
    >>> x = {name: 0.0 * w for name, w in p.start().items()}
    >>> bool(abs(float(p.value(x)) - np.log(8)) < 1e-14)
    True
    """

    additive = False

    def __init__(
        self, width: int = 3, n_examples: int = 12, dimensions: tuple[int, int] = (5, 4), seed: int = 0
    ) -> None:
        check_number(width, "int [1, inf)", "width")
        check_number(n_examples, "int [1, inf)", "n_examples")
        for i, d in enumerate(dimensions):
            check_number(d, "int [1, inf)", f"dimensions[{i}]")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        rng = generator(seed, "problem")
        common = rng.standard_normal((n_examples, width))
        self.first, self.second = (
            frozen(common @ rng.standard_normal((width, d)) + 0.3 * rng.standard_normal((n_examples, d)))
            for d in dimensions
        )
        self.n_examples, self.width = int(n_examples), int(width)
        self._shapes = {"W": (self.width, int(dimensions[0])), "V": (self.width, int(dimensions[1]))}

    def start(self, seed: int = 0) -> Params:
        """Return weights of variance 1 / inputs."""
        rng = generator(seed, "start")
        return {k: rng.standard_normal(s) / math.sqrt(s[1]) for k, s in self._shapes.items()}

    def _pass(self, x: Params, batch: Any) -> tuple[Array, Array, Array, Array]:
        """Return the inputs and the representations of both sides."""
        check_point(x, self._shapes)
        check_batch(batch, self.n_examples)
        a, b = rows(self, "first", x, batch), rows(self, "second", x, batch)
        xp = namespace(a)
        return a, b, xp.tanh(a @ x["W"].T), xp.tanh(b @ x["V"].T)

    def residual(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return the representations, shape (B, 2 k)."""
        _, _, left, right = self._pass(x, batch)
        return namespace(left).concat([left, right], axis=1)

    def value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f of the batch's pairs."""
        _, _, left, right = self._pass(x, batch)
        xp, logits = namespace(left), left @ right.T
        logits = logits - xp.sum(left * right, axis=1)[:, None]
        most = xp.max(real_part(logits), axis=1, keepdims=True)
        return xp.mean(most[:, 0] + xp.log(xp.sum(xp.exp(logits - most), axis=1)))

    def loss_gradient(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return the gradient by the representations, like r."""
        _, _, left, right = self._pass(x, batch)
        shares = softmax(left @ right.T)
        n = left.shape[0]
        xp = namespace(left)
        return xp.concat([shares @ right - right, shares.T @ left - left], axis=1) / n

    def vjp(self, x: Params, u: Array, batch: np.ndarray | None = None) -> Params:
        """Return the transposed Jacobian of r times u."""
        a, b, left, right = self._pass(x, batch)
        if tuple(getattr(u, "shape", ())) != (left.shape[0], 2 * self.width):
            raise ShapeError(
                f"u: wanted shape {(left.shape[0], 2 * self.width)} like the residual, got {getattr(u, 'shape', ())}"
            )
        first, second = u[:, : self.width] * (1.0 - left * left), u[:, self.width :] * (1.0 - right * right)
        return {"W": first.T @ a, "V": second.T @ b}

    def jvp(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Array:
        """Return the Jacobian of r times v."""
        a, b, left, right = self._pass(x, batch)
        check_point(v, self._shapes, "v")
        sides = [(a @ v["W"].T) * (1.0 - left * left), (b @ v["V"].T) * (1.0 - right * right)]
        return namespace(left).concat(sides, axis=1)

    def grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of f."""
        return self.vjp(x, self.loss_gradient(x, batch), batch)
