"""The stochastic Polyak step size (Loizou et al. 2020)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy
from refopt.core.registry import Source, dialect, register

LOIZOU = Source("loizou-2020-stochastic", "N. Loizou, S. Vaswani, I. Laradji, S. Lacoste-Julien",
    "Stochastic Polyak Step-size for SGD: An Adaptive Learning Rate for Fast Convergence",
    arxiv="2002.10542")  # fmt: skip


@register("sps", source=LOIZOU, where="equations (2) and (3): SPS, and SPS_max with its smoothing", needs=("value", "grad"), calm_problem=("matrix-sensing", {"n": 4, "rank": 1}))  # fmt: skip
class SPS(Method):
    """SPS: SGD whose rate is the gap to the least value of the batch's loss over the squared gradient.

    ``γ_t = (f_i(x_t) - f_i*) / (c ‖∇f_i(x_t)‖²)``, ``x_{t+1} = x_t - min(γ_t, γ_b) ∇f_i(x_t)``. Smoothed, the bound
    is ``γ_b = ν γ_{t-1}``, from γ_0. The norm is over all leaves.

    Notes
    -----
    f_i* is one number for all batches: 0 for losses that interpolation brings to zero. Where f_i is below it, or
    the gradient is zero, the point stays and the last rate is kept; the authors' code keeps a rate of zero after a
    gradient below 1e-8, so that no later step moves, which is a fault and not a dialect.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: 2.0 * float(x @ x), lambda x: 4.0 * x, x0=np.array([1.0, -2.0]))
    >>> print(refopt.minimize(p, "sps", steps=1).x)
    [0. 0.]
    """

    has_rate = False
    c: float = hyper(0.5, "(0, inf)", "c: 1/2 is the least that the convex theory allows.")
    f_star: float = hyper(0.0, "(-inf, inf)", "f_i*, or a lower bound of it.")
    bound: float | None = hyper(None, "(0, inf)", "γ_b of SPS_max. None: no bound.")
    growth: float | None = hyper(None, "[1, inf)",
        "ν of the smoothing, ``2^(b/n)`` in the paper for batches of b of n examples. None: no smoothing.")  # fmt: skip
    first: float = hyper(1.0, "(0, inf)", "γ_0 of the smoothing.")
    eps: float = hyper(0.0, "[0, inf)", "Added to ``c ‖∇f_i‖²``; the paper has none.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: γ_0."""
        params.check_start(x, "x")
        return {"t": 0, "rate": self.first}

    def gap(self, f: float) -> float:
        """Return what is left to f_i*."""
        return max(f - self.f_star, 0.0)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for value and gradient, and make a Polyak step."""
        f, g = oracle.value_and_grad(x)
        size = params.norm(g)
        gap = self.gap(f) if f == f else math.nan
        if size == 0.0 or gap == 0.0:
            return params.copied(x), {"t": s["t"] + 1, "rate": s["rate"]}
        # In two divisions: the square of a small gradient would be zero.
        rate = gap / size / (self.c * size + self.eps / size)
        if self.bound is not None:
            rate = min(rate, self.bound)
        if self.growth is not None:
            rate = min(rate, self.growth * s["rate"])
        return axpy(-rate, g, x), {"t": s["t"] + 1, "rate": rate}


dialect(SPS, "official", "IssamLaradji/sps sps.py, adapt_flag='smooth_iter' with 500 batches an epoch",
    growth=2.0 ** (1 / 500), eps=1e-8)  # fmt: skip


POLYAK = Source("polyak-1987-introduction", "B. T. Polyak", "Introduction to Optimization",
    venue="Optimization Software, New York")  # fmt: skip
GARRIGOS = Source("garrigos-2023-function", "G. Garrigos, R. M. Gower, F. Schaipp",
    "Function Value Learning: Adaptive Learning Rates Based on the Polyak Stepsize and Function Splitting in ERM", arxiv="2307.14528")  # fmt: skip


@register("polyak-sgd", source=POLYAK, where="the step for a known minimum", also=(LOIZOU, GARRIGOS), needs=("value", "grad"),
    calm_problem=("matrix-sensing", {"n": 4, "rank": 1}))  # fmt: skip
class PolyakSGD(SPS):
    """Polyak's step: as long as a linear model of the loss needs to reach its least value.

    ``x_t = x_{t-1} - min((f - f*) / ‖g‖², γ_b) g``, with f and g at x_{t-1}: `sps` with c = 1.

    Notes
    -----
    A loss below f* leaves the point where it is (SPS+), or takes it uphill (optax's default variant).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2.0 * x, x0=np.array([4.0, -2.0]))
    >>> print(refopt.minimize(p, "polyak-sgd", steps=1).x)
    [ 2. -1.]
    """

    c: float = hyper(1.0, "(0, inf)", "Divides the step; Polyak has 1.")
    below: str = hyper("still", ("still", "uphill"), "What a loss below f* does.")

    def gap(self, f: float) -> float:
        """Return what is left to f*."""
        return f - self.f_star if self.below == "uphill" else super().gap(f)


dialect(PolyakSGD, "optax", "optax 0.2.8 polyak_sgd, variant='sps'", bound=1.0, below="uphill")
dialect(PolyakSGD, "optax-plus", "optax 0.2.8 polyak_sgd, variant='sps+'", bound=1.0)
