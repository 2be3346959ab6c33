"""Apollo: a diagonal quasi-Newton method, rectified (Ma 2020)."""

from __future__ import annotations

from refopt.core.arrays import Array, Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction
from refopt.optimizers.common.division import nonzero

MA = Source("ma-2020-apollo", "X. Ma", "Apollo: An Adaptive Parameter-wise Diagonal Quasi-Newton Method for Nonconvex Stochastic Optimization",
    arxiv="2009.13586")  # fmt: skip


def four_norm(xp: Namespace, d: Array) -> Array:
    """Return ``(Σ d⁴)^(1/4)`` of all entries, whose fourth powers neither vanish nor overflow."""
    unit = nonzero(xp)(xp.max(xp.abs(d), keepdims=True))
    part = (d / unit) ** 2
    return unit * xp.sqrt(xp.sqrt(xp.sum(part * part, keepdims=True)))


@register(
    "apollo-dqn", source=MA, where="the algorithm, as in the authors' code optim/apollo.py", state_copies=3
)
class ApolloDQN(LeafRule):
    """Apollo: averaged gradients over a diagonal Hessian that obeys the weak secant equation, rectified from below.

    For each leaf, with ``α_t = (1 - β) / (1 - β^t)``, ``Δ_t = g_t - m_{t-1}``, ``m_t = m_{t-1} + α_t Δ_t`` and the last direction over its
    norm ``d̂ = d_{t-1} / (‖d_{t-1}‖_4 + ε)``, ``B_t = B_{t-1} - (α_t <Δ_t, d̂> / (‖d_{t-1}‖_4 + ε) + <B_{t-1}, d̂²>) d̂²``,
    ``d_t = m_t / D_t``, ``x_t = x_{t-1} - η_t d_t``. D_t is ``max(|B_t|, σ)`` (constant), where ε is over σ too; or
    ``max(|B_t|, ‖Δ_t‖_∞) + ε / α_t`` (belief). η_t grows from η times `first_share` to η in T steps.

    Notes
    -----
    The decay that is apart from the gradient is part of d, which the next step looks back at.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("apollo-dqn", lr=0.01, warmup=0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, -1.0]), o.init(np.zeros(2)))
    >>> print(x)  # no direction to look back at: B = 0, and D = σ
    [-3.  1.]
    """

    slots = ("m", "B", "d")
    lr: Rate = hyper(0.01, "[0, inf)", "η; while B is small only η / σ matters.")
    beta: float = hyper(0.9, "[0, 1)", "β.")
    eps: float = hyper(1e-4, "[0, inf)", "ε.")
    rebound: str = hyper("constant", ("constant", "belief"), "D as above.")
    least: float = hyper(0.01, "(0, inf)", "σ, of the constant.")
    warmup: int = hyper(500, "int [0, inf)", "T.")
    first_share: float = hyper(1e-3, "[0, 1]", "The share of the rate in the first step.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")
    decay: str = hyper("coupled", ("coupled", "decoupled", "stable"),
        "g + λ x in the gradient's place; or λ x added to d; or λ x / mean(D).")  # fmt: skip

    def rule(self, xp):
        divisor = nonzero(xp)

        def apollo(x, g, m, B, d, lr, alpha, eps, raised, l2, apart):
            change = g + l2 * x - m
            m = m + alpha * change
            below = divisor(four_norm(xp, d) + eps)
            unit = d / below
            square = unit * unit
            B = B - (alpha * xp.sum(change / below * unit) + xp.sum(B * square)) * square
            if self.rebound == "belief":
                D = xp.maximum(xp.abs(B), xp.max(xp.abs(change), keepdims=True)) + raised
            else:
                D = xp.clip(xp.abs(B), min=self.least)
            D = divisor(D)
            d = m / D + apart / (xp.mean(D) if self.decay == "stable" else 1.0) * x
            return x - lr * d, m, B, d

        return apollo

    def scalars(self, t, carried):
        alpha = (1.0 - self.beta) / correction(self.beta, t)
        belief, coupled = self.rebound == "belief", self.decay == "coupled"
        return {
            "alpha": alpha,
            "eps": self.eps if belief else self.eps / self.least,
            "raised": self.eps / alpha,
            "l2": self.weight_decay if coupled else 0.0,
            "apart": 0.0 if coupled else self.weight_decay,
        }

    def rate(self, t: int) -> float:
        """Return η_t."""
        share = min(1.0, (t - 1) / self.warmup) if self.warmup else 1.0
        return super().rate(t) * (self.first_share + (1.0 - self.first_share) * share)


dialect(ApolloDQN, "official", "XuezheMax/apollo optim/apollo.py")
dialect(
    ApolloDQN,
    "official-belief",
    "the same with rebound='belief', whose decay is apart by default",
    rebound="belief",
    decay="decoupled",
)
dialect(
    ApolloDQN,
    "kozistr",
    "pytorch_optimizer 4.1 ApolloDQN",
    "its warm-up is a step ahead, which is a fault",
    lr=0.01,
)
