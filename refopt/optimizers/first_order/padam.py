"""Padam: partially adaptive momentum (Chen et al. 2018)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

CHEN = Source("chen-2018-closing", "J. Chen, D. Zhou, Y. Tang, Z. Yang, Y. Cao, Q. Gu",
    "Closing the Generalization Gap of Adaptive Gradient Methods in Training Deep Neural Networks", arxiv="1806.06763")  # fmt: skip


@register("padam", source=CHEN, where="Algorithm 1", state_copies=3)
class Padam(ElementwiseDecay):
    """Padam: AMSGrad with a power of the averaged squares between that of Adam, 1/2, and that of SGD, 0.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²``, ``v̂_t = max(v̂_{t-1}, v_t)``,
    ``x_t = x_{t-1} - α m_t / v̂_t^p``, here ``(sqrt(v̂_t) + ε)^{2p}``.

    Notes
    -----
    The paper has no ε and no bias correction; its code has both. A good rate is near SGD's, not Adam's.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("padam", lr=1.0, beta1=0.0, beta2=0.0, p=0.25, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([9.0]), o.init(np.array([0.0])))
    >>> print(x)  # 9 over the root of 9
    [-3.]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "largest")
    lr: Rate = hyper(0.1, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    p: float = hyper(0.125, "[0, 0.5]", "p, of v̂.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    amsgrad: bool = hyper(True, words="False: v itself in place of its maximum.")
    bias_correction: bool = hyper(False, words="True: ``sqrt(1 - β2^t) / (1 - β1^t)`` multiplies α.")
    words = {"weight_decay": "The paper has none."}

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: the maximum with amsgrad alone."""
        return self.slots if self.amsgrad else self.slots[:2]

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def padam(x, g, m, v, largest, beta1, k1, beta2, k2, step, power, eps, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            largest = xp.maximum(largest, v)
            return keep * x - step * m / divisor(xp.sqrt(largest) + eps) ** power, m, v, largest

        def plain(x, g, m, v, beta1, k1, beta2, k2, step, power, eps, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            return keep * x - step * m / divisor(xp.sqrt(v) + eps) ** power, m, v

        return padam if self.amsgrad else plain

    def scalars(self, t, carried):
        factor = correction(self.beta2, t) ** 0.5 / correction(self.beta1, t) if self.bias_correction else 1.0
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "power": 2.0 * self.p,
            "step": self.rate(t) * factor,
        }


dialect(Padam, "official", "uclaml/Padam Padam.py", p=0.25, bias_correction=True, decay="coupled")
dialect(
    Padam,
    "kozistr",
    "pytorch_optimizer 4.1 PAdam",
    "no maximum",
    p=0.25,
    bias_correction=True,
    amsgrad=False,
    decay="coupled",
)
