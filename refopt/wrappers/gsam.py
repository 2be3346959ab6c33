"""GSAM: the perturbed loss and the gap below it (Zhuang et al. 2022)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, check_rate, hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper
from refopt.wrappers.sam import across, ascent

ZHUANG = Source("zhuang-2022-surrogate",
    "J. Zhuang, B. Gong, L. Yuan, Y. Cui, H. Adam, N. Dvornek, S. Tatikonda, J. Duncan, T. Liu",
    "Surrogate Gap Minimization Improves Sharpness-Aware Training", arxiv="2203.08065")  # fmt: skip


@register("gsam", source=ZHUANG, where="Algorithm 1")
class GSAM(Wrapper):
    """GSAM: SAM's gradient, less a part of the plain gradient that is orthogonal to it.

    ``g_p = ∇L(w + ρ_t g / ||g||)``, ``g_⊥ = g - (⟨g, g_p⟩ / ||g_p||²) g_p``; the base method steps from w with
    ``g_p - α g_⊥``, which leaves the perturbed loss's decrease as it is and lets the gap to the loss itself fall.

    Notes
    -----
    In the paper ρ_t follows the rate between two bounds: give it as a function of the step.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("logistic"), "gsam", base="momentum", lr=0.1, batch_size=64, steps=50)
    >>> dict(r.calls)
    {'grad': 100}
    """

    rho: Rate = hyper(0.05, "[0, inf)", "ρ_t, in the units of w.")
    alpha: float = hyper(0.4, "[0, inf)", "α; 0 is SAM.")
    eps: float = hyper(0.0, "[0, inf)", "Added to every norm, and to their product; the paper has none.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the combined gradients."""
        t = s["t"] + 1
        rho = check_rate(self.rho(t), f"rho({t})") if callable(self.rho) else float(self.rho)

        def combined(oracle: Oracle, w: Params) -> Params:
            g = oracle.grad(w)
            sharp = oracle.grad(params.axpy(1.0, ascent(g, rho, self.eps), w))
            return params.axpy(-self.alpha, across(g, sharp, self.eps), sharp)

        x, base = self.base.step(x, s["base"], GradientsAt(oracle, combined))
        return x, {"t": t, "base": base}


dialect(GSAM, "official", "juntang-zhuang/GSAM gsam/gsam.py", eps=1e-12)
