"""LV-HBA: the proximal Lagrangian value function, by gradients alone (Yao et al. 2024)."""

from __future__ import annotations

from refopt.bilevel.base import Bilevel, checked, pair
from refopt.core.arrays import namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, copied
from refopt.core.problem import offers
from refopt.core.registry import Source, register

YAO = Source("yao-2024-constrained", "W. Yao, C. Yu, S. Zeng, J. Zhang",
    "Constrained Bi-Level Optimization: Proximal Lagrangian Value function Approach and Hessian-free Algorithm",
    arxiv="2401.16164")  # fmt: skip


@register("lv-hba", source=YAO, where="Algorithm 1", needs=("upper_grad", "lower_grad"),
    calm_problem=("merely-convex-lower", {"constrained": True}))  # fmt: skip
class LVHBA(Bilevel):
    """LV-HBA: a penalty on the lower level's proximal Lagrangian value, in one loop and without Hessians.

    With lower constraints ``g(x, y) ≤ 0`` (or = 0), from k = 0, at the old θ and λ:
    ``θ ← θ - η (∇_y f(x, θ) + ∇_y g(x, θ)ᵀλ + (θ - y)/γ_1)``, ``λ ← Proj(λ - η (-g(x, θ) + (λ - z)/γ_2))``; then with
    the new ones ``d_x = ∇_x F/c_k + ∇_x f(x, y) - ∇_x f(x, θ) - ∇_x g(x, θ)ᵀλ``, ``d_y = ∇_y F/c_k + ∇_y f(x, y)
    - (y - θ)/γ_1``, ``d_z = -(λ - z)/γ_2``; ``(x, y) ← Proj_C((x, y) - α (d_x, d_y))``, ``z ← Proj(z - β d_z)`` with
    ``c_k = c (k+1)^p``. C is ``{g ≤ 0}``, the problem's `project`; multipliers are in [0, r], of equalities in [-r, r].

    Notes
    -----
    θ begins at y, and λ and z at 0. A problem without `constraint` has θ alone.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("bilevel-quadratic", scalar=True)
    >>> r = refopt.minimize(p, "lv-hba", lr=0.2, c=20.0, p=0.0, gamma1=1.0, eta=0.5, steps=2000)
    >>> print(np.round(r.x["upper"], 4), round((1 + 10) / (1 + 20), 4))  # (1 + c κ)/(1 + 2 c κ), κ = γ/(1 + γ)
    [0.5238] 0.5238
    """

    lr: Rate = hyper(0.01, "[0, inf)", "α, of x and y.")
    eta: float = hyper(0.01, "[0, inf)", "η, of θ and λ.")
    beta: float = hyper(0.02, "[0, inf)", "β, of z.")
    gamma1: float = hyper(10.0, "(0, inf)", "γ_1.")
    gamma2: float = hyper(10.0, "(0, inf)", "γ_2.")
    c: float = hyper(1.0, "(0, inf)", "c.")
    p: float = hyper(0.3, "[0, 0.5)", "p.")
    bound: float = hyper(1000.0, "(0, inf)", "r.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: θ = y. The multipliers come with the first step."""
        return {"t": 0, "theta": checked(x)["lower"]}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step θ and λ, then x, y and z."""
        t, y = s["t"] + 1, x["lower"]
        alpha, weight, problem = self.rate(t), self.c * t**self.p, oracle.problem
        at = pair(x["upper"], s["theta"])
        d = oracle.lower_grad(at)["lower"] + (s["theta"] - y) / self.gamma1
        new: dict[str, object] = {"t": t}
        if constrained := offers(problem, "constraint"):
            least = -self.bound if getattr(problem, "equality", False) else 0.0
            g = oracle.constraint(at)
            xp = namespace(g)
            lam, z = s.get("lam", xp.zeros_like(g)), s.get("z", xp.zeros_like(g))
            d = d + oracle.constraint_vjp(at, lam)["lower"]
            lam = xp.clip(lam + self.eta * (g - (lam - z) / self.gamma2), least, self.bound)
        theta = s["theta"] - self.eta * d
        at = pair(x["upper"], theta)
        F, f = oracle.upper_grad(x), copied(oracle.lower_grad(x))
        dx = F["upper"] / weight + f["upper"] - oracle.lower_grad(at)["upper"]
        dy = F["lower"] / weight + f["lower"] - (y - theta) / self.gamma1
        if constrained:
            dx = dx - oracle.constraint_vjp(at, lam)["upper"]
            new |= {"lam": lam, "z": xp.clip(z + self.beta * (lam - z) / self.gamma2, least, self.bound)}
        x = pair(x["upper"] - alpha * dx, y - alpha * dy)
        return (oracle.project(x) if offers(problem, "project") else x), {**new, "theta": theta}
