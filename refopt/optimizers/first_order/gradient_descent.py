"""Gradient descent, heavy-ball momentum and Nesterov's accelerated gradient, as in Ruder's overview.

Libraries differ in where the rate stands. With the rate inside the velocity (the overview, Keras) a
change of the rate acts on new gradients alone; outside (torch, optax) it rescales the whole velocity.
At a constant rate the forms agree.
"""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.known_rate import KnownRate
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import dialect, register
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.first_order.overview import RUDER, SUTSKEVER


def _root_ratio(lipschitz: float, mu: float) -> float:
    """Return ``(sqrt(L) - sqrt(mu)) / (sqrt(L) + sqrt(mu))``."""
    return (lipschitz**0.5 - mu**0.5) / (lipschitz**0.5 + mu**0.5)


@register("sgd", source=RUDER, where="section 2, equations (1) to (3)",
    known_rate=KnownRate("2 / (L + mu), or 1 / L without mu (Nesterov 2004)",
        lambda L, mu: {"lr": 2.0 / (L + mu) if mu > 0.0 else 1.0 / L}))  # fmt: skip
class SGD(ElementwiseDecay):
    """Gradient descent: a step against the gradient, stochastic where the gradient is.

    ``x_t = x_{t-1} - η g_t``, with g_t the gradient at x_{t-1} of all examples or of a batch.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sgd", lr=0.5)
    >>> x, s = o.update(np.array([1.0]), np.array([2.0]), o.init(np.array([1.0])))
    >>> print(x)
    [0.]
    """

    lr: Rate = hyper(0.01, "[0, inf)", "η. The overview has no default.")
    words = {"decay": "Without momentum, coupled and decoupled decay are the same step."}

    def rule(self, xp):
        def sgd(x, g, lr, l2, keep):
            return (keep * x - lr * (g + l2 * x),)

        return sgd


dialect(SGD, "torch", "torch 2.13 optim.SGD", lr=1e-3, decay="coupled")
dialect(SGD, "optax", "optax 0.2.8 sgd")
dialect(SGD, "keras", "Keras 3 SGD", lr=0.01, decay="decoupled")


class Velocity(ElementwiseDecay):
    """What heavy-ball and Nesterov momentum share: the velocity and where the rate stands."""

    slots = ("v",)
    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    momentum: float = hyper(0.9, "[0, 1)", "γ.")
    dampening: float = hyper(0.0, "[0, 1]",
        "The share τ of a new gradient that is left out of the velocity; without momentum, nothing.")  # fmt: skip
    rate_inside: bool = hyper(
        True, words="The velocity holds rates times gradients (the overview) or gradients alone."
    )
    full_first: bool = hyper(
        False, words="The first velocity is the whole gradient, dampening notwithstanding (torch)."
    )

    def scalars(self, t, carried):
        whole = self.momentum == 0.0 or (self.full_first and t == 1)
        weight = 1.0 if whole else 1.0 - self.dampening
        inside, outside = (self.rate(t), 1.0) if self.rate_inside else (1.0, self.rate(t))
        return {"gamma": self.momentum, "gain": inside * weight, "out": outside}


@register("momentum", source=RUDER, where="section 4.1, equation (4)", also=(SUTSKEVER,),
    known_rate=KnownRate("4 / (sqrt(L) + sqrt(mu))², momentum ((sqrt(L) - sqrt(mu)) / (sqrt(L) + sqrt(mu)))², best on quadratics (Polyak 1964)",
        lambda L, mu: {"lr": 4.0 / (L**0.5 + mu**0.5) ** 2, "momentum": _root_ratio(L, mu) ** 2}, convex=True))  # fmt: skip
class Momentum(Velocity):
    """Heavy-ball momentum: the step is a decaying sum of past gradients.

    ``v_t = γ v_{t-1} + η g_t``, ``x_t = x_{t-1} - v_t``, from v_0 = 0.

    Notes
    -----
    At a constant rate the two places of the rate give the same trajectory.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", condition_number=10.0), "momentum", lr=0.1, steps=300)
    >>> r.fun < 1e-8
    True
    """

    words = {
        "lr": "η. The overview has no default.",
        "dampening": "τ: the velocity takes (1 - τ) of a new gradient.",
        "rate_inside": "True as above; False: ``v_t = γ v_{t-1} + g_t``, ``x_t = x_{t-1} - η v_t``.",
        "full_first": "The first velocity is the whole gradient even with dampening.",
        "decay": "Coupled decay enters the velocity.",
    }

    def rule(self, xp):
        def momentum(x, g, v, gamma, gain, out, l2, keep):
            v = gamma * v + gain * (g + l2 * x)
            return keep * x - out * v, v

        return momentum


dialect(Momentum, "torch", "torch 2.13 optim.SGD(momentum=...)", rate_inside=False, full_first=True,
    decay="coupled")  # fmt: skip
dialect(Momentum, "optax", "optax 0.2.8 sgd(momentum=...)", rate_inside=False)
dialect(Momentum, "keras", "Keras 3 SGD(momentum=...)", decay="decoupled")


@register("nesterov", source=RUDER, where="section 4.2, equation (5)", also=(SUTSKEVER,),
    known_rate=KnownRate("1 / L, momentum (sqrt(L) - sqrt(mu)) / (sqrt(L) + sqrt(mu)) (Nesterov 2004)",
        lambda L, mu: {"lr": 1.0 / L, "momentum": _root_ratio(L, mu)}, convex=True))  # fmt: skip
class Nesterov(Velocity):
    """Nesterov's accelerated gradient: momentum whose gradient is taken where the velocity leads.

    ``y = x_{t-1} - γ v_{t-1}``, ``v_t = γ v_{t-1} + η ∇f(y)``, ``x_t = x_{t-1} - v_t``.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", condition_number=10.0), "nesterov", lr=0.1, steps=300)
    >>> r.fun < 1e-8
    True
    """

    look_ahead: bool = hyper(True,
        words="True as above: `step` asks for the gradient at y, and `update` wants it from there"
        " (`look_ahead_point`). False, as libraries have it: the gradient at x, and ``x_t = x_{t-1}"
        " - (γ v_t + η g_t)``; this x is the y of the form above.")  # fmt: skip

    def rule(self, xp):
        def look_ahead(x, g, v, gamma, gain, out, l2, keep):
            v = gamma * v + gain * (g + l2 * x)
            return keep * x - out * v, v

        def shifted(x, g, v, gamma, gain, out, l2, keep):
            g = g + l2 * x
            v = gamma * v + gain * g
            return keep * x - out * (gamma * v + gain * g), v

        return look_ahead if self.look_ahead else shifted

    def look_ahead_point(self, x: Params, s: State) -> Params:
        """Return ``y = x - γ v``, in the velocity's units of this form."""
        weight = self.momentum if self.rate_inside else self.momentum * self.rate(s["t"] + 1)
        return params.axpy(-weight, s["v"], x)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at the look-ahead point (or at `x`) and update."""
        at = self.look_ahead_point(x, s) if self.look_ahead else x
        return self.update(x, oracle.grad(at), s)


dialect(Nesterov, "torch", "torch 2.13 optim.SGD(nesterov=True)", "x is the overview's look-ahead point",
    look_ahead=False, rate_inside=False, full_first=True, decay="coupled")  # fmt: skip
dialect(Nesterov, "optax", "optax 0.2.8 sgd(nesterov=True)", look_ahead=False, rate_inside=False)
dialect(Nesterov, "keras", "Keras 3 SGD(nesterov=True)", look_ahead=False, decay="decoupled")
