"""The gradient of a loss over all pairs of a large batch, a chunk at a time (Gao et al. 2021)."""

from __future__ import annotations

import numpy as np

from refopt.core.arrays import norm
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import hyper
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, zeros_like
from refopt.core.registry import register
from refopt.estimators.base import Estimator
from refopt.problems.two_tower import GAO


@register("gradient-cache", source=GAO, where="the gradient cache", needs=("residual", "loss_gradient", "vjp"),
    calm_problem=("two-tower", {}))  # fmt: skip
class GradientCache(Estimator):
    """Gradient cache: a loss's gradient by all representations is kept, and back-propagated by chunks.

    For f = φ(r_1, ..., r_B), each r_i of its own example: ``U = ∂φ/∂r`` once for the whole batch, then ``Σ_chunks J_chunkᵀ U_chunk``,
    so that no more than a chunk's intermediate results are held at a time. It is the gradient, to rounding: no mean of the chunks' own losses.

    Raises
    ------
    ArgumentError, ShapeError
        The residual's rows depend on who else is in the batch.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("two-tower")
    >>> a = refopt.minimize(p, "gradient-cache", chunk=4, lr=0.1, steps=20).x
    >>> b = refopt.minimize(p, "sgd", lr=0.1, steps=20).x
    >>> bool(max(abs(a[k] - b[k]).max() for k in a) < 1e-13)
    True
    """

    chunk: int = hyper(4, "int [1, inf)", "The most examples at a time.")

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return the gradient."""
        cached = oracle.loss_gradient(x)
        whole = np.arange(cached.shape[0]) if oracle.batch is None else oracle.batch
        total, done = zeros_like(x), 0
        for rows in np.split(whole, np.arange(self.chunk, whole.size, self.chunk)):
            part = oracle.on(rows)
            if not done and rows.size < whole.size:
                self.check(oracle.on(rows[:1]), part, x, (rows.size, *cached.shape[1:]))
            total = axpy(1.0, part.vjp(x, cached[done : done + rows.size, ...]), total)
            done += rows.size
        return total

    @staticmethod
    def check(alone: Oracle, together: Oracle, x: Params, shape: tuple[int, ...]) -> None:
        """Raise unless representations are of `shape`, and an example's is the same alone as in a chunk."""
        one, several = alone.residual(x), together.residual(x)
        if tuple(several.shape) != shape:
            raise ShapeError(f"residual: wanted shape {shape} like loss_gradient, got {tuple(several.shape)}")
        if norm(one - several[:1, ...]) > 1e-3 * norm(one):
            raise ArgumentError(
                "residual: wanted rows that depend on their own example alone, whoever else is in the batch"
            )
