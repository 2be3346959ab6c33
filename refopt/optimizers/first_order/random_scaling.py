"""SGD with momentum whose steps are scaled at random (Zhang and Cutkosky 2024)."""

from __future__ import annotations

import dataclasses

from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import generator
from refopt.optimizers.common.averages import ema

ZHANG = Source("zhang-2024-random", "Q. Zhang, A. Cutkosky",
    "Random Scaling and Momentum for Non-smooth Non-convex Optimization", arxiv="2405.09742")  # fmt: skip


@register(
    "randomly-scaled-sgdm",
    source=ZHANG,
    where="Exponentiated O2NC with the mirror descent learner (SGDM with random scaling)",
    state_copies=2,
)
class RandomlyScaledSGDM(Elementwise):
    """SGDM with random scaling: every step is the momentum times one exponential random number.

    ``Δ_{n+1} = β / (1 + η μ) (Δ_n - η g_n)``, ``x_{n+1} = x_n + s_{n+1} Δ_{n+1}`` with s ~ Exp(1) (mean 1),
    one s for all parameters, from Δ_1 = 0; g_n is the gradient at x_n.

    Notes
    -----
    The point that the guarantee is about is the average ``(1 - β) / (1 - β^n) sum_t β^{n-t} x_t``
    (for β = 1, the mean), kept in the state as ``"average"``. The paper's β was not
    looked up; an author's code has 1 as a default and 0.99 in its configuration; 0.9 is a usual momentum.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "randomly-scaled-sgdm", lr=0.01, steps=2000)
    >>> bool(r.history["value"][-1] < r.history["value"][0] / 100)
    True
    """

    slots = ("delta", "average")
    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    beta: float = hyper(0.9, "(0, 1]", "β, the discount.")
    mu: float = hyper(0.0, "[0, inf)", "μ, the strength of the learner's regulariser.")
    seed: int | None = hyper(
        None,
        "int [0, 18446744073709551615]",
        "Of the numbers s. None: `minimize`'s seed (and 0 in `update`).",
    )

    def rule(self, xp):
        def scaled(x, g, delta, average, shrink, eta, s, kept, weight):
            average = ema(average, x, kept, weight)
            delta = shrink * (delta - eta * g)
            return x + s * delta, delta, average

        return scaled

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at `x` and update, with the run's seed if there is no own."""
        seeded = self if self.seed is not None else dataclasses.replace(self, seed=oracle.seed)
        return seeded.update(x, oracle.grad(x), s)

    def scalars(self, t, carried):
        eta = self.rate(t)
        weight = 1.0 / t if self.beta == 1.0 else (1.0 - self.beta) / (1.0 - self.beta**t)
        return {
            "shrink": self.beta / (1.0 + eta * self.mu),
            "eta": eta,
            "s": float(generator(self.seed or 0, "method", t).exponential()),
            "kept": 1.0 - weight,
            "weight": weight,
        }


dialect(RandomlyScaledSGDM, "authors", "ZQZCalin/jaxoptimizers optimizers/o2nc.py, its ogd_mirror_descent",
    "beta of its configuration for GPT-2; the function's own default is 1", beta=0.99)  # fmt: skip
