"""Composite stochastic mirror descent and its last iterate (Liu and Zhou 2023)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, register
from refopt.optimizers.common.potentials import check_simplex, simplex_step

LIU = Source("liu-2023-revisiting", "Z. Liu, Z. Zhou",
    "Revisiting the Last-Iterate Convergence of Stochastic Gradient Methods", arxiv="2312.08531")  # fmt: skip
DUCHI = Source("duchi-2010-composite", "J. Duchi, S. Shalev-Shwartz, Y. Singer, A. Tewari",
    "Composite Objective Mirror Descent", venue="COLT 2010")  # fmt: skip


@register("composite-mirror-descent", source=LIU, where="Algorithm 1, CSMD", also=(DUCHI,), state_copies=0)
class CompositeMirrorDescent(Method):
    """Composite mirror descent: a mirror step on f, with the other part h of the objective whole.

    ``x_{t+1} = argmin_x h(x) + <g_t, x> + D(x, x_t) / η_t``. D is that of half the squared norm, with h the problem's
    penalty; of half the squared p-norm, with h = λ ‖x‖₁; or of the entropy on the simplex, with
    h = λ Σ x log x.

    Notes
    -----
    The p-norm's step shrinks ``∇ψ(x_t) - η g_t`` towards zero by η λ, and goes back; the entropy's is proportional to
    ``(x_t exp(-η g_t))^{1 / (1 + η λ)}``. The answer is the last iterate. ``rates="linear"`` is the paper's for
    a known number of steps, ``η (T - t + 1) / T^{3/2}``, whose last iterate loses no log T; ``"root"`` is
    ``η / sqrt(t)``; both, from memory of the paper, are held below 1 / (2 L) where L is given.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("composite-mirror-descent", potential="entropy", lr=np.log(2.0))
    >>> p = refopt.from_functions(lambda x: float(x[0]), lambda x: np.array([1.0, 0.0]), x0=np.array([0.5, 0.5]))
    >>> print(refopt.minimize(p, o, steps=1).x.round(6))
    [0.333333 0.666667]
    """

    lr: Rate = hyper(0.01, "[0, inf)", "η, in the units that D gives it.")
    potential: str = hyper(
        "p-norm", ("euclidean", "p-norm", "entropy"), "What D is of; the first asks for ``prox``."
    )
    p: float = hyper(1.5, "(1, 2]", "Of the p-norm, of which half the square is (p - 1)-strongly convex.")
    penalty: float = hyper(0.0, "[0, inf)", "λ of h, for the p-norm and the entropy.")
    rates: str = hyper("constant", ("constant", "root", "linear"), "How η_t falls, beside a schedule.")
    steps: int | None = hyper(None, "int [1, inf)", "T, which the linear rates want.")
    lipschitz: float | None = hyper(None, "(0, inf)", "L of f, for the bound 1 / (2 L) of the falling rates.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rates == "linear" and self.steps is None:
            raise ArgumentError(
                "composite-mirror-descent: steps: wanted the number of steps for rates='linear'"
            )
        if self.penalty and self.potential == "euclidean":
            raise ArgumentError("composite-mirror-descent: penalty: with 'euclidean' h is the problem's own")

    @property
    def needs(self) -> tuple[str, ...]:
        """The gradient, and the proximal step of the problem's penalty where it is used."""
        return (*self.own_needs, "prox") if self.potential == "euclidean" else self.own_needs

    def rate(self, t: int) -> float:
        """Return η_t."""
        eta = super().rate(t)
        if self.rates == "constant":
            return eta
        total = self.steps or 1
        eta *= t**-0.5 if self.rates == "root" else max(total - t + 1, 0) / total**1.5
        return eta if self.lipschitz is None else min(eta, 0.5 / self.lipschitz)

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        x = check_start(x, "x")
        if self.potential == "entropy":
            check_simplex(x, "composite-mirror-descent")
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one composite mirror step."""
        t = s["t"] + 1
        eta, g = self.rate(t), oracle.grad(x)
        if self.potential == "euclidean":
            return oracle.prox(params.axpy(-eta, g, x), eta), {"t": t}
        if self.potential == "entropy":
            return simplex_step(x, g, eta, 1.0 / (1.0 + eta * self.penalty)), {"t": t}
        dual = params.axpy(-eta, g, mapped(x, self.p))
        shrunk = map_leaves(lambda a: _shrunk(a, eta * self.penalty), dual)
        return mapped(shrunk, self.p / (self.p - 1.0)), {"t": t}


def mapped(x: Params, p: float) -> Params:
    """Return the gradient of half the squared p-norm over all leaves; its inverse is that of p / (p - 1)."""
    top = params.max_abs(x)
    if top == 0.0 or p == 2.0:
        return params.copied(x)
    # In units of the largest entry: ||x||_p^{2-p} |x|^{p-1} = top u^{p-1} ||u||_p^{2-p}.
    u = params.scale(1.0 / top, x)
    powers = map_leaves(lambda a: namespace(a).abs(a) ** p, u)
    total = math.fsum(float(namespace(a).sum(a)) for a in params.leaves(powers).values())
    factor = top * total ** (2.0 / p - 1.0)
    return map_leaves(lambda a: factor * namespace(a).sign(a) * namespace(a).abs(a) ** (p - 1.0), u)


def _shrunk(a: Array, by: float) -> Array:
    xp = namespace(a)
    return xp.sign(a) * xp.where(xp.abs(a) > by, xp.abs(a) - by, 0.0 * a)
