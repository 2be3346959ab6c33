"""Friendly SAM: perturbations by what is particular to the batch (Li et al. 2024)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, copied, map_leaves, zeros_like
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.wrappers.base import Wrapper
from refopt.wrappers.sam import ascent

LI = Source("li-2024-friendly", "T. Li, P. Zhou, Z. He, X. Cheng, X. Huang",
    "Friendly Sharpness-Aware Minimization", arxiv="2403.12350")  # fmt: skip


@register("friendly-sam", source=LI, where="Algorithm 1")
class FriendlySAM(Wrapper):
    """Friendly SAM: SAM without the full gradient's part in the perturbation, for which an average stands.

    ``d = g_t - σ m_{t-1}``, ``m_t = λ m_{t-1} + (1 - λ) g_t``; the base method steps from w with the gradient at
    ``w + ρ d / ||d||``. In the first step d = m = g.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("logistic"), "friendly-sam", base="momentum", lr=0.1, batch_size=64, steps=50)
    >>> dict(r.calls)
    {'grad': 100}
    """

    rho: float = hyper(0.05, "[0, inf)", "ρ, in the units of w.")
    sigma: float = hyper(1.0, "[0, inf)", "σ; 0 is SAM.")
    average: float = hyper(0.9, "[0, 1)", "λ.")
    eps: float = hyper(0.0, "[0, inf)", "Added to the norm; the paper has none.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's, and m."""
        return {**super().init(x), "m": zeros_like(params.check_start(x, "x"))}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the gradient beside its point."""
        g = oracle.grad(x)
        if s["t"] == 0:
            d, m = g, copied(g)
        else:
            d = params.axpy(-self.sigma, s["m"], g)
            m = map_leaves(lambda a, b: ema(a, b, self.average, 1.0 - self.average), s["m"], g)
        e = ascent(d, self.rho, self.eps)
        inner = GradientsAt(oracle, lambda oracle, w: oracle.grad(params.axpy(1.0, e, w)))
        x, base = self.base.step(x, s["base"], inner)
        return x, {"t": s["t"] + 1, "base": base, "m": m}


dialect(FriendlySAM, "official", "nblt/F-SAM utils.py FriendlySAM", eps=1e-12)
