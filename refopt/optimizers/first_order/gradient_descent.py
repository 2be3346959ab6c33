"""Gradient descent, heavy-ball momentum and Nesterov's accelerated gradient, as in Ruder's overview.

Libraries differ in where the rate stands. With the rate inside the velocity (the overview, Keras) a
change of the rate acts on new gradients alone; outside (torch, optax) it rescales the whole velocity.
At a constant rate the forms agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core import params
from refopt.core.arrays import Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Dialect, Evidence, register
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.first_order.overview import RUDER, SUTSKEVER


@register(
    "sgd",
    kind="optimizer",
    source=RUDER,
    where="section 2, equations (1) to (3)",
    dialects={
        "torch": Dialect({"lr": 1e-3, "decay": "coupled"}, "torch 2.13 optim.SGD"),
        "optax": Dialect({}, "optax 0.2.8 sgd"),
        "keras": Dialect({"lr": 0.01, "decay": "decoupled"}, "Keras 3 SGD"),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sgd-keras]",
        ),
        Evidence(
            "identity",
            "Keras's dialect equals its formulas transcribed, 100 steps under a schedule with decay, to 1e-12",
            "tests/identities/test_keras_dialects.py::test_keras",
        ),
        Evidence(
            "parity",
            "torch.optim.SGD with coupled decay, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sgd-torch]",
        ),
        Evidence(
            "parity",
            "optax.sgd under a schedule, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[sgd-optax]",
        ),
        Evidence(
            "claim",
            "on a quadratic every eigencomponent of the error is (1 - lr h)^t of its start, 50 steps to 200 units in the last place",
            "tests/claims/test_gradient_descent.py::test_error_by_eigenvalue",
        ),
        Evidence(
            "claim",
            "rate 2 / (L + mu) gives the factor (k - 1) / (k + 1), to 1e-10",
            "tests/claims/test_gradient_descent.py::test_best_constant_rate",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class SGD(ElementwiseDecay):
    """Gradient descent: a step against the gradient, stochastic where the gradient is.

    ``x_t = x_{t-1} - η g_t``, with g_t the gradient at x_{t-1} of all examples or of a batch.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η. The overview has no default.
    weight_decay : float, range [0, inf)
    decay : {"coupled", "decoupled", "independent"}
        Without momentum, coupled and decoupled decay are the same step.
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    References
    ----------
    S. Ruder 2016, arXiv:1609.04747, section 2.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sgd", lr=0.5)
    >>> x, s = o.update(np.array([1.0]), np.array([2.0]), o.init(np.array([1.0])))
    >>> print(x)
    [0.]
    """

    lr: Rate = hyper(0.01, "[0, inf)", rate=True)

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return rate and decay of step `t`."""
        return {"lr": self.rate(t), "l2": self.coupled(), "keep": self.keep(t)}

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""

        def sgd(x, g, lr, l2, keep):  # type: ignore[no-untyped-def]
            return (keep * x - lr * (g + l2 * x),)

        return sgd


