"""FOCUS: signed momentum, drawn to the average of the points (Liu et al. 2025)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema

LIU = Source("liu-2025-focus", "Y. Liu, Z. Liu, J. Gore", "FOCUS: First Order Concentrated Updating Scheme",
    arxiv="2501.12243")  # fmt: skip


@register("focus", source=LIU, where="the algorithm FOCUS", state_copies=2)
class Focus(Elementwise):
    """FOCUS: the sign of averaged gradients, and beside it the sign of the way from the average of the points.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``x̂_t`` the corrected average of x_0, …, x_{t-1} with weight β2,
    ``x_t = x_{t-1} - η (sign(m_t) + γ sign(x_{t-1} - x̂_t) + λ x̂_t)``, and sign(0) = 0.

    Notes
    -----
    The state has x̂ itself, ``x̂_t = x̂_{t-1} + (1 - β2) / (1 - β2^t) (x_{t-1} - x̂_{t-1})``. In exact arithmetic this is the average
    over ``1 - β2^t``; but where a coordinate has not moved, as in the first step, that leaves the sign of a rounding error.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("focus", lr=1.0, gamma=0.25)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([3.0]), s)
    >>> print(x)  # the second step is shorter: it leads away from the average
    [-1.75]
    """

    slots = ("m", "mean")
    lr: Rate = hyper(1e-2, "[0, inf)", "η, in the units of x.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    gamma: float = hyper(0.1, "[0, 1)", "γ: the force to the average.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ, of the average.")
    decay_first: bool = hyper(
        False, words="True: the sign is of the decayed point, ``x - η λ x̂ - x̂`` (pytorch_optimizer)."
    )

    def rule(self, xp):
        def focus(x, g, m, mean, beta1, k1, share, gamma, lr, shrink, early):
            m = ema(m, g, beta1, k1)
            mean = mean + share * (x - mean)
            pull = xp.sign(x - mean - early * mean)
            return x - lr * (xp.sign(m) + gamma * pull) - shrink * mean, m, mean

        return focus

    def scalars(self, t, carried):
        shrink = self.rate(t) * self.weight_decay
        return {
            "k1": 1.0 - self.beta1,
            "share": (1.0 - self.beta2) / correction(self.beta2, t),
            "shrink": shrink,
            "early": shrink if self.decay_first else 0.0,
        }


dialect(Focus, "official", "liuyz0/FOCUS focus.py")
dialect(Focus, "kozistr", "pytorch_optimizer 4.1 FOCUS", decay_first=True)
