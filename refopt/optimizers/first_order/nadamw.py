"""NAdamW: Adam with Nesterov momentum and decoupled decay (Dozat 2016; Wen et al. 2025)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.first_order.adam import AdamFamily

DOZAT = Source("dozat-2016-incorporating", "T. Dozat", "Incorporating Nesterov Momentum into Adam",
    url="https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ")  # fmt: skip
WEN = Source("wen-2025-fantastic", "K. Wen, D. Hall, T. Ma, P. Liang",
    "Fantastic Pretraining Optimizers and Where to Find Them", arxiv="2509.02046")  # fmt: skip


@register(
    "nadamw",
    source=WEN,
    where="the optimizer NAdamW of the study, as its code has it",
    also=(DOZAT,),
    state_copies=2,
)
class NAdamW(AdamFamily):
    """NAdamW: AdamW whose momentum looks one step ahead.

    With Adam's averages m_t, v_t and ``d_t = sqrt(v_t / (1 - β2^t)) + ε``,
    ``u_t = (β1 m_t / (1 - β1^{t+1}) + (1 - β1) g_t / (1 - β1^t)) / d_t``,
    ``x_t = x_{t-1} - η (u_t + λ x_{t-1})``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("nadamw", lr=0.1, beta1=0.5, weight_decay=0.0)
    >>> x = np.zeros(1)
    >>> x, s = o.update(x, np.array([4.0]), o.init(x))
    >>> print(x.round(4))
    [-0.1333]
    """

    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")
    corrections: str = hyper("next", ("next", "same", "schedule"),
        "``next`` as above; ``same``: both parts are divided by 1 - β1^t (timm); ``schedule``: Dozat's"
        " growing momentum ``μ_t = β1 (1 - 0.96^{ψ t} / 2)``, with P_t the product of μ_1 … μ_t, ``u_t ="
        " (μ_{t+1} m_t / (1 - P_{t+1}) + (1 - μ_t) g_t / (1 - P_t)) / d_t`` (torch).")  # fmt: skip
    momentum_decay: float = hyper(4e-3, "[0, inf)", 'ψ, for ``corrections="schedule"``.')

    def rule(self, xp):
        def nadamw(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, through, direct, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            v = ema(v, g * g, beta2, k2)
            d = xp.sqrt(v) * root + eps
            d = xp.where(d > 0.0, d, 1.0)
            return keep * x - step * ((through * m + direct * g) / d), m, v

        return nadamw

    def _momentum(self, t: int) -> float:
        return self.beta1 * (1.0 - 0.5 * 0.96 ** (t * self.momentum_decay))

    def start_numbers(self) -> dict[str, float]:
        """Return P_0 = 1 where the momentum grows."""
        return {"product": 1.0} if self.corrections == "schedule" else {}

    def carry(self, t: int, s: State) -> dict[str, float]:
        """Return P_t where the momentum grows."""
        return {"product": s["product"] * self._momentum(t)} if self.corrections == "schedule" else {}

    def scalars(self, t, carried):
        numbers = self.moment_scalars(t)
        step, c1 = self.rate(t), correction(self.beta1, t)
        if self.corrections == "schedule":
            mu, after, product = self._momentum(t), self._momentum(t + 1), carried["product"]
            through, direct = after / (1.0 - product * after), (1.0 - mu) / (1.0 - product)
        else:
            ahead = correction(self.beta1, t + 1) if self.corrections == "next" else c1
            through, direct = self.beta1 / ahead, (1.0 - self.beta1) / c1
        return {**numbers, "step": step, "through": through, "direct": direct}


dialect(NAdamW, "optax", "optax 0.2.8 nadamw", weight_decay=1e-4)
dialect(NAdamW, "timm", "timm nadamw", corrections="same")
dialect(NAdamW, "torch", "torch 2.13 optim.NAdam(decoupled_weight_decay=True)", lr=2e-3, weight_decay=0.0,
    corrections="schedule")  # fmt: skip
