"""RMSprop (Tieleman and Hinton 2012), as in Ruder's overview; centered after Graves (2013)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.overview import RUDER

TIELEMAN = Source("tieleman-2012-rmsprop", "T. Tieleman, G. Hinton",
    "Lecture 6.5: RMSprop, divide the gradient by a running average of its recent magnitude",
    venue="COURSERA: Neural Networks for Machine Learning")  # fmt: skip
GRAVES = Source("graves-2013-generating", "A. Graves", "Generating Sequences With Recurrent Neural Networks",
    arxiv="1308.0850")  # fmt: skip


@register("rmsprop", source=RUDER, where="section 4.5", also=(TIELEMAN, GRAVES), state_copies=1)
class RMSprop(ElementwiseDecay):
    """RMSprop: gradients divided by their root mean square of late.

    ``v_t = β v_{t-1} + (1 - β) g_t²``, ``x_t = x_{t-1} - η g_t / sqrt(v_t + ε)``, from v_0 = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("rmsprop", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> print(x.round(4))
    [-3.1623]
    """

    slots = ("v", "m", "b")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta2: float = hyper(0.9, "[0, 1)", "β; the overview has 0.9.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_inside: bool = hyper(True, words="True as above; False: ``sqrt(v_t) + ε``.")
    initial: float = hyper(0.0, "[0, inf)", "v_0.")
    centered: bool = hyper(False,
        words="Divide by the standard deviation: v_t - m_t² in place of v_t, with m_t the average of"
        " gradients (Graves 2013). Rounding may bring the difference below zero; zero then takes"
        " its place.")  # fmt: skip
    bias_correction: bool = hyper(False, words="Divide v_t (and m_t) by 1 - β^t.")
    momentum: float = hyper(0.0, "[0, 1)", "μ, of a velocity of the divided gradients; 0: none.")
    nesterov: bool = hyper(False, words="Step along μ b_t + (the newest) in place of b_t.")
    rate_inside: bool = hyper(
        True, words="The velocity holds rates times divided gradients (Keras, optax), or these alone (torch)."
    )

    def rule(self, xp):
        divisor, nesterov = nonzero(xp), self.nesterov

        def scaled(
            g: Array, second: Array, weight: float, eps_in: float, eps_out: float, gain: float
        ) -> Array:
            return gain * g / divisor(xp.sqrt(second / weight + eps_in) + eps_out)

        def variance(v: Array, m: Array, weight: float) -> Array:
            difference = v - m * m / weight
            return xp.where(difference > 0.0, difference, 0.0)

        def direction(b: Array, u: Array, mu: float) -> Array:
            return mu * b + u if nesterov else b

        def plain(x, g, v, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep):
            g = g + l2 * x
            v = ema(v, g * g, beta, fresh)
            return keep * x - out * scaled(g, v, weight, eps_in, eps_out, gain), v

        def centered(x, g, v, m, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep):
            g = g + l2 * x
            v, m = ema(v, g * g, beta, fresh), ema(m, g, beta, fresh)
            second = variance(v, m, weight)
            return keep * x - out * scaled(g, second, weight, eps_in, eps_out, gain), v, m

        def heavy(x, g, v, b, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep):
            g = g + l2 * x
            v = ema(v, g * g, beta, fresh)
            u = scaled(g, v, weight, eps_in, eps_out, gain)
            b = mu * b + u
            return keep * x - out * direction(b, u, mu), v, b

        def both(x, g, v, m, b, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep):
            g = g + l2 * x
            v, m = ema(v, g * g, beta, fresh), ema(m, g, beta, fresh)
            u = scaled(g, variance(v, m, weight), weight, eps_in, eps_out, gain)
            b = mu * b + u
            return keep * x - out * direction(b, u, mu), v, m, b

        if self.momentum:
            return both if self.centered else heavy
        return centered if self.centered else plain

    def active_slots(self) -> tuple[str, ...]:
        """Return v, the average m where it is centered, the velocity b where there is momentum."""
        return ("v", *(("m",) if self.centered else ()), *(("b",) if self.momentum else ()))

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return v_0, or zeros."""
        return namespace(leaf).full_like(leaf, self.initial if slot == "v" else 0.0)

    def scalars(self, t, carried):
        inside, outside = (self.rate(t), 1.0) if self.rate_inside else (1.0, self.rate(t))
        return {
            "beta": self.beta2,
            "fresh": 1.0 - self.beta2,
            "weight": correction(self.beta2, t) if self.bias_correction else 1.0,
            "eps_in": self.eps if self.eps_inside else 0.0,
            "eps_out": 0.0 if self.eps_inside else self.eps,
            "mu": self.momentum,
            "gain": inside,
            "out": outside,
        }


dialect(RMSprop, "torch", "torch 2.13 optim.RMSprop",
    "does not clamp the centered variance, and then may answer NaN", lr=0.01, beta2=0.99, eps_inside=False,
    rate_inside=False, decay="coupled")  # fmt: skip
dialect(RMSprop, "optax", "optax 0.2.8 rmsprop", "does not clamp the centered variance")
dialect(RMSprop, "keras", "Keras 3 RMSprop", eps=1e-7, decay="decoupled")
dialect(
    RMSprop, "timm", "timm rmsprop_tf", "starts from v = 1", lr=0.01, eps=1e-10, initial=1.0, decay="coupled"
)