@dataclass(frozen=True, kw_only=True)
class Velocity(ElementwiseDecay):
    """What heavy-ball and Nesterov momentum share: the velocity and where the rate stands.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    momentum : float, range [0, 1)
        γ.
    dampening : float, range [0, 1]
        The share τ of a new gradient that is left out of the velocity; without momentum, nothing.
    rate_inside : bool
        The velocity holds rates times gradients (the overview) or gradients alone.
    full_first : bool
        The first velocity is the whole gradient, dampening notwithstanding (torch).
    """

    slots: ClassVar[tuple[str, ...]] = ("v",)
    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    momentum: float = hyper(0.9, "[0, 1)")
    dampening: float = hyper(0.0, "[0, 1]")
    rate_inside: bool = hyper(True, (True, False))
    full_first: bool = hyper(False, (True, False))

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return momentum, the weight of the gradient in the velocity, and of the velocity in x."""
        whole = self.momentum == 0.0 or (self.full_first and t == 1)
        weight = 1.0 if whole else 1.0 - self.dampening
        inside, outside = (self.rate(t), 1.0) if self.rate_inside else (1.0, self.rate(t))
        return {
            "gamma": self.momentum,
            "gain": inside * weight,
            "out": outside,
            "l2": self.coupled(),
            "keep": self.keep(t),
        }


@register(
    "momentum",
    kind="optimizer",
    source=RUDER,
    where="section 4.1, equation (4)",
    also=(SUTSKEVER,),
    dialects={
        "torch": Dialect(
            {"rate_inside": False, "full_first": True, "decay": "coupled"},
            "torch 2.13 optim.SGD(momentum=...)",
        ),
        "optax": Dialect({"rate_inside": False}, "optax 0.2.8 sgd(momentum=...)"),
        "keras": Dialect({"decay": "decoupled"}, "Keras 3 SGD(momentum=...)"),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[momentum-keras]",
        ),
        Evidence(
            "identity",
            "Keras's dialect equals its formulas transcribed, 100 steps under a schedule with decay, to 1e-12",
            "tests/identities/test_keras_dialects.py::test_keras",
        ),
        Evidence(
            "parity",
            "torch.optim.SGD with dampening, decay and a schedule, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[momentum-torch]",
        ),
        Evidence(
            "parity",
            "optax.sgd(momentum=...), 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[momentum-optax]",
        ),
        Evidence(
            "claim",
            "on a quadratic Polyak's rate and momentum give the factor (sqrt k - 1) / (sqrt k + 1), to 1 % over 125 steps",
            "tests/claims/test_gradient_descent.py::test_heavy_ball_rate",
        ),
        Evidence(
            "claim",
            "under a constant gradient the step tends to lr g / (1 - momentum), to 1e-12 after 200 steps",
            "tests/claims/test_gradient_descent.py::test_terminal_velocity",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class Momentum(Velocity):
    """Heavy-ball momentum: the step is a decaying sum of past gradients.

    ``v_t = γ v_{t-1} + η g_t``, ``x_t = x_{t-1} - v_t``, from v_0 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η. The overview has no default.
    momentum : float, range [0, 1)
        γ.
    dampening : float, range [0, 1]
        τ: the velocity takes (1 - τ) of a new gradient.
    rate_inside : bool
        True as above; False: ``v_t = γ v_{t-1} + g_t``, ``x_t = x_{t-1} - η v_t``.
    full_first : bool
        The first velocity is the whole gradient even with dampening.
    weight_decay : float, range [0, inf)
    decay : {"coupled", "decoupled", "independent"}
        Coupled decay enters the velocity.
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    At a constant rate the two places of the rate give the same trajectory.

    References
    ----------
    S. Ruder 2016, arXiv:1609.04747, section 4.1. B. Polyak 1964 gave the method.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", condition_number=10.0), "momentum", lr=0.1, steps=300)
    >>> r.fun < 1e-8
    True
    """

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""

        def momentum(x, g, v, gamma, gain, out, l2, keep):  # type: ignore[no-untyped-def]
            v = gamma * v + gain * (g + l2 * x)
            return keep * x - out * v, v

        return momentum


@register(
    "nesterov",
    kind="optimizer",
    source=RUDER,
    where="section 4.2, equation (5)",
    also=(SUTSKEVER,),
    dialects={
        "torch": Dialect(
            {"look_ahead": False, "rate_inside": False, "full_first": True, "decay": "coupled"},
            "torch 2.13 optim.SGD(nesterov=True)",
            "x is the overview's look-ahead point",
        ),
        "optax": Dialect({"look_ahead": False, "rate_inside": False}, "optax 0.2.8 sgd(nesterov=True)"),
        "keras": Dialect({"look_ahead": False, "decay": "decoupled"}, "Keras 3 SGD(nesterov=True)"),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[nesterov-keras]",
        ),
        Evidence(
            "identity",
            "Keras's dialect equals its formulas transcribed, 100 steps under a schedule with decay, to 1e-12",
            "tests/identities/test_keras_dialects.py::test_keras",
        ),
        Evidence(
            "parity",
            "torch.optim.SGD(nesterov=True) with decay and a schedule, 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[nesterov-torch]",
        ),
        Evidence(
            "parity",
            "optax.sgd(nesterov=True), 200 steps on four streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[nesterov-optax]",
        ),
        Evidence(
            "identity",
            "torch's x is the overview's look-ahead point y (constant rate), Keras's under a schedule too, to 1e-12",
            "tests/identities/test_gradient_descent.py::test_shifted_form_is_look_ahead_point",
        ),
        Evidence(
            "claim",
            "on a strongly convex quadratic f - f* stays below (1 - 1 / sqrt k)^t (f_0 - f* + mu |x_0 - x*|² / 2) for 200 steps",
            "tests/claims/test_gradient_descent.py::test_nesterov_rate",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class Nesterov(Velocity):
    """Nesterov's accelerated gradient: momentum whose gradient is taken where the velocity leads.

    ``y = x_{t-1} - γ v_{t-1}``, ``v_t = γ v_{t-1} + η ∇f(y)``, ``x_t = x_{t-1} - v_t``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    momentum : float, range [0, 1)
        γ.
    look_ahead : bool
        True as above: `step` asks for the gradient at y, and `update` wants it from there
        (`look_ahead_point`). False, as libraries have it: the gradient at x, and
        ``x_t = x_{t-1} - (γ v_t + η g_t)``; this x is the y of the form above.
    dampening : float, range [0, 1]
    rate_inside : bool
    full_first : bool
        As in `Momentum`.
    weight_decay : float, range [0, inf)
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    References
    ----------
    S. Ruder 2016, arXiv:1609.04747, section 4.2. I. Sutskever et al. 2013 gave the look-ahead form.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", condition_number=10.0), "nesterov", lr=0.1, steps=300)
    >>> r.fun < 1e-8
    True
    """

    look_ahead: bool = hyper(True, (True, False))

    def look_ahead_point(self, x: Params, s: State) -> Params:
        """Return ``y = x - γ v``, in the velocity's units of this form."""
        weight = self.momentum if self.rate_inside else self.momentum * self.rate(s["t"] + 1)
        return params.axpy(-weight, s["v"], x)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at the look-ahead point (or at `x`) and update."""
        at = self.look_ahead_point(x, s) if self.look_ahead else x
        return self.update(x, oracle.grad(at), s)

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""

        def look_ahead(x, g, v, gamma, gain, out, l2, keep):  # type: ignore[no-untyped-def]
            v = gamma * v + gain * (g + l2 * x)
            return keep * x - out * v, v

        def shifted(x, g, v, gamma, gain, out, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            v = gamma * v + gain * g
            return keep * x - out * (gamma * v + gain * g), v

        return look_ahead if self.look_ahead else shifted
