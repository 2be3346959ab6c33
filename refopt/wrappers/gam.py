"""Gradient norm aware minimization (Zhang et al. 2023)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, axpy, copied, scale, subtract
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper
from refopt.wrappers.sam import across, ascent, sizes

ZHANG = Source("zhang-2023-gradient", "X. Zhang, R. Xu, H. Yu, H. Zou, P. Cui",
    "Gradient Norm Aware Minimization Seeks First-Order Flatness and Improves Generalization",
    arxiv="2303.03108")  # fmt: skip


@register("gam", source=ZHANG, where="Algorithm 2, the accelerated form")
class GAM(Wrapper):
    """GAM: the base steps with a gradient that also lowers the largest gradient norm nearby, from four gradients.

    ``g0 = ∇L(θ)``, ``g1 = ∇L(θ + ρ' g0/(‖g0‖ + ξ))``, ``h0 = g1 - g0``, ``θ2 = θ + ρ h0/(‖h0‖ + ξ)``,
    ``g2 = ∇L(θ2)``, ``g3 = ∇L(θ2 + ρ' g2/(‖g2‖ + ξ))``; ``h+ = α g1 + (1 - α) g3``, ``h- = β g0 + (1 - β) g2``, and
    the base is given ``h+ - γ (h- - ⟨h-, h+⟩/‖h+‖² h+)``. Norms are over all parameters, gradients of one batch.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "gam", base="momentum", lr=0.05, steps=100)
    >>> dict(r.calls)
    {'grad': 400}
    """

    rho: float = hyper(0.2, "[0, inf)", "ρ, of the step that raises the gradient's norm.")
    rho_inner: float = hyper(0.02, "[0, inf)", "ρ', of the steps along gradients.")
    alpha: float = hyper(0.6, "[0, 1]", "α.")
    beta: float = hyper(0.5, "[0, 1]", "β.")
    gamma: float = hyper(0.03, "[0, inf)", "γ.")
    eps: float = hyper(1e-12, "[0, inf)", "ξ; a gradient of zero is not moved along.")
    adaptive: bool = hyper(False, words="All three steps as in ASAM: ``ρ w² ⊙ g/(‖ |w| ⊙ g ‖ + ξ)``.")
    whole: bool = hyper(False, words="``h- = g0 + (1 - β) g2`` in place of the mean (the authors' code).")
    words = {
        "base": "The method that steps; a name takes further hyperparameters (``lr=...``).",
        "schedule": "Of the base's rate: handed on to a base that is given by name.",
    }

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the gradients of GAM."""
        x, base = self.base.step(x, s["base"], GradientsAt(oracle, self.gradient))
        return x, {"t": s["t"] + 1, "base": base}

    def gradient(self, oracle: Oracle, w: Params) -> Params:
        """Return what the base is given in the place of the gradient at `w`."""
        g0, g1 = self.pair(oracle, w)
        there = axpy(1.0, self.ascent(w, subtract(g1, g0), self.rho), w)
        g2, g3 = self.pair(oracle, there)
        plus = axpy(self.alpha, g1, scale(1.0 - self.alpha, g3))
        minus = axpy(1.0 if self.whole else self.beta, g0, scale(1.0 - self.beta, g2))
        return axpy(-self.gamma, across(minus, plus), plus)

    def pair(self, oracle: Oracle, w: Params) -> tuple[Params, Params]:
        """Return the gradients at `w` and at the worst point near it."""
        g = copied(oracle.grad(w))
        return g, copied(oracle.grad(axpy(1.0, self.ascent(w, g, self.rho_inner), w)))

    def ascent(self, w: Params, g: Params, rho: float) -> Params:
        """Return a step of length `rho` along `g`, at `w`."""
        return ascent(g, rho, self.eps, sizes(w) if self.adaptive else None)


dialect(GAM, "official", "xxgege/GAM gam/gam.py", "β weighs g2 alone", whole=True)
