"""Adam-atan2: Adam with an angle in place of a quotient (Everett et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay

EVERETT = Source("everett-2024-scaling", "K. Everett, L. Xiao, M. Wortsman, A. A. Alemi, R. Novak, et al.",
    "Scaling Exponents Across Parameterizations and Optimizers", arxiv="2407.05872")  # fmt: skip


@register("adam-atan2", source=EVERETT, where="the optimizer Adam-atan2", state_copies=2)
class AdamAtan2(ElementwiseDecay):
    """Adam-atan2: Adam without ε, whose quotient is an angle, so that no scale of gradients is too small.

    With Adam's m̂_t and v̂_t, ``x_t = (1 - η λ) x_{t-1} - η a atan2(m̂_t, b sqrt(v̂_t))``, and atan2(0, 0) = 0.

    Notes
    -----
    No coordinate moves by more than ``η a π / 2``. Where m̂ is much smaller than sqrt(v̂) it is Adam with the rate ``η a / b``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adam-atan2", lr=1.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, -1e-30]), o.init(np.zeros(2)))
    >>> print(x.round(6))  # a quarter of π
    [-0.785398  0.785398]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-4, "[0, inf)", "η, in the units of x.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.99, "[0, 1)", "β2.")
    a: float = hyper(1.0, "(0, inf)", "a.")
    b: float = hyper(1.0, "(0, inf)", "b.")

    def rule(self, xp):
        def adam_atan2(x, g, m, v, beta1, k1, beta2, k2, first, root, step, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            return keep * x - step * xp.atan2(first * m, root * xp.sqrt(v)), m, v

        return adam_atan2

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "first": 1.0 / correction(self.beta1, t),
            "root": self.b * correction(self.beta2, t) ** -0.5,
            "step": self.rate(t) * self.a,
        }


dialect(AdamAtan2, "lucidrains", "lucidrains/adam-atan2-pytorch AdamAtan2", "a is 4/π, cut", a=1.27)
