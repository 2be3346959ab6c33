"""Grams: Adam's lengths with the gradient's signs (Cao et al. 2024)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.adam import AdamFamily

CAO = Source("cao-2024-grams", "Y. Cao, X. Li, Z. Song",
    "Grams: Gradient Descent with Adaptive Momentum Scaling", arxiv="2412.17107")  # fmt: skip


@register("grams", source=CAO, where="the algorithm Grams", state_copies=2)
class Grams(AdamFamily):
    """Grams: every coordinate moves as far as Adam would move it, against the sign of its gradient.

    With Adam's m̂_t and v̂_t, ``x_t = (1 - η λ) x_{t-1} - η sign(g_t) |m̂_t| / (sqrt(v̂_t) + ε)``, and sign(0) = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("grams", lr=1.0, beta1=0.5, beta2=0.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([2.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([-0.5]), s)
    >>> print(x.round(6))  # back by 1/3 / 0.5, where Adam would have gone on by that
    [-0.333333]
    """

    eps: float = hyper(1e-6, "[0, inf)", "ε.")

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def grams(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            length = step * xp.abs(m) / divisor(xp.sqrt(v) * root + eps)
            return keep * x - length * xp.sign(g), m, v

        return grams

    def scalars(self, t, carried):
        return self.moment_scalars(t)


dialect(Grams, "official", "Gunale0926/Grams grams/src/grams.py", eps_corrected=False)
dialect(Grams, "kozistr", "pytorch_optimizer 4.1 Grams")
