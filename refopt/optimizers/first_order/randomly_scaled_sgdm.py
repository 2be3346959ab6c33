"""Momentum whose every step is scaled by an exponential random number (Zhang and Cutkosky 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start, map_leaves, zeros_like
from refopt.core.registry import Evidence, Source, register

ZHANG_CUTKOSKY = Source(
    key="zhang-2024-random",
    authors="Q. Zhang, A. Cutkosky",
    year=2024,
    title="Random Scaling and Momentum for Non-smooth Non-convex Optimization",
    arxiv="2405.09742",
)


@register(
    "randomly-scaled-sgdm",
    kind="optimizer",
    source=ZHANG_CUTKOSKY,
    where="Algorithm 2 (Exponentiated O2NC with unconstrained mirror descent)",
    evidence=(
        Evidence(
            "identity",
            "with the random numbers it drew it is momentum in the form M <- b M + (1 - b) g, x <- x - e s M, to 1e-12",
            "tests/identities/test_randomly_scaled_sgdm.py::test_momentum_form",
        ),
        Evidence(
            "identity",
            "the reported average is the weighted sum of all points, to 1e-13",
            "tests/identities/test_randomly_scaled_sgdm.py::test_reported_average",
        ),
        Evidence(
            "claim",
            "E[F(x + s d) - F(x)] = E<grad F(x + s d), d> for s ~ Exp(1), by quadrature to 1e-9; the drawn s are Exp(1)",
            "tests/claims/test_randomly_scaled_sgdm.py::test_exponential_scaling_is_unbiased",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class RandomlyScaledSGDM(Method):
    """Randomly scaled momentum: a momentum step times s, exponentially distributed with mean one.

    ``Δ_{n+1} = β / (1 + η μ) (Δ_n - η g_n)`` with g_n the stochastic gradient at x_n,
    ``x_{n+1} = x_n + s_{n+1} Δ_{n+1}``, ``s ~ Exp(1)``, one number for all parameters, from Δ_1 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta : float, range (0, 1]
        β.
    mu : float, range [0, inf)
        μ, the strength of the quadratic regulariser on Δ.
    random : bool
        False: s = 1, which is momentum.
    schedule : callable, optional

    Notes
    -----
    The paper's guarantee is for ``x̄_n = (1 - β) / (1 - β^n) Σ β^{n-t} x_t`` at a random n; the state
    has it as ``"average"``, of the points where gradients were taken. In the form with
    ``M ← b M + (1 - b) g``, ``x ← x - e s M``: b = β / (1 + η μ), e = β η / (1 + η μ - β).

    References
    ----------
    Q. Zhang, A. Cutkosky 2024, arXiv:2405.09742.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=10.0)
    >>> refopt.minimize(p, "randomly-scaled-sgdm", lr=0.02, steps=1000, seed=0).fun < 1e-6
    True
    """

    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    beta: float = hyper(0.9, "(0, 1]")
    mu: float = hyper(0.0, "[0, inf)")
    random: bool = hyper(True, (True, False))

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        x = check_start(x, "x")
        return {"t": 0, "delta": zeros_like(x), "average": zeros_like(x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient at `x`, draw s, and step."""
        g, t = oracle.grad(x), s["t"] + 1
        eta = self.rate(t)
        shrink = self.beta / (1.0 + eta * self.mu)
        delta = map_leaves(lambda d, a: shrink * (d - eta * a), s["delta"], g)
        share = 1.0 / t if self.beta == 1.0 else (1.0 - self.beta) / (1.0 - self.beta**t)
        average = map_leaves(lambda a, b: a + share * (b - a), s["average"], x)
        scale = float(oracle.rng.exponential()) if self.random else 1.0
        return axpy(scale, delta, x), {"t": t, "delta": delta, "average": average}
