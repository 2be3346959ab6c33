"""Nadam (Dozat 2016), as in Ruder's overview and in the forms of the libraries."""

from __future__ import annotations

import math

from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.overview import RUDER

DOZAT = Source("dozat-2016-nadam", "T. Dozat", "Incorporating Nesterov Momentum into Adam",
    url="https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ", venue="ICLR Workshop")  # fmt: skip


@register("nadam", source=RUDER, where="section 4.8", also=(DOZAT,), state_copies=2)
class NAdam(ElementwiseDecay):
    """Nadam: Adam whose momentum looks one step ahead, as Nesterov's.

    ``m_t`` and ``v_t`` as in Adam, ``m̂_t = m_t / (1 - β1^t)``, ``v̂_t = v_t / (1 - β2^t)``,
    ``x_t = x_{t-1} - η (β1 m̂_t + (1 - β1) g_t / (1 - β1^t)) / (sqrt(v̂_t) + ε)``.

    Notes
    -----
    `shared_correction` with a momentum schedule uses P_t where 1 - β1^t stands above.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("nadam", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> print(x)
    [-1.9]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_inside: bool = hyper(False, words="``sqrt(v̂ + ε)`` in place of ``sqrt(v̂) + ε`` (the author's code).")
    momentum_decay: float | None = hyper(
        None, "[0, inf)", "ψ of the schedule ``μ_t = β1 (1 - 0.96^(tψ) / 2)``; None: μ_t = β1."
    )
    shared_correction: bool = hyper(True,
        words="True: both parts are divided by 1 - β1^t, as above. False: each has its own correction,"
        " ``μ_{t+1} m_t / (1 - P_{t+1}) + (1 - μ_t) g_t / (1 - P_t)`` with P_t = μ_1 ⋯ μ_t.")  # fmt: skip
    scheduled_average: bool = hyper(False, words="The average m itself uses μ_t in place of β1 (Dozat).")
    extra_beta2: bool = hyper(False, words="v̂ is multiplied by β2 (Dozat's Algorithm 2).")

    def rule(self, xp):
        divisor = nonzero(xp)

        def nadam(x, g, m, v, beta1, k1, beta2, k2, through, direct, root, inside, eps, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            v = ema(v, g * g, beta2, k2)
            step = through * m + direct * g
            return keep * x - step / divisor(xp.sqrt(v + inside) * root + eps), m, v

        return nadam

    def momentum(self, t: int) -> float:
        """Return μ_t."""
        if self.momentum_decay is None:
            return self.beta1
        return self.beta1 * (1.0 - 0.5 * 0.96 ** (t * self.momentum_decay))

    def start_numbers(self) -> dict[str, float]:
        """Return P_0 = 1."""
        return {"product": 1.0}

    def carry(self, t: int, s: State) -> dict[str, float]:
        """Return P_t."""
        return {"product": s["product"] * self.momentum(t)}

    def scalars(self, t, carried):
        now, after, product = self.momentum(t), self.momentum(t + 1), carried["product"]
        direct, through = 1.0 - product, 1.0 - product * (1.0 if self.shared_correction else after)
        c2, extra = correction(self.beta2, t), self.beta2 if self.extra_beta2 else 1.0
        beta1 = now if self.scheduled_average else self.beta1
        return {
            "beta1": beta1,
            "k1": 1.0 - beta1,
            "k2": 1.0 - self.beta2,
            "through": self.rate(t) * after / through,
            "direct": self.rate(t) * (1.0 - now) / direct,
            "root": math.sqrt(extra / c2),
            # sqrt(v + ε c2 / extra) times the root of extra / c2 is sqrt(v̂ + ε).
            "inside": self.eps * c2 / extra if self.eps_inside and extra > 0.0 else 0.0,
            "eps": 0.0 if self.eps_inside else self.eps,
        }


dialect(NAdam, "torch", "torch 2.13 optim.NAdam", "decoupled_weight_decay=True is decay='decoupled'", lr=2e-3,
    momentum_decay=0.004, shared_correction=False, decay="coupled")  # fmt: skip
dialect(NAdam, "optax", "optax 0.2.8 nadam", shared_correction=False)
dialect(
    NAdam, "keras", "Keras 3 Nadam", momentum_decay=1.0, shared_correction=False, eps=1e-7, decay="decoupled"
)
dialect(NAdam, "timm", "timm nadamw", decay="decoupled")
dialect(NAdam, "dozat", "Dozat's Algorithm 2",
    "unverified: the extra beta2 is confirmed by a report on the author's repository (its issue 3), the"
    " rest is a reader's memory of the workshop paper; no code is known that computes it", beta1=0.99,
    momentum_decay=0.004, shared_correction=False, scheduled_average=True, extra_beta2=True)  # fmt: skip
dialect(NAdam, "official", "tdozat/Optimization tensorflow/nadam.py",
    "the author's own code: no schedule of the momentum, no extra beta2", lr=2e-3, beta2=0.9, eps=1e-16,
    eps_inside=True, shared_correction=False)  # fmt: skip
