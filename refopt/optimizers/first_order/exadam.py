"""EXAdam: corrections of each moment by the other, and the gradient beside its average (Adly 2024)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

ADLY = Source("adly-2024-exadam", "A. M. Adly", "EXAdam: The Power of Adaptive Cross-Moments", arxiv="2412.20302")  # fmt: skip


@register("exadam", source=ADLY, where="Algorithm 1", state_copies=2)
class EXAdam(ElementwiseDecay):
    """EXAdam: Adam whose corrections look at the other moment, and whose step is along ``m + g``.

    With Adam's averages m_t and v_t, ``d1 = 1 + β2^t v_t / (v_t + ε)``, ``d2 = 1 + β1^t m_t² / (m_t² + ε)``,
    ``x_t = (1 - α λ) x_{t-1} - α d1 (m_t + g_t) / (1 - β1^t) / (sqrt(d2 v_t / (1 - β2^t)) + ε)``.

    Notes
    -----
    ``1 - β1^t`` divides the gradient, too, which no average has shortened: the first step is 16 times Adam's at the defaults.
    A coordinate whose gradient has always been zero stays.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("exadam", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> print(x.round(4))  # (1 + β2) (1 + 1 / (1 - β1)) / sqrt(1 + β1)
    [-15.9525]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    words = {"weight_decay": "Not in the paper's algorithm; the authors' code has it."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def exadam(x, g, m, v, beta1, k1, beta2, k2, left1, left2, step, inverse, eps, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            square = m * m
            d1 = 1.0 + left2 * (v / divisor(v + eps))
            d2 = 1.0 + left1 * (square / divisor(square + eps))
            return keep * x - step * d1 * (m + g) / divisor(xp.sqrt(d2 * v * inverse) + eps), m, v

        return exadam

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "left1": self.beta1**t,
            "left2": self.beta2**t,
            "step": self.rate(t) / correction(self.beta1, t),
            "inverse": 1.0 / correction(self.beta2, t),
        }


dialect(EXAdam, "kozistr", "pytorch_optimizer 4.1 EXAdam")
