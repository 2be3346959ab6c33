"""AdaBound and AMSBound (Luo, Xiong, Liu and Sun 2019)."""

from __future__ import annotations

import math
from typing import ClassVar

from refopt.core.arrays import Array
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.projection import box
from refopt.optimizers.first_order.amsgrad import OnlineAdam

LUO = Source("luo-2019-adabound", "L. Luo, Y. Xiong, Y. Liu, X. Sun",
    "Adaptive Gradient Methods with Dynamic Bound of Learning Rate", arxiv="1902.09843", venue="ICLR")  # fmt: skip
CODE = {"rate_root": False, "gamma": 1e-3, "eps": 1e-8, "bias_correction": True, "bounds_follow_rate": True}


@register(
    "adabound", source=LUO, where="the algorithm AdaBound, with the bounds of its experiments", state_copies=2
)
class AdaBound(OnlineAdam):
    """AdaBound: Adam whose rates are clipped between bounds that meet, so that it ends as SGD.

    ``m_t`` and ``v_t`` as in AMSGrad, ``η̂_t = clip(α / sqrt(v_t), l_t, u_t)``,
    ``x_{t+1} = Π(x_t - η̂_t / sqrt(t) · m_t)`` with ``l_t = α* (1 - 1 / (γ t + 1))`` and
    ``u_t = α* (1 + 1 / (γ t))``.

    Notes
    -----
    The momentum is an average, so that the SGD at the end has the rate α*, not α* / (1 - β1).

    Unverified: the bounds of the experiments, .1 - .1 / ((1 - β2) t + 1) and .1 + .1 / ((1 - β2) t), are
    from memory of the paper; its rule is confirmed by listings of AMSBound elsewhere.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adabound", beta1=0.0, gamma=1e9)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-0.5]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    final_lr: float = hyper(0.1, "[0, inf)", "α*, the rate of the SGD at the end.")
    gamma: float | None = hyper(
        None, "(0, inf)", "γ, how fast the bounds meet; None: 1 - β2, as in the paper's experiments."
    )
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    bias_correction: bool = hyper(
        False, words="α sqrt(1 - β2^t) / (1 - Π β1i) in α's place, inside the clip (the authors' code)."
    )
    eps: float = hyper(0.0, "[0, inf)", "Added to sqrt(v); the paper has none (0).")
    bounds_follow_rate: bool = hyper(False,
        words="A schedule of the rate multiplies α* as well. Otherwise it acts on α alone, inside the clip.")  # fmt: skip
    words = {
        "lr": "α, of the adaptive beginning.",
        "rate_root": "Divide the clipped rates by sqrt(t).",
        "weight_decay": "The paper has none.",
    }

    def rule(self, xp):
        divisor, clip = nonzero(xp), box(xp)

        def rates(second: Array, alpha: float, eps: float, least: float, most: float) -> Array:
            return clip(alpha / divisor(xp.sqrt(second) + eps), least, most)

        def adabound(x, g, m, v, beta1, k1, beta2, k2, alpha, eps, least, most, fall, l2, keep, lower, upper):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            eta = rates(v, alpha, eps, least, most)
            return clip(keep * x - fall * eta * m, lower, upper), m, v

        def amsbound(
            x, g, m, v, V, beta1, k1, beta2, k2, alpha, eps, least, most, fall, l2, keep, lower, upper
        ):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            V = xp.maximum(V, v)
            eta = rates(V, alpha, eps, least, most)
            return clip(keep * x - fall * eta * m, lower, upper), m, v, V

        return amsbound if "V" in self.slots else adabound

    def rate_bounds(self, t: int) -> tuple[float, float]:
        """Return l_t and u_t."""
        final = self.final_lr
        if self.bounds_follow_rate:
            base = float(self.lr(1) if callable(self.lr) else self.lr)
            final = final * self.rate(t) / self.fall(t) / base if base > 0.0 else 0.0
        gamma = 1.0 - self.beta2 if self.gamma is None else self.gamma
        return final * (1.0 - 1.0 / (gamma * t + 1.0)), final * (1.0 + 1.0 / (gamma * t))

    def scalars(self, t, carried):
        alpha = self.rate(t) / self.fall(t)
        if self.bias_correction:
            alpha *= math.sqrt(correction(self.beta2, t)) / self.first_correction(t)
        least, most = self.rate_bounds(t)
        return {
            **self.first_weights(t),
            "k2": 1.0 - self.beta2,
            "alpha": alpha,
            "least": least,
            "most": most,
            "fall": self.fall(t),
        }


dialect(AdaBound, "official", "Luolc/AdaBound adabound.py",
    "AdaBoundW is decay='independent', whose decay the schedule then multiplies", decay="coupled", **CODE)  # fmt: skip


@register(
    "amsbound", source=LUO, where="the algorithm AMSBound, with the bounds of its experiments", state_copies=3
)
class AMSBound(AdaBound):
    """AMSBound: AdaBound on AMSGrad's largest average of squares.

    ``V_t = max(V_{t-1}, v_t)``, ``η̂_t = clip(α / sqrt(V_t), l_t, u_t)``,
    ``x_{t+1} = Π(x_t - η̂_t / sqrt(t) · m_t)``.

    Notes
    -----
    The maximum is of v without bias correction; the authors' code corrects afterwards, so that its
    unclipped rates may grow although V does not fall.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("amsbound", beta1=0.0, gamma=1e9)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-0.5]
    """

    slots = ("m", "v", "V")


dialect(AMSBound, "official", "Luolc/AdaBound adabound.py",
    "AdaBoundW is decay='independent', whose decay the schedule then multiplies", decay="coupled", **CODE)  # fmt: skip
