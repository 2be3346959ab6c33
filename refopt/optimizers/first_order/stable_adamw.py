"""StableAdamW (Wortsman et al. 2023)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.factored import rms

WORTSMAN = Source("wortsman-2023-stable", "M. Wortsman, T. Dettmers, L. Zettlemoyer, A. Morcos, A. Farhadi, L. Schmidt",
    "Stable and low-precision training for large-scale vision-language models", arxiv="2304.13013")  # fmt: skip


@register("stable-adamw", source=WORTSMAN, where="StableAdamW", state_copies=2)
class StableAdamW(LeafRule):
    """StableAdamW: AdamW whose rate falls, leaf by leaf, where averaged squares have not seen the gradient's size.

    ``β̂ = β (1 - β^{t-1}) / (1 - β^t)`` for either β, ``m_t = β̂1 m_{t-1} + (1 - β̂1) g_t``, ``v_t = β̂2 v_{t-1} + (1 - β̂2) g_t²``,
    ``RMS_t = sqrt(mean(g_t² / max(v_t, ε²)))``, ``η_t = η / max(1, RMS_t)``, ``x_t = (1 - η_t λ) x_{t-1} - η_t m_t / (sqrt(v_t) + ε)``.

    Notes
    -----
    With β̂ the averages are Adam's corrected ones. Decay follows the lowered rate.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("stable-adamw", lr=1.0, weight_decay=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([7.0]), o.init(np.array([0.0])))
    >>> print(x.round(5))
    [-1.]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.99, "[0, 1)", "β2.")
    eps: float = hyper(1e-6, "[0, inf)", "ε, in the units of the gradient.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ; the paper trains with 0.2.")

    def rule(self, xp):
        divisor, whole = nonzero(xp, self.eps), nonzero(xp)

        def stable_adamw(x, g, m, v, lr, b1, k1, b2, k2, eps, weight_decay):
            m, v = ema(m, g, b1, k1), ema(v, g * g, b2, k2)
            relative = rms(g / whole(xp.clip(xp.sqrt(v), min=eps)))
            eta = lr / xp.clip(relative, min=1.0)
            return (1.0 - eta * weight_decay) * x - eta * m / divisor(xp.sqrt(v) + eps), m, v

        return stable_adamw

    def scalars(self, t, carried):
        k1, k2 = ((1.0 - b) / correction(b, t) for b in (self.beta1, self.beta2))
        return {"b1": 1.0 - k1, "k1": k1, "b2": 1.0 - k2, "k2": k2}


dialect(StableAdamW, "optimi", "warner-benjamin/optimi stableadamw.py", weight_decay=1e-2)
dialect(StableAdamW, "kozistr", "pytorch_optimizer 4.1 StableAdamW", eps=1e-8, weight_decay=1e-2)
