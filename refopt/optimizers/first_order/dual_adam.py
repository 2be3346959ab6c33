"""DualAdam: from Adam's inverse to Adam (Shi et al. 2026)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

SHI = Source("shi-2026-combining", "T. Shi, L. Chen, L. Jin, M. Zhou",
    "Combining Adam and its Inverse Counterpart to Enhance Generalization of Deep Learning Optimizers", arxiv="2603.07122")  # fmt: skip


@register("dual-adam", source=SHI, where="the algorithm DualAdam", state_copies=2)
class DualAdam(ElementwiseDecay):
    """DualAdam: at first the averaged gradient is multiplied by Adam's divisor, and by and by divided by it.

    With Adam's m̂_t and ``D_t = sqrt(v̂_t) + ε``, and ``w_t = max(0, 1 - ξ t)``,
    ``x_t = (1 - η λ) x_{t-1} - η m̂_t (w_t D_t + (1 - w_t) / D_t)``. From ``t = 1/ξ`` on it is Adam.

    Notes
    -----
    A coordinate whose gradient has always been zero stays.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("dual-adam", lr=1.0, switch_rate=0.25, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([2.0]), o.init(np.array([0.0])))
    >>> print(x)  # three quarters of 2 · 2, one of 1
    [-3.25]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    switch_rate: float = hyper(0.01, "[0, 1]", "ξ: how much w falls by in a step.")
    switch_early: bool = hyper(False, words="True: w is zero where it would be below ξ (the authors' code).")

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def dual_adam(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, inverse_part, part, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            D = divisor(xp.sqrt(v) * root + eps)
            return keep * x - step * m * (inverse_part * D + part / D), m, v

        return dual_adam

    def scalars(self, t, carried):
        w = max(0.0, 1.0 - self.switch_rate * t)
        if self.switch_early and w < self.switch_rate:
            w = 0.0
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
            "inverse_part": w,
            "part": 1.0 - w,
        }


dialect(DualAdam, "official", "LongJin-lab/DualAdam", switch_early=True)
dialect(
    DualAdam, "kozistr", "pytorch_optimizer 4.1 DualAdam", "coupled decay", switch_early=True, decay="coupled"
)
