"""AdaShift (Zhou et al. 2018)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

ZHOU = Source("zhou-2018-adashift", "Z. Zhou, Q. Zhang, G. Lu, H. Wang, W. Zhang, Y. Yu",
    "AdaShift: Decorrelation and Convergence of Adaptive Learning Rate Methods", arxiv="1810.00143")  # fmt: skip


@register("adashift", source=ZHOU, where="AdaShift with spatial operation φ")
class AdaShift(LeafRule):
    """AdaShift: averages of the last n gradients, over the root of averaged squares of gradients older than those.

    From t = n + 1 on ``m_t = Σ_{i<n} β1^i g_{t-i} / Σ_{i<n} β1^i``, ``v_t = β2 v_{t-1} + (1 - β2) φ(g_{t-n}²)``,
    ``x_t = x_{t-1} - α m_t / (sqrt(v_t / (1 - β2^{t-n})) + ε)``; φ is the largest of a leaf. The first n steps do not move.

    Notes
    -----
    v_t and the gradients in m_t are of different batches. The state has the last n gradients.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adashift", lr=1.0, window=1)
    >>> x, s = o.update(np.array([0.0]), np.array([2.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([-3.0]), s)
    >>> print(x.round(6))  # the second gradient over the first
    [1.5]
    """

    slots = ("v", "window")
    lr: Rate = hyper(1e-3, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-10, "[0, inf)", "ε, in the units of the gradient.")
    window: int = hyper(10, "int [1, inf)", "n.")
    spatial: str = hyper(
        "max", ("max", "none"), "φ: the largest square of a leaf for all of it, or each its own."
    )

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, for the window n of them on a new first axis."""
        xp = namespace(leaf)
        zero = xp.zeros_like(leaf)
        return xp.stack([zero] * self.window) if slot == "window" else zero

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adashift(x, g, v, window, step, beta2, k2, root, eps):
            old = window[0, ...] * window[0, ...]
            square = xp.max(old) if self.spatial == "max" else old
            v = ema(v, square, beta2, k2)
            window = xp.concat([window[1:, ...], xp.expand_dims(g, axis=0)])
            m = 0.0 * x
            for i in range(self.window):
                m = m + self.beta1**i / self.total() * window[self.window - 1 - i, ...]
            return x - step * m / divisor(xp.sqrt(v) * root + eps), v, window

        return adashift

    def total(self) -> float:
        """Return the sum of the weights in m."""
        return math.fsum(self.beta1**i for i in range(self.window))

    def scalars(self, t, carried):
        older = t - self.window
        if older < 1:
            return {"step": 0.0 * self.rate(t), "k2": 0.0, "root": 1.0}
        return {"step": self.rate(t), "k2": 1.0 - self.beta2, "root": correction(self.beta2, older) ** -0.5}


dialect(AdaShift, "kozistr", "pytorch_optimizer 4.1 AdaShift")
