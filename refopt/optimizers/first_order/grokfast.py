"""Grokfast: slow gradients are amplified (Lee et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

LEE = Source("lee-2024-grokfast", "J. Lee, B. G. Kang, K. Kim, K. M. Lee",
    "Grokfast: Accelerated Grokking by Amplifying Slow Gradients", arxiv="2405.20233")  # fmt: skip


@register("grokfast-adamw", source=LEE, where="the filter Grokfast-EMA before AdamW", state_copies=3)
class GrokfastAdamW(ElementwiseDecay):
    """Grokfast-AdamW: AdamW on gradients to which a multiple of their slow average is added.

    ``h_t = α h_{t-1} + (1 - α) g_t`` from h_0 = g_1, ``ĝ_t = g_t + λ h_t``, and AdamW's step with ĝ.

    Notes
    -----
    Under a constant gradient, whose scale AdamW does not see, it is AdamW. The paper's
    other filter, with a window, is not here.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("grokfast-adamw", lr=1.0, alpha=0.5, beta1=0.0, beta2=0.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([4.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([-1.0]), s)
    >>> print(x)  # -1 + 2 · 1.5 is positive still
    [-2.]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "h")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_floor: bool = hyper(False, words="True: ``max(sqrt(v̂), ε)`` in place of the sum.")
    alpha: float = hyper(0.98, "[0, 1)", "α.")
    amplify: float = hyper(2.0, "[0, inf)", "λ.")
    normalize_lr: bool = hyper(False, words="True: η is divided by 1 + λ.")

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def grokfast(
            x, g, m, v, h, beta1, k1, beta2, k2, alpha, new, amplify, step, root, eps, floor, l2, keep
        ):
            g = g + l2 * x
            h = ema(h, g, alpha, new)
            g = g + amplify * h
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            return keep * x - step * m / divisor(xp.maximum(xp.sqrt(v) * root, floor) + eps), m, v, h

        return grokfast

    def rate(self, t: int) -> float:
        """Return the rate of step `t`."""
        return super().rate(t) / (1.0 + self.amplify if self.normalize_lr else 1.0)

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            # The average begins with the first gradient.
            "new": 1.0 - self.alpha if t > 1 else 1.0,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
            "eps": 0.0 if self.eps_floor else self.eps,
            "floor": self.eps if self.eps_floor else 0.0,
        }


dialect(GrokfastAdamW, "lucidrains", "lucidrains/grokfast-pytorch GrokFastAdamW; pytorch_optimizer 4.1 GrokFastAdamW alike", eps_floor=True,
    beta2=0.99, lr=1e-4, normalize_lr=True)  # fmt: skip
