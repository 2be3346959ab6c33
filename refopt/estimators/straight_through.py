"""Gradients through categorical draws: straight-through, and ReinMax, exact to second order (Liu et al. 2023)."""

from __future__ import annotations

import numpy as np

from refopt.core.arrays import Array, like, namespace, to_numpy
from refopt.core.hyper import hyper
from refopt.core.oracle import Oracle
from refopt.core.params import Params, leaves, map_leaves, rebuild
from refopt.core.registry import dialect, register
from refopt.estimators.base import Estimator
from refopt.problems.categorical_latent import LIU
from refopt.problems.losses import softmax


def one_hot_draws(x: Params, rng: np.random.Generator) -> Params:
    """Return one-hot rows drawn from the softmax of the last axis of every leaf."""
    out = {}
    for name, leaf in leaves(x).items():
        below = np.cumsum(to_numpy(softmax(leaf)).astype(np.float64), axis=-1)
        u = rng.random(below.shape[:-1])[..., None] * below[..., -1:]
        index = np.minimum(np.sum(below <= u, axis=-1), below.shape[-1] - 1)
        out[name] = like(np.eye(below.shape[-1])[index], leaf)
    return rebuild(x, out)


def spread(q: Array, g: Array) -> Array:
    """Return ``(diag(q) - q qᵀ) g`` along the last axis."""
    inner = namespace(q).sum(q * g, axis=-1, keepdims=True)
    return q * (g - inner)


@register("straight-through", source=LIU, where="the Straight-Through estimator, with a temperature", needs=("sample_grad",),
    calm_problem=("categorical-latent", {}))  # fmt: skip
class StraightThrough(Estimator):
    """Straight-through: the gradient by a one-hot draw is passed on through the softmax, as if that had been drawn.

    ``ĝ = J(π_τ) ∇f(D)/τ``, ``D ~ softmax(θ)``, ``π_τ = softmax(θ/τ)``, ``J(q) = diag(q) - q qᵀ``, for each variable (the last axis).
    Its mean is the gradient of E f(D) for linear f.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("categorical-latent")
    >>> r = refopt.minimize(p, "straight-through", lr=0.3, steps=200)
    >>> bool(p.value(r.x) < p.value(p.start()))
    True
    """

    temperature: float = hyper(1.0, "(0, inf)", "τ.")

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return ĝ."""
        d = one_hot_draws(x, oracle.rng)
        return map_leaves(self.passed, x, d, oracle.sample_grad(x, d))

    def passed(self, x: Array, d: Array, g: Array) -> Array:
        """Return ĝ of one leaf, given the draw and the gradient there."""
        return spread(softmax(x / self.temperature), g) / self.temperature


@register("reinmax", source=LIU, where="the ReinMax estimator, with a temperature", needs=("sample_grad",),
    calm_problem=("categorical-latent", {}))  # fmt: skip
class ReinMax(StraightThrough):
    """ReinMax: straight-through made exact to second order, by Heun's rule between the softmax and the draw.

    ``ĝ = 2 J((π_τ + D)/2) ∇f(D) - J(π) ∇f(D)/2`` with π = π_1, ``D ~ π``, ``π_τ = softmax(θ/τ)``, ``J(q) = diag(q) - q qᵀ``, for each
    variable (the last axis). With τ = 1 its mean is the gradient of E f(D) for quadratic f.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("categorical-latent")
    >>> r = refopt.minimize(p, "reinmax", lr=0.3, steps=200)
    >>> bool(p.value(r.x) < p.value(p.start()))
    True
    """

    temperature: float = hyper(1.0, "[1, inf)", "τ.")

    def passed(self, x: Array, d: Array, g: Array) -> Array:
        """Return ĝ of one leaf, given the draw and the gradient there."""
        middle = (softmax(x / self.temperature) + d) / 2.0
        return 2.0 * spread(middle, g) - spread(softmax(x), g) / 2.0


dialect(ReinMax, "official", "microsoft/ReinMax reinmax.py")
