"""SGD with momentum whose steps are scaled at random (Zhang and Cutkosky 2024)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise, Rule, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.core.rng import generator
from refopt.optimizers.common.averages import ema

ZHANG = Source(
    key="zhang-2024-random",
    authors="Q. Zhang, A. Cutkosky",
    year=2024,
    title="Random Scaling and Momentum for Non-smooth Non-convex Optimization",
    arxiv="2405.09742",
)


@register(
    "randomly-scaled-sgdm",
    kind="optimizer",
    source=ZHANG,
    where="Exponentiated O2NC with the mirror descent learner (SGDM with random scaling)",
    dialects={
        "authors": Dialect(
            {"beta": 0.99},
            "ZQZCalin/jaxoptimizers optimizers/o2nc.py, its ogd_mirror_descent",
            "beta of its configuration for GPT-2; the function's own default is 1",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "an author's online_nonconvex(ogd_mirror_descent) handed the same s, under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[randomly-scaled-sgdm-authors]",
        ),
        Evidence(
            "claim",
            "E[F(x + s D) - F(x)] = E<grad F(x + s D), D> for s ~ Exp(1): the drawn s obey it to 5 standard errors",
            "tests/claims/test_random_scaling.py::test_exponential_scaling_identity",
        ),
        Evidence(
            "identity",
            "equals its momentum form M = b M + (1 - b) g, x -= e s M, b = beta / (1 + lr mu), e = beta lr / (1 + lr mu - beta), to 1e-12",
            "tests/identities/test_random_scaling.py::test_momentum_form",
        ),
        Evidence(
            "identity",
            "the averaged point is (1 - beta)/(1 - beta^n) sum beta^(n-t) x_t, to 1e-12",
            "tests/identities/test_random_scaling.py::test_average",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class RandomlyScaledSGDM(Elementwise):
    """SGDM with random scaling: every step is the momentum times one exponential random number.

    ``Δ_{n+1} = β / (1 + η μ) (Δ_n - η g_n)``, ``x_{n+1} = x_n + s_{n+1} Δ_{n+1}`` with s ~ Exp(1) (mean 1),
    one s for all parameters, from Δ_1 = 0; g_n is the gradient at x_n.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta : float, range (0, 1]
        β, the discount.
    mu : float, range [0, inf)
        μ, the strength of the learner's regulariser.
    seed : int or None, range [0, inf)
        Of the numbers s. None: `minimize`'s seed (and 0 in `update`).
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    The point that the guarantee is about is the average ``(1 - β) / (1 - β^n) sum_t β^{n-t} x_t``
    (for β = 1, the mean), kept in the state as ``"average"``. The paper's β was not
    looked up; an author's code has 1 as a default and 0.99 in its configuration; 0.9 is a usual momentum.

    References
    ----------
    Q. Zhang, A. Cutkosky 2024, arXiv:2405.09742.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "randomly-scaled-sgdm", lr=0.01, steps=2000)
    >>> bool(r.history["value"][-1] < r.history["value"][0] / 100)
    True
    """

    slots: ClassVar[tuple[str, ...]] = ("delta", "average")
    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    beta: float = hyper(0.9, "(0, 1]")
    mu: float = hyper(0.0, "[0, inf)")
    seed: int | None = hyper(None, "int [0, inf)")

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at `x` and update, with the run's seed if there is no own."""
        seeded = self if self.seed is not None else dataclasses.replace(self, seed=oracle.seed)
        return seeded.update(x, oracle.grad(x), s)

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`; its s is a function of seed and step."""
        eta = self.rate(t)
        weight = 1.0 / t if self.beta == 1.0 else (1.0 - self.beta) / (1.0 - self.beta**t)
        return {
            "shrink": self.beta / (1.0 + eta * self.mu),
            "eta": eta,
            "s": float(generator(self.seed or 0, "method", t).exponential()),
            "kept": 1.0 - weight,
            "weight": weight,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step; the average takes in the point where the gradient was."""

        def scaled(x, g, delta, average, shrink, eta, s, kept, weight):  # type: ignore[no-untyped-def]
            average = ema(average, x, kept, weight)
            delta = shrink * (delta - eta * g)
            return x + s * delta, delta, average

        return scaled
