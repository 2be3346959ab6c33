"""AdaGrad (Duchi, Hazan and Singer 2011), as in Ruder's overview."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.overview import RUDER

DUCHI = Source("duchi-2011-adaptive", "J. Duchi, E. Hazan, Y. Singer",
    "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
    venue="Journal of Machine Learning Research 12:2121-2159")  # fmt: skip


@register("adagrad", source=RUDER, where="section 4.3", also=(DUCHI,), state_copies=1)
class AdaGrad(ElementwiseDecay):
    """AdaGrad: gradients divided by the root of the sum of all their squares.

    ``G_t = G_{t-1} + g_t²``, ``x_t = x_{t-1} - η g_t / sqrt(G_t + ε)``, from G_0 = 0.

    Notes
    -----
    With ε = 0 a coordinate whose gradient has always been zero stays.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adagrad", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([4.0]), s)
    >>> print(x)
    [-1.8]
    """

    slots = ("G",)
    lr: Rate = hyper(0.01, "[0, inf)", "η, in the units of x: the size of the first step.")
    eps: float = hyper(
        1e-8, "[0, inf)", "ε, in the units of the squared gradient (inside the root) or of the gradient."
    )
    eps_inside: bool = hyper(True, words="True as above; False: ``sqrt(G_t) + ε`` (torch; Duchi's δ).")
    initial: float = hyper(0.0, "[0, inf)", "G_0; the paper has 0.")
    rate_decay: float = hyper(
        0.0, "[0, inf)", "The rate of step t is divided by 1 + (t - 1) rate_decay (torch's ``lr_decay``)."
    )
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        divisor = nonzero(xp)

        def adagrad(x, g, G, lr, inside, outside, l2, keep):
            g = g + l2 * x
            G = G + g * g
            return keep * x - lr * g / divisor(xp.sqrt(G + inside) + outside), G

        return adagrad

    def rate(self, t: int) -> float:
        """Return the learning rate of step `t`."""
        return super().rate(t) / (1.0 + (t - 1) * self.rate_decay)

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return G_0."""
        return namespace(leaf).full_like(leaf, self.initial)

    def scalars(self, t, carried):
        return {
            "inside": self.eps if self.eps_inside else 0.0,
            "outside": 0.0 if self.eps_inside else self.eps,
        }


dialect(AdaGrad, "torch", "torch 2.13 optim.Adagrad",
    "eps beside the root, as Duchi's delta; rate_decay is its lr_decay", eps=1e-10, eps_inside=False,
    decay="coupled")  # fmt: skip
dialect(AdaGrad, "optax", "optax 0.2.8 adagrad", eps=1e-7, initial=0.1)
dialect(AdaGrad, "keras", "Keras 3 Adagrad", lr=1e-3, eps=1e-7, initial=0.1, decay="decoupled")
