"""M-SVAG: momentum SGD shortened by the variance of its average (Balles and Hennig 2018)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

BALLES = Source("balles-2018-dissecting", "L. Balles, P. Hennig",
    "Dissecting Adam: The Sign, Magnitude and Variance of Stochastic Gradients", arxiv="1705.07774")  # fmt: skip


@register("msvag", source=BALLES, where="the algorithm M-SVAG", state_copies=2)
class MSVAG(Elementwise):
    """M-SVAG: steps along averaged gradients, each coordinate's shortened by an estimate of its relative variance.

    With averages of one β of the gradient and of its square, both over ``1 - β^t``: m_t and v_t, then
    ``ρ_t = (1 - β) (1 + β^t) / ((1 + β) (1 - β^t))``, ``s_t = (v_t - m_t²) / (1 - ρ_t)``,
    ``γ_t = m_t² / (m_t² + ρ_t s_t)``, ``x_t = x_{t-1} - η γ_t m_t``.

    Notes
    -----
    s estimates the variance of one gradient and ρ s that of m. In the first step ρ = 1 and v = m², and γ is 1. Rounding may
    leave v below m²: γ is kept in [0, 1], and ρ below 0.9999, as in the authors' code.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("msvag", lr=1.0, beta=0.5)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([0.0]), s)
    >>> print(x)  # m = 1 and v = 3: ρ = 5/9, s = 4.5, γ = 1 / (1 + 2.5)
    [-3.28571429]
    """

    slots = ("m", "v")
    lr: Rate = hyper(0.01, "[0, inf)", "η, in the units of x over those of the gradient.")
    beta: float = hyper(0.9, "[0, 1)", "β.")

    def rule(self, xp):
        divisor = nonzero(xp)

        def msvag(x, g, m, v, beta, k, inverse, ratio, lr):
            m, v = ema(m, g, beta, k), ema(v, g * g, beta, k)
            mean = inverse * m
            square = mean * mean
            gamma = square / divisor(square + ratio * (inverse * v - square))
            return x - lr * xp.minimum(gamma, 1.0) * mean, m, v

        return msvag

    def scalars(self, t, carried):
        c = correction(self.beta, t)
        rho = min((1.0 - self.beta) * (1.0 + self.beta**t) / ((1.0 + self.beta) * c), 0.9999)
        # In the first step v is m² but for its rounding.
        return {"k": 1.0 - self.beta, "inverse": 1.0 / c, "ratio": rho / (1.0 - rho) if t > 1 else 0.0}


dialect(MSVAG, "kozistr", "pytorch_optimizer 4.1 MSVAG")
