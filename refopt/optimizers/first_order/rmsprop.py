"""RMSprop (Tieleman and Hinton 2012), as in Ruder's overview; centered after Graves (2013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.overview import RUDER

TIELEMAN = Source(
    key="tieleman-2012-rmsprop",
    authors="T. Tieleman, G. Hinton",
    year=2012,
    title="Lecture 6.5: RMSprop, divide the gradient by a running average of its recent magnitude",
    venue="COURSERA: Neural Networks for Machine Learning",
)
GRAVES = Source(
    key="graves-2013-generating",
    authors="A. Graves",
    year=2013,
    title="Generating Sequences With Recurrent Neural Networks",
    arxiv="1308.0850",
)


@register(
    "rmsprop",
    kind="optimizer",
    source=RUDER,
    where="section 4.5",
    also=(TIELEMAN, GRAVES),
    dialects={
        "torch": Dialect(
            {"lr": 0.01, "beta2": 0.99, "eps_inside": False, "rate_inside": False, "decay": "coupled"},
            "torch 2.13 optim.RMSprop",
            "does not clamp the centered variance, and then may answer NaN",
        ),
        "optax": Dialect({}, "optax 0.2.8 rmsprop", "does not clamp the centered variance"),
        "keras": Dialect({"eps": 1e-7, "decay": "decoupled"}, "Keras 3 RMSprop"),
        "timm": Dialect(
            {"lr": 0.01, "eps": 1e-10, "initial": 1.0, "decay": "coupled"},
            "timm rmsprop_tf",
            "starts from v = 1",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "torch.optim.RMSprop, centered, with momentum, large eps, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[rmsprop-torch]",
        ),
        Evidence(
            "parity",
            "optax.rmsprop with Nesterov momentum, bias correction and a start of 0.3, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[rmsprop-optax]",
        ),
        Evidence(
            "parity",
            "optax.rmsprop centered with bias correction and a large eps, 200 steps on the random stream, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[rmsprop-optax-centered]",
        ),
        Evidence(
            "parity",
            "Keras 3.16's RMSprop, centered, with momentum, decay and a schedule, 200 steps on the random stream, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[rmsprop-keras]",
        ),
        Evidence(
            "parity",
            "timm's RMSpropTF with momentum, decay and a schedule, 200 steps on the random stream, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[rmsprop-timm]",
        ),
        Evidence(
            "identity",
            "with bias correction and eps beside the root it is Adam with beta1 = 0, to 1e-13",
            "tests/identities/test_adaptive.py::test_rmsprop_with_bias_correction_is_adam_without_momentum",
        ),
        Evidence(
            "claim",
            "centered, under a constant gradient: v - m² = g² b^t (1 - b^t), so that steps grow as b^(-t/2), to 1e-10",
            "tests/claims/test_adaptive.py::test_centered_rmsprop_under_a_constant_gradient",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class RMSprop(ElementwiseDecay):
    """RMSprop: gradients divided by their root mean square of late.

    ``v_t = β v_{t-1} + (1 - β) g_t²``, ``x_t = x_{t-1} - η g_t / sqrt(v_t + ε)``, from v_0 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta2 : float, range [0, 1)
        β; the overview has 0.9.
    eps : float, range [0, inf)
        ε.
    eps_inside : bool
        True as above; False: ``sqrt(v_t) + ε``.
    initial : float, range [0, inf)
        v_0.
    centered : bool
        Divide by the standard deviation: v_t - m_t² in place of v_t, with m_t the average of gradients
        (Graves 2013). Rounding may bring the difference below zero; zero then takes its place.
    bias_correction : bool
        Divide v_t (and m_t) by 1 - β^t.
    momentum : float, range [0, 1)
        μ, of a velocity of the divided gradients; 0: none.
    nesterov : bool
        Step along μ b_t + (the newest) in place of b_t.
    rate_inside : bool
        The velocity holds rates times divided gradients (Keras, optax), or these alone (torch).
    weight_decay : float, range [0, inf)
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    References
    ----------
    S. Ruder 2016, arXiv:1609.04747, section 4.5. T. Tieleman, G. Hinton 2012, lecture 6.5. Centered:
    A. Graves 2013, Generating Sequences With Recurrent Neural Networks, arXiv:1308.0850.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("rmsprop", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> print(x.round(4))
    [-3.1623]
    """

    slots: ClassVar[tuple[str, ...]] = ("v", "m", "b")
    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    beta2: float = hyper(0.9, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    eps_inside: bool = hyper(True, (True, False))
    initial: float = hyper(0.0, "[0, inf)")
    centered: bool = hyper(False, (True, False))
    bias_correction: bool = hyper(False, (True, False))
    momentum: float = hyper(0.0, "[0, 1)")
    nesterov: bool = hyper(False, (True, False))
    rate_inside: bool = hyper(True, (True, False))

    def active_slots(self) -> tuple[str, ...]:
        """Return v, the average m where it is centered, the velocity b where there is momentum."""
        return ("v", *(("m",) if self.centered else ()), *(("b",) if self.momentum else ()))

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return v_0, or zeros."""
        return namespace(leaf).full_like(leaf, self.initial if slot == "v" else 0.0)

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
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
            "l2": self.coupled(),
            "keep": self.keep(t),
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step, of four forms: with and without centering and momentum."""
        divisor, nesterov = nonzero(xp), self.nesterov

        def scaled(
            g: Array,
            second: Array,
            weight: float,
            eps_in: float,
            eps_out: float,
            gain: float,
            zero: float,
            one: float,
        ) -> Array:
            return gain * g / divisor(xp.sqrt(second / weight + eps_in) + eps_out, zero, one)

        def variance(v: Array, m: Array, weight: float, zero: float) -> Array:
            difference = v - m * m / weight
            return xp.where(difference > zero, difference, zero)

        def direction(b: Array, u: Array, mu: float) -> Array:
            return mu * b + u if nesterov else b

        def plain(x, g, v, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            v = ema(v, g * g, beta, fresh)
            return keep * x - out * scaled(g, v, weight, eps_in, eps_out, gain, zero, one), v

        def centered(x, g, v, m, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            v, m = ema(v, g * g, beta, fresh), ema(m, g, beta, fresh)
            second = variance(v, m, weight, zero)
            return keep * x - out * scaled(g, second, weight, eps_in, eps_out, gain, zero, one), v, m

        def heavy(x, g, v, b, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            v = ema(v, g * g, beta, fresh)
            u = scaled(g, v, weight, eps_in, eps_out, gain, zero, one)
            b = mu * b + u
            return keep * x - out * direction(b, u, mu), v, b

        def both(x, g, v, m, b, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            v, m = ema(v, g * g, beta, fresh), ema(m, g, beta, fresh)
            u = scaled(g, variance(v, m, weight, zero), weight, eps_in, eps_out, gain, zero, one)
            b = mu * b + u
            return keep * x - out * direction(b, u, mu), v, m, b

        if self.momentum:
            return both if self.centered else heavy
        return centered if self.centered else plain
