"""Optimistic online mirror descent (Chen et al. 2023)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, register
from refopt.optimizers.common.potentials import check_simplex, simplex_step

CHEN = Source("chen-2023-optimistic", "S. Chen, Y.-J. Zhang, W.-W. Tu, P. Zhao, L. Zhang",
    "Optimistic Online Mirror Descent for Bridging Stochastic and Adversarial Online Convex Optimization",
    arxiv="2302.04552")  # fmt: skip


@register("optimistic-mirror-descent", source=CHEN, where="optimistic online mirror descent", state_copies=2)
class OptimisticMirrorDescent(GradientMethod):
    """Optimistic mirror descent: the last gradient stands for the next one before it is seen.

    ``x_t = argmin_x η_t <M_t, x> + D(x, z_t)``, ``z_{t+1} = argmin_x η_t <g_t, x> + D(x, z_t)``, over the domain,
    with g_t the gradient at x_t and ``M_t = g_{t-1}``, from z_1 = x_1 and M_1 = 0. D is half the squared distance,
    on all space or the problem's feasible set, or the entropy's divergence on the simplex.

    Notes
    -----
    Both lines start from z_t and have the same η_t. Adaptive rates are
    ``η_t = D / sqrt(offset + sum_{s<t} ||g_s - g_{s-1}||²)``, D the domain's diameter. Without constraints and with a constant rate
    ``x_{t+1} = x_t - 2 η g_t + η g_{t-1}``. A run's x is x_t; a step ends with the next point to be played.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("optimistic-mirror-descent", lr=0.1)
    >>> x, s = o.update(np.array([1.0]), np.array([1.0]), o.init(np.array([1.0])))
    >>> print(x, s["z"])
    [0.8] [0.9]
    """

    lr: Rate = hyper(0.01, "[0, inf)", "η; with adaptive rates D, in the units of x.")
    rates: str = hyper("constant", ("constant", "adaptive"), "η_t = η, or from what the predictions missed.")
    domain: str = hyper("all", ("all", "feasible", "simplex"),
        "All space; the problem's feasible set (``project``), for `step` alone; or the simplex, of all"
        " entries together, with the entropy.")  # fmt: skip
    offset: float = hyper(1.0, "(0, inf)",
        "δ + 4 G² of adaptive rates, in squared units of the gradient: 4 G² for gradients of length G at most, and δ of the"
        " order of (D L)².")  # fmt: skip
    first: str = hyper("zero", ("zero", "own"),
        "M_1: zero, or the first gradient itself, with x_1 the point that it leads to (optax's start).")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first == "own" and self.domain != "all":
            raise ArgumentError(
                f"optimistic-mirror-descent: first: 'own' wants domain='all', got {self.domain!r}"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """The gradient, and the projection where the domain is the problem's."""
        return (*self.own_needs, "project") if self.domain == "feasible" else self.own_needs

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: z_1 = x, and no gradient yet."""
        x = check_start(x, "x")
        if self.domain == "simplex":
            check_simplex(x, "optimistic-mirror-descent")
        return {"t": 0, "missed": 0.0, "z": params.copied(x), "last": params.zeros_like(x)}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("missed", "z", "last")

    def eta(self, t: int, missed: float) -> float:
        """Return η_t, before which predictions have missed by `missed`, the root of the sum of squares."""
        eta = self.rate(t)
        return eta if self.rates == "constant" else eta / math.hypot(math.sqrt(self.offset), missed)

    def _mirror(self, z: Params, g: Params, eta: float, oracle: Oracle | None) -> Params:
        if self.domain == "simplex":
            return simplex_step(z, g, eta)
        new = params.axpy(-eta, g, z)
        return new if oracle is None else oracle.project(new)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at `x` and go on."""
        if self.domain != "feasible":
            return super().step(x, s, oracle)
        return self._advance(x, oracle.grad(x), s, oracle)

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step where the domain is known without the problem."""
        if self.domain == "feasible":
            raise ArgumentError(
                "optimistic-mirror-descent: domain: 'feasible' asks the problem; use step(x, s, oracle)"
            )
        return self._advance(x, g, s, None)

    def _advance(self, x: Params, g: Params, s: State, oracle: Oracle | None) -> tuple[Params, State]:
        t, z = s["t"] + 1, s["z"]
        eta = self.eta(t, s["missed"])
        missed = math.hypot(s["missed"], params.norm(params.subtract(g, s["last"])))
        if t == 1 and self.first == "own":
            z = params.axpy(eta, g, x)
        z = self._mirror(z, g, eta, oracle)
        new = self._mirror(z, g, self.eta(t + 1, missed), oracle)
        return new, {"t": t, "missed": missed, "z": z, "last": params.copied(g)}
