"""AvaGrad: an adaptive rate whose mean over all coordinates is kept (Savarese et al. 2019)."""

from __future__ import annotations

import math
from typing import ClassVar

from refopt.core.arrays import namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.params import Params, leaves, size
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay

SAVARESE = Source("savarese-2019-domain", "P. Savarese, D. McAllester, S. Babu, M. Maire",
    "Domain-independent Dominance of Adaptive Methods", arxiv="1912.01823")  # fmt: skip


@register("avagrad", source=SAVARESE, where="the algorithm AvaGrad", state_copies=2)
class AvaGrad(Decay):
    """AvaGrad: averaged gradients times rates of mean square 1, made of the gradients before this one.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``η_t = 1 / (sqrt(v_{t-1}) + ε)``, ``γ_t = sqrt(d) / ‖η_t‖_2``,
    ``x_t = x_{t-1} - α γ_t η_t m_t``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²``, from m_0 = v_0 = 0; d and the norm are over all leaves.

    Notes
    -----
    α and ε are apart: with a large ε it is SGD with averaged gradients and the rate α. No rate is made of the gradient that it
    multiplies. The authors' code has bias corrections, and a γ of one step before that of η (a fault, not a dialect).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("avagrad", lr=1.0, beta1=0.0, beta2=0.75, eps=1.0)
    >>> x, s = o.update(np.zeros(2), np.array([6.0, 0.0]), o.init(np.zeros(2)))
    >>> print(x)  # at first every rate is 1
    [-6.  0.]
    >>> x, s = o.update(x, np.array([4.0, 1.0]), s)
    >>> print(x.round(4))  # rates 1/4 and 1, over the root of their mean square
    [-7.372 -1.372]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(0.1, "[0, inf)", "α, in the units of x over those of the gradient.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(0.1, "(0, inf)", "ε, in the units of the gradient: how far rates may differ.")

    def start_numbers(self) -> dict[str, float]:
        """Return γ before the first step, which is made anew in every one."""
        return {"gamma": self.eps}

    def carry(self, t, s):
        return {"gamma": self.gamma(s["v"])}

    def gamma(self, v: Params) -> float:
        """Return γ, one over the root mean square of the rates."""
        roots = [namespace(a).sqrt(a) + self.eps for a in leaves(v).values()]
        # In units of the largest rate, whose square may leave the range.
        least = min(float(namespace(r).min(r)) for r in roots)
        if not least > 0.0:
            return least
        total = math.fsum(float(namespace(r).sum((least / r) ** 2)) for r in roots)
        return least * math.sqrt(size(v) / total)

    def rule(self, xp):
        def avagrad(x, g, m, v, beta1, k1, beta2, k2, step, eps, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            return keep * x - step * m / (xp.sqrt(v) + eps), m, ema(v, g * g, beta2, k2)

        return avagrad

    def scalars(self, t, carried):
        return {"k1": 1.0 - self.beta1, "k2": 1.0 - self.beta2, "step": self.rate(t) * carried["gamma"]}
