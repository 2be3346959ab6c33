"""Gradient-free methods for nonsmooth nonconvex functions (Lin et al. 2022, Chen et al. 2023)."""

from __future__ import annotations

import numpy as np

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, copied
from refopt.core.registry import Source, register
from refopt.optimizers.zeroth_order.estimates import mean, slope, unit

LIN = Source("lin-2022-gradientfree", "T. Lin, Z. Zheng, M. I. Jordan",
    "Gradient-Free Methods for Deterministic and Stochastic Nonsmooth Nonconvex Optimization",
    arxiv="2209.05045")  # fmt: skip
CHEN = Source("chen-2023-faster", "L. Chen, J. Xu, L. Luo",
    "Faster Gradient-Free Algorithms for Nonsmooth Nonconvex Stochastic Optimization", arxiv="2301.06428")  # fmt: skip
Pairs = list[tuple[Oracle, Params]]


class OnTheSphere(Method):
    """What both share: the estimate on the sphere of radius δ, and an iterate drawn from all."""

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    radius: float = hyper(1e-2, "(0, inf)", "δ.")
    samples: int = hyper(1, "int [1, inf)",
        "b, the directions of a step, among which the batch's examples are dealt out; as many as examples:"
        " one each, the paper's setting.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        return {"t": 0, "chosen": copied(x)}

    @staticmethod
    def pairs(oracle: Oracle, x: Params, n: int) -> Pairs:
        """Return n directions of the unit sphere, each with the examples that it is for."""
        parts: list[Oracle] = [oracle] * n
        if oracle.batch is not None and oracle.batch.size >= n:
            parts = [oracle.on(part) for part in np.array_split(oracle.batch, n)]
        return [(part, unit(oracle.rng, x)) for part in parts]

    def smoothed(self, pairs: Pairs, x: Params) -> Params:
        """Return the mean of ``d/(2δ) (F(x + δ w; ξ) - F(x - δ w; ξ)) w`` over pairs (ξ, w)."""
        d = params.size(x)
        return mean([(d * slope(part, x, w, self.radius), w) for part, w in pairs])

    @staticmethod
    def choose(x: Params, s: State, oracle: Oracle) -> Params:
        """Return one of x_0 … x_t with equal chances: the newest with 1/(t + 1), else the one chosen before."""
        return x if int(oracle.rng.integers(0, s["t"] + 1)) == 0 else s["chosen"]


@register("gfm", source=LIN, where="the gradient-free method and its stochastic form", needs=("value",),
    also=(CHEN,), state_copies=1)  # fmt: skip
class GFM(OnTheSphere):
    """GFM: descent with two-point estimates on the unit sphere, unbiased for the smoothed function's gradient.

    ``g_t = (1/b) Σ d/(2δ) (F(x_t + δ w_i; ξ_i) - F(x_t - δ w_i; ξ_i)) w_i``, ``x_{t+1} = x_t - η g_t``, with w
    uniform on the unit sphere. E[g_t] is the gradient of ``f_δ(x) = E f(x + δ u)``, u uniform in the unit ball,
    which lies in the δ-subdifferential of Goldstein.

    The output that the theorem is about, x_R with R uniform on 0 … t-1, is the state's ``chosen``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(np.sum(np.abs(x))), x0=np.array([1.0, -2.0]))
    >>> r = refopt.minimize(p, "gfm", lr=0.01, radius=0.05, steps=500)
    >>> dict(r.calls), r.fun < 0.1
    ({'value': 1000}, True)
    """

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Estimate and descend."""
        t = s["t"] + 1
        g = self.smoothed(self.pairs(oracle, x, self.samples), x)
        return params.axpy(-self.rate(t), g, x), {"t": t, "chosen": self.choose(x, s, oracle)}


@register("gfm-plus", source=CHEN, where="Algorithm 2, GFM+", needs=("value",), also=(LIN,), state_copies=3)
class GFMPlus(OnTheSphere):
    """GFM+: GFM whose estimate is corrected from step to step, and taken anew at the head of each period.

    With S a set of b pairs (w, ξ): ``v_t = ĝ(x_t; S')`` with b' pairs where m divides t, otherwise
    ``v_t = v_{t-1} + ĝ(x_t; S) - ĝ(x_{t-1}; S)`` with the same b pairs at both points; ``x_{t+1} = x_t - η v_t``.

    The state's ``chosen`` is one of the iterates 0 … t-1, uniformly. The counter t begins at 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(np.sum(np.abs(x))), x0=np.array([1.0, -2.0]))
    >>> r = refopt.minimize(p, "gfm-plus", lr=0.01, radius=0.1, big_samples=20, period=5, steps=500)
    >>> dict(r.calls), r.fun < 0.2
    ({'value': 5600}, True)
    """

    period: int = hyper(10, "int [1, inf)", "m.")
    big_samples: int = hyper(10, "int [1, inf)",
        "b', the directions at the head of a period; where the run is on batches, with as many examples drawn"
        " independently.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        return {**super().init(x), "v": params.zeros_like(x), "previous": copied(x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Estimate anew or correct, and descend."""
        t = s["t"] + 1
        if s["t"] % self.period == 0:
            fresh = oracle if oracle.batch is None else oracle.on(oracle.draw(self.big_samples))
            v = self.smoothed(self.pairs(fresh, x, self.big_samples), x)
        else:
            pairs = self.pairs(oracle, x, self.samples)
            change = params.subtract(self.smoothed(pairs, x), self.smoothed(pairs, s["previous"]))
            v = params.axpy(1.0, s["v"], change)
        chosen = self.choose(x, s, oracle)
        return params.axpy(-self.rate(t), v, x), {"t": t, "chosen": chosen, "v": v, "previous": x}
