"""ScaleBiO: a min-max penalty, for data reweighting (Pan et al. 2024)."""

from __future__ import annotations

from refopt.bilevel.base import Bilevel, checked, pair
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, copied
from refopt.core.registry import Source, register

PAN = Source("pan-2024-scalebio", "R. Pan, J. Zhang, X. Pan, R. Pi, X. Wang, T. Zhang",
    "ScaleBiO: Scalable Bilevel Optimization for LLM Data Reweighting", arxiv="2406.19976")  # fmt: skip


@register("scalebio", source=PAN, where="Algorithm 1, with all blocks trained", needs=("upper_grad", "lower_grad"),
    calm_problem=("bilevel-quadratic", {}))  # fmt: skip
class ScaleBiO(Bilevel):
    """ScaleBiO: ``min_{x, w} max_u F(x, w) + a (f(x, w) - f(x, u))`` by simultaneous gradient steps.

    With all gradients at the old point, and f's at w and u of one batch: ``u ← u - η_u a ∇_y f(x, u)``,
    ``w ← w - η_w (∇_y F + a ∇_y f(x, w))``, ``x ← x - η (∇_x F + a (∇_x f(x, w) - ∇_x f(x, u)))``. In the outer round
    i = 1, 2, … of K steps, ``a = a_0 τ^i`` and all rates are times τ^{-i}.

    Notes
    -----
    ``x["lower"]`` is w; u is in the state, and begins at w. Data weights are the softmax of x in the problem.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("bilevel-quadratic", scalar=True)
    >>> r = refopt.minimize(p, "scalebio", lr=0.05, steps=2000)
    >>> print(np.round(r.x["upper"], 6), round((10 + 1) / (2 * 10 + 1), 6))  # (a + 1)/(2 a + 1)
    [0.52381] 0.52381
    """

    w_lr: float = hyper(0.05, "[0, inf)", "η_w.")
    u_lr: float = hyper(0.05, "[0, inf)", "η_u.")
    alpha: float = hyper(10.0, "(0, inf)", "a_0, the penalty.")
    growth: float = hyper(1.0, "[1, inf)", "τ.")
    inner_steps: int = hyper(100, "int [1, inf)", "K.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: u = w."""
        return {"t": 0, "u": checked(x)["lower"]}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step all three."""
        t, u = s["t"] + 1, s["u"]
        factor = self.growth ** (1 + s["t"] // self.inner_steps)
        a, small = self.alpha * factor, self.multiplier(t) / factor
        F, at_w = oracle.upper_grad(x), copied(oracle.lower_grad(x))
        at_u = oracle.lower_grad(pair(x["upper"], u))
        dx = F["upper"] + a * (at_w["upper"] - at_u["upper"])
        w = x["lower"] - small * self.w_lr * (F["lower"] + a * at_w["lower"])
        new = {"t": t, "u": u - small * self.u_lr * a * at_u["lower"]}
        return pair(x["upper"] - self.rate(t) / factor * dx, w), new
