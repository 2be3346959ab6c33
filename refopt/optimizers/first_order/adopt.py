"""ADOPT (Taniguchi et al. 2024)."""

from __future__ import annotations

import math

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

TANIGUCHI = Source("taniguchi-2024-adopt",
    "S. Taniguchi, K. Harada, G. Minegishi, Y. Oshima, S. C. Jeong, G. Nagahara, T. Iiyama, M. Suzuki, Y. Iwasawa, Y. Matsuo",
    "ADOPT: Modified Adam Can Converge with Any β2 with the Optimal Rate", arxiv="2411.02853")  # fmt: skip


@register(
    "adopt", source=TANIGUCHI, where="Algorithm 2, with the clipping of its second version", state_copies=2
)
class ADOPT(ElementwiseDecay):
    """ADOPT: the gradient is divided by the moment of those before it, clipped, and then averaged.

    ``v_1 = g_1²`` and no step; from t = 2 on ``n_t = clip(g_t / max(sqrt(v_{t-1}), ε), ±c_t)``, ``c_t = (t - 1)^(1/4)``,
    ``m_t = β1 m_{t-1} + (1 - β1) n_t``, ``x_t = x_{t-1} - α m_t``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adopt", lr=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([300.0]), s)
    >>> print(x.round(6))  # the first step is none, the second's bound is 1
    [-0.1]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.9999, "[0, 1)", "β2.")
    eps: float = hyper(1e-6, "[0, inf)", "ε, in the units of the gradient.")
    clips: bool = hyper(True, words="False: no clipping, as in the paper's first version.")
    clip_exponent: float = hyper(0.25, "[0, inf)", "Of c_t.")
    clip_counts: str = hyper(
        "moves", ("moves", "steps"), "c_t is a power of t - 1, or of t (pytorch_optimizer)."
    )
    decays_first: bool = hyper(
        True, words="False: no decay apart from the gradient in the first step, which does not move."
    )
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adopt(x, g, m, v, beta1, k1, beta2, k2, step, eps, bound, l2, keep):
            g = g + l2 * x
            n = g / divisor(xp.maximum(xp.sqrt(v), eps))
            n = xp.maximum(xp.minimum(n, bound), -bound)
            m = ema(m, n, beta1, k1)
            return keep * x - step * m, m, ema(v, g * g, beta2, k2)

        return adopt

    def scalars(self, t, carried):
        numbers = {"k1": 1.0 - self.beta1, "step": self.rate(t)}
        if t == 1:
            # n is clipped to nothing, and v becomes the square.
            still = {} if self.decays_first else {"keep": 1.0}
            return {**numbers, **still, "k2": 1.0, "bound": 0.0}
        count = t - 1 if self.clip_counts == "moves" else t
        bound = count**self.clip_exponent if self.clips else math.inf
        return {**numbers, "k2": 1.0 - self.beta2, "bound": bound}


dialect(ADOPT, "official", "iShohei220/adopt src/adopt/adopt.py", decay="coupled", decays_first=False)
dialect(ADOPT, "timm", "timm 1.0 Adopt", clip_exponent=0.333, decay="coupled", decays_first=False)
dialect(ADOPT, "optax", "optax 0.2.8 contrib.adopt")
dialect(ADOPT, "kozistr", "pytorch_optimizer 4.1 ADOPT", "the bound one index late, decay in the first step",
    clip_counts="steps", decay="coupled")  # fmt: skip
