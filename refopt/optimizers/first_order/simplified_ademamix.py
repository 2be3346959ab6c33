"""Simplified AdEMAMix (Morwani et al. 2025)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.ademamix import half_life_warmup

MORWANI = Source("morwani-2025-connections", "D. Morwani, N. Vyas, H. Zhang, S. Kakade",
    "Connections between Schedule-Free Optimizers, AdEMAMix, and Accelerated SGD Variants", arxiv="2502.02431")  # fmt: skip


@register("simplified-ademamix", source=MORWANI, where="Simplified-AdEMAMix", state_copies=2)
class SimplifiedAdEMAMix(ElementwiseDecay):
    """Simplified AdEMAMix: AdEMAMix with one memory, a long sum of gradients, and the gradient itself beside it.

    ``m_t = β1 m_{t-1} + g_t``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²``,
    ``x_t = x_{t-1} - η ((α g_t + m_t) / (sqrt(v_t / (1 - β2^t)) + ε) + λ x_{t-1})``.

    Notes
    -----
    m is a sum, not an average: with the weights of an average the rate is ``η / (1 - β1)``. Over the warm-up the half-life of β1 grows
    linearly, as in `ademamix`.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("simplified-ademamix", lr=0.1, alpha=4.0)
    >>> x, s = o.update(np.array([0.0]), np.array([7.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))  # η (1 + α)
    [-0.5]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-4, "[0, inf)", "η.")
    beta1: float = hyper(0.99, "[0, 1)", "β1.")
    beta2: float = hyper(0.95, "[0, 1)", "β2.")
    alpha: float = hyper(0.0, "[0, inf)", "α, the weight of the gradient itself.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    beta1_steps: int | None = hyper(
        None, "int [1, inf)", "Length of the warm-up of β1; None: β1 is constant."
    )
    least_beta1: float = hyper(0.9, "[0, 1)", "Where β1 begins in the warm-up.")
    half_life_shift: float = hyper(0.0, "[0, inf)", "See `half_life_warmup`.")
    averaged: bool = hyper(False, words="True: ``α g + m`` is divided by the sum of the weights in m.")

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def simplified_ademamix(x, g, m, v, beta, beta2, k2, alpha, step, root, eps, l2, keep):
            g = g + l2 * x
            m, v = beta * m + g, ema(v, g * g, beta2, k2)
            return keep * x - step * (alpha * g + m) / divisor(xp.sqrt(v) * root + eps), m, v

        return simplified_ademamix

    def warm(self, t: int) -> float:
        """Return β1 of step `t`."""
        if self.beta1_steps is None:
            return self.beta1
        return half_life_warmup(self.least_beta1, self.beta1, t / self.beta1_steps, self.half_life_shift)

    def start_numbers(self) -> dict[str, float]:
        """Return the sum of the weights in m before the first step."""
        return {"weights": 0.0}

    def carry(self, t, s):
        return {"weights": self.warm(t) * s["weights"] + 1.0}

    def scalars(self, t, carried):
        step = self.rate(t) / (carried["weights"] if self.averaged else 1.0)
        return {
            "beta": self.warm(t),
            "k2": 1.0 - self.beta2,
            "step": step,
            "root": correction(self.beta2, t) ** -0.5,
        }


dialect(
    SimplifiedAdEMAMix, "official", "DepenM/Simplified-AdEMAMix simplified_AdEMAMix.py", half_life_shift=1e-8
)
dialect(SimplifiedAdEMAMix, "optax", "optax 0.2.8 contrib.simplified_ademamix", "no warm-up")
