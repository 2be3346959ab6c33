"""Accelerated gradient for nonconvex composite problems (Ghadimi and Lan 2016; Yang, Asgharian and Bhatnagar 2024)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.known_rate import KnownRate
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.known_rate import known_rate

YANG = Source("yang-2024-accelerated", "K. Yang, M. Asgharian, S. Bhatnagar",
    "Accelerated Gradient Methods for Sparse Statistical Learning with Nonconvex Penalties",
    arxiv="2009.10629", doi="10.1007/s11222-023-10371-8")  # fmt: skip


@register("nonconvex-ag", source=YANG, where="the accelerated gradient algorithm with its optimal damping sequence",
    needs=("grad", "prox"), known_rate=KnownRate("0.99 / L", lambda L, mu: {"lr": None}))  # fmt: skip
class NonconvexAG(Method):
    """Accelerated gradient for Ψ + g, Ψ smooth and perhaps not convex, g with a prox, by the paper's damping.

    ``y = α_k x + (1 - α_k) x̄``, ``x ← prox_{δ_k g}(x - δ_k ∇Ψ(y))``, ``x̄ ← prox_{β g}(y - β ∇Ψ(y))``, ``δ_k = β / α_k``,
    ``α_1 = 1``, ``α_k = 2 / (1 + sqrt(1 + 4 / α_{k-1}²))``. The point of the run is x̄.

    Raises
    ------
    ArgumentError
        ``lr=None`` and the problem does not know L.

    Notes
    -----
    For SCAD and MCP the paper has g = λ‖x‖₁, and Ψ the loss with the penalty's concave rest, whose gradient the
    problem's `grad` includes. The authors' program starts at α_2, returns y, and restarts.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("logistic", l1=0.01), "nonconvex-ag", steps=200)
    >>> int((r.x == 0).sum()) > 0
    True
    """

    lr: Rate | None = hyper(
        None, "[0, inf)", "β < 1 / L, L of ∇Ψ. None: 0.99 / L, where the problem knows its L (``lipschitz``)."
    )
    damping: str = hyper("optimal", ("optimal", "ghadimi-lan"),
        "As above, or Ghadimi and Lan's ``α_k = 2 / (k + 1)``, ``δ_k = k β / 2``.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, which x and x̄ both are."""
        return {"t": 0, "alpha": 0.0, "x": params.copied(params.check_start(x, "x"))}

    def beta(self, t: int, oracle: Oracle) -> float:
        """Return β at step `t`."""
        return known_rate(self, t, oracle, 0.99)

    def weights(self, t: int, before: float, beta: float) -> tuple[float, float]:
        """Return α_k and δ_k, given α_{k-1}."""
        if self.damping == "ghadimi-lan":
            return 2.0 / (t + 1), t * beta / 2.0
        alpha = 1.0 if t == 1 else 2.0 / (1.0 + math.sqrt(1.0 + 4.0 / before**2))
        return alpha, beta / alpha

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step from x̄ (the point `x`) and x (in the state)."""
        t = s["t"] + 1
        beta = self.beta(t, oracle)
        alpha, delta = self.weights(t, s["alpha"], beta)
        y = params.axpy(alpha, s["x"], params.scale(1.0 - alpha, x))
        g = oracle.grad(y)
        moved = oracle.prox(params.axpy(-delta, g, s["x"]), delta)
        return oracle.prox(params.axpy(-beta, g, y), beta), {"t": t, "alpha": alpha, "x": moved}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of ``(x̄ - prox_{β g}(x̄ - β ∇Ψ(x̄))) / β``; 0 for β = 0."""
        beta = self.beta(s["t"] + 1, oracle)
        if beta == 0.0:
            return 0.0
        after = oracle.prox(params.axpy(-beta, oracle.grad(x), x), beta)
        return params.max_abs(params.subtract(x, after)) / beta


dialect(NonconvexAG, "ghadimi-lan", "Ghadimi and Lan 2016, as Yang et al. compare it", damping="ghadimi-lan")
