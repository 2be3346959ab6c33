"""AdamG: golden steps (Pang et al. 2024)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

PANG = Source(
    "pang-2024-towards",
    "Y. Pang, S. Yu, B. Hoang, J. Zhou",
    "Towards Stability of Parameter-free Optimization",
    arxiv="2405.04376",
)


@register("adamg", source=PANG, where="AdamG, with the numerator function s(v) = p v^q", state_copies=3)
class AdamG(ElementwiseDecay):
    """AdamG: Adam whose gradients are multiplied by a small power of their averaged squares, for want of a rate.

    ``v_t = β2 v_{t-1} + (1 - β2) g_t²``, ``r_t = β3 r_{t-1} + (1 - β3) p v_t^q``, ``m_t = β1 m_{t-1} + (1 - β1) r_t g_t``,
    ``x_t = x_{t-1} - min(η, 1 / sqrt(t)) m̂_t / (sqrt(v̂_t) + ε)`` with Adam's corrections.

    Notes
    -----
    r is not corrected. The formulas are those of pytorch_optimizer 4, the one code that was found.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamg", beta3=0.0, beta2=0.0, p=0.5, q=0.25)
    >>> x, s = o.update(np.array([0.0]), np.array([16.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))  # 0.5 · 256^(1/4)
    [-2.]
    """

    slots = ("m", "v", "r")
    lr: Rate = hyper(1.0, "[0, inf)", "η, the largest rate.")
    beta1: float = hyper(0.95, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    beta3: float = hyper(0.95, "[0, 1)", "β3.")
    p: float = hyper(0.2, "[0, inf)", "p.")
    q: float = hyper(0.24, "(0, inf)", "q.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adamg(x, g, m, v, r, beta1, k1, beta2, k2, beta3, k3, p, q, step, root, eps, l2, keep):
            g = g + l2 * x
            v = ema(v, g * g, beta2, k2)
            r = ema(r, p * v**q, beta3, k3)
            m = ema(m, r * g, beta1, k1)
            return keep * x - step * m / divisor(xp.sqrt(v) * root + eps), m, v, r

        return adamg

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "k3": 1.0 - self.beta3,
            "step": min(self.rate(t), t**-0.5) / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
        }


dialect(AdamG, "kozistr", "pytorch_optimizer 4.1 AdamG", decay="coupled")
