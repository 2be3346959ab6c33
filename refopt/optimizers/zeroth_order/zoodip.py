"""Zeroth-order Adam whose estimates lose the directions in which the iterates hardly move (Seo et al. 2025)."""

from __future__ import annotations

import math

import numpy as np

from refopt.core.arrays import Array, like, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, flatten, leaves, scale, size, unflatten
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.first_order.adam import Adam
from refopt.optimizers.zeroth_order.estimates import mean, slopes

SEO = Source("seo-2025-efficient", "H. Seo, W. Jeong, J.-W. Lee, S. Y. Chun",
    "Efficient Personalization of Quantized Diffusion Model without Backpropagation", arxiv="2503.14868")  # fmt: skip


@register("zo-subspace", source=SEO, where="subspace gradient, with its zeroth-order Adam", needs=("value",),
    calm_problem=("quadratic", {"n": 12}))  # fmt: skip
class ZOSubspace(Method):
    """ZO-subspace: Adam on one-sided estimates without the directions of least variance of past iterates.

    ``ĝ = Σ c_i z_i / (n sqrt((d' + n - 1)/n))`` with ``c_i = (f(x + ε z_i) - f(x)) / ε``; ``ĝ ← ĝ - ĝ Pᵀ P``; then
    `adam`. Every τ steps the last τ iterates are centred and decomposed: with r the shares of variance, summed from
    the largest, and i the first index with r_i > 1 - ν, P has the principal directions after the i-th. d' = d
    without as many. There is no P before.

    Notes
    -----
    A direction without any variance is in no P here (the last one of centred iterates has none, and would be what
    rounding makes of it); what lies outside the span of the iterates is kept. Adam's averages keep what they have of a
    direction that is removed.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=8)
    >>> r = refopt.minimize(p, "zo-subspace", lr=0.02, samples=2, period=20, steps=300)
    >>> dict(r.calls), bool(r.fun < 0.1 * r.history["value"][0])
    ({'value': 900}, True)
    """

    lr: Rate = hyper(1e-2, "[0, inf)", "η.")
    radius: float = hyper(1e-3, "(0, inf)", "ε.")
    samples: int = hyper(2, "int [1, inf)", "n.")
    period: int = hyper(128, "int [2, inf)", "τ.")
    share: float = hyper(1e-3, "[0, 1]", "ν, the share of the variance that may go.")
    beta1: float = hyper(0.9, "[0, 1)", "β1 of Adam.")
    beta2: float = hyper(0.999, "[0, 1)", "β2 of Adam.")
    eps: float = hyper(1e-3, "[0, inf)", "Adam's ε.")
    standardize: bool = hyper(False,
        words="Divide every coordinate of the centred iterates by its standard deviation first (the authors'"
        " code).")  # fmt: skip

    @property
    def adam(self) -> Adam:
        """The Adam that makes the step."""
        return Adam(lr=self.lr, beta1=self.beta1, beta2=self.beta2, eps=self.eps, schedule=self.schedule)

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no history and no P, each of τ rows of zeros."""
        first = next(iter(leaves(x).values()))
        empty = like(np.zeros((self.period, size(x))), first)
        return {
            **self.adam.init(x),
            "history": empty,
            "removed": like(np.zeros((self.period, size(x))), first),
        }

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Estimate, project, make Adam's step, remember the new iterate, and decompose where it is time."""
        moments = {k: s[k] for k in s if k not in ("history", "removed")}
        x, new = self.adam.update(x, self.estimate(x, s["removed"], oracle), moments)
        xp, t = namespace(s["history"]), new["t"]
        flat = like(flatten(x), s["history"])
        rows = [s["history"][i, ...] for i in range(self.period)]
        rows[(t - 1) % self.period] = flat
        history, removed = xp.stack(rows), s["removed"]
        if t % self.period == 0:
            removed = self.least(history)
        return x, {**new, "history": history, "removed": removed}

    def estimate(self, x: Params, removed: Array, oracle: Oracle) -> Params:
        """Return ĝ without the removed directions."""
        n, xp = self.samples, namespace(removed)
        gone = int(xp.sum(xp.astype(xp.any(removed != 0, axis=1), xp.int64)))
        g = mean(slopes(oracle, x, "gaussian", self.radius, "one-sided", n))
        g = scale(1.0 / math.sqrt((size(x) - gone + n - 1) / n), g)
        if not gone:
            return g
        v = like(flatten(g), removed)
        return unflatten(flatten(v - (removed @ v) @ removed), x)

    def least(self, history: Array) -> Array:
        """Return P as τ rows, those beyond its own zero."""
        xp = namespace(history)
        centred = history - xp.mean(history, axis=0)
        if self.standardize:
            spread = xp.sqrt(xp.mean(centred * centred, axis=0))
            centred = centred / xp.where(spread > 0, spread, xp.ones_like(spread))
        _, values, directions = xp.linalg.svd(centred, full_matrices=False)
        found = flatten(values).astype(np.float64)
        some = found > found[0] * max(history.shape) * float(xp.finfo(history.dtype).eps)
        if not some.any():
            return xp.zeros_like(history)
        shares = np.cumsum(found**2) / np.sum(found**2)
        last = int(np.argmax(shares > 1.0 - self.share)) if self.share > 0 else found.size - 1
        low = (np.arange(found.size) > last) & some
        out = np.zeros(tuple(history.shape))
        out[: int(low.sum())] = flatten(directions).reshape(found.size, -1)[low]
        return like(out, history)


dialect(ZOSubspace, "official", "ignoww/ZOODiP train_zoodip.py",
    "its P is rounded to half precision, and has the direction without variance too", standardize=True)  # fmt: skip
