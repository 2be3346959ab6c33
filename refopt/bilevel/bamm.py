"""sl-BAMM: one loop, without strong convexity below (Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

from refopt.bilevel.base import Bilevel, checked, pair
from refopt.core.arrays import Array, norm
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, copied, dot, zeros_like
from refopt.core.registry import Source, dialect, register

LIU = Source("liu-2023-averaged", "R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang",
    "Averaged Method of Multipliers for Bi-Level Optimization without Lower-Level Strong Convexity",
    arxiv="2302.03407")  # fmt: skip

Product = Callable[[Params, Array], Array]


@register("bamm", source=LIU, where="Algorithm 1", needs=("upper_grad", "lower_grad", "lower_hvp", "lower_mixed",
    "upper_hvp", "upper_mixed"), calm_problem=("merely-convex-lower", {}))  # fmt: skip
class BAMM(Bilevel):
    """sl-BAMM: players and multiplier step at once, on the average of both levels.

    With ``ψ = (1 - μ_k) f + μ_k F`` and all right sides at step k = 0, 1, …,
    ``y⁺ = y - β ∇_y ψ``, ``v⁺ = v - η_k (∇²_yy ψ v - ∇_y F)``, ``x⁺ = x - α_k (∇_x F - ∇²_xy ψ v)``, from v = 0, with
    ``μ_k = μ_0 (k+1)^{-1/p}``, ``η_k = η (k+1)^{-τ/2}`` and ``α_k = α (k+1)^{-3τ/2} μ_k³``. If the lower level is
    strongly convex, μ_0 = 0, and α_k is without its last factor.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("merely-convex-lower", n=2)
    >>> r = refopt.minimize(p, "bamm", steps=4000)
    >>> bool(abs(r.x["upper"] - 1.0).max() < 0.1)
    True
    """

    lr: Rate = hyper(0.1, "[0, inf)", "α.")
    lower_lr: float = hyper(0.1, "[0, inf)", "β.")
    multiplier_lr: float = hyper(0.1, "[0, inf)", "η; not used with `exact_multiplier`.")
    mu: float = hyper(0.9, "[0, 1)", "μ_0; 0 for a strongly convex lower level.")
    p: float = hyper(10.0, "(0, inf)", "p.")
    tau: float = hyper(0.025, "[0, inf)", "τ.")
    exact_multiplier: bool = hyper(False,
        words="η_k is steepest descent's, ``‖r‖²/(rᵀ∇²_yyψ r)`` with ``r = ∇²_yyψ v - ∇_y F``.")  # fmt: skip
    frozen_mu: float | None = hyper(None, "[0, 1)", "μ of ψ alone, for all k; None: μ_k.")

    @property
    def needs(self) -> tuple[str, ...]:
        """Second derivatives of F only where F has a share in ψ."""
        share = self.mu if self.frozen_mu is None else self.frozen_mu
        return tuple(n for n in self.own_needs if share or n not in ("upper_hvp", "upper_mixed"))

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: v = 0."""
        return {"t": 0, "v": zeros_like(checked(x)["lower"])}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step all three from the old ones."""
        t, v, y = s["t"] + 1, s["v"], x["lower"]
        mu = self.mu * t ** (-1.0 / self.p)
        share = mu if self.frozen_mu is None else self.frozen_mu
        F, f = copied(oracle.upper_grad(x)), oracle.lower_grad(x)

        def mixed(u: Array, of_lower: Product, of_upper: Product) -> Array:
            """Return a second derivative of ψ times u; F is not asked where it has no share."""
            lower = (1.0 - share) * of_lower(x, u)
            return lower + share * of_upper(x, u) if share else lower

        r = mixed(v, oracle.lower_hvp, oracle.upper_hvp) - F["lower"]
        eta = self.multiplier_lr * t ** (-self.tau / 2.0)
        if self.exact_multiplier:
            eta = steepest(r, lambda u: mixed(u, oracle.lower_hvp, oracle.upper_hvp))
        rate = self.rate(t) * t ** (-1.5 * self.tau) * (mu**3 if self.mu else 1.0)
        d = F["upper"] - mixed(v, oracle.lower_mixed, oracle.upper_mixed)
        lower = y - self.lower_lr * ((1.0 - share) * f["lower"] + share * F["lower"])
        return pair(x["upper"] - rate * d, lower), {"t": t, "v": v - eta * r}


def steepest(r: Array, product: Callable[[Array], Array]) -> float:
    """Return ``‖r‖²/(rᵀHr)``; 0 where r is, or where there is no curvature."""
    size = norm(r)
    if size == 0.0:
        return 0.0
    unit = r / size
    curvature = dot(unit, product(unit))
    return 1.0 / curvature if curvature > 0.0 else 0.0


dialect(BAMM, "official", "vis-opt-group/sl-BAMM merely_convex/strategy3.py, mode BAMM_CG",
    "μ of the average is a default argument, so that μ_k is in x's rate alone", exact_multiplier=True,
    frozen_mu=0.1)  # fmt: skip
