"""ADADELTA (Zeiler 2012)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.overview import RUDER

ZEILER = Source(
    key="zeiler-2012-adadelta",
    authors="M. D. Zeiler",
    year=2012,
    title="ADADELTA: An Adaptive Learning Rate Method",
    arxiv="1212.5701",
)


@register(
    "adadelta",
    kind="optimizer",
    source=ZEILER,
    where="Algorithm 1",
    also=(RUDER,),
    dialects={
        "torch": Dialect({"rho": 0.9, "decay": "coupled"}, "torch 2.13 optim.Adadelta"),
        "optax": Dialect(
            {"rho": 0.9, "decay": "coupled"},
            "optax 0.2.8 adadelta",
            "its default rate None ascends; give it 1",
        ),
        "keras": Dialect({"lr": 1e-3, "eps": 1e-7, "decay": "decoupled"}, "Keras 3 Adadelta"),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adadelta-keras]",
        ),
        Evidence(
            "parity",
            "torch.optim.Adadelta with low rho, large eps, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adadelta-torch]",
        ),
        Evidence(
            "parity",
            "optax.adadelta with low rho, large eps and decay under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adadelta-optax]",
        ),
        Evidence(
            "claim",
            "in other units of x (and of each eps) the run is the same run, to 1e-12",
            "tests/claims/test_adaptive.py::test_adadelta_units",
        ),
        Evidence(
            "claim",
            "the first step is sqrt(eps / (1 - rho)) in size whatever the gradient: 4.47e-3 at the defaults",
            "tests/claims/test_adaptive.py::test_first_step_multipliers",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class AdaDelta(ElementwiseDecay):
    """ADADELTA: the gradient in units of x, as the ratio of two root mean squares.

    ``E_t = ρ E_{t-1} + (1 - ρ) g_t²``, ``Δ_t = sqrt(D_{t-1} + ε) / sqrt(E_t + ε) · g_t``,
    ``D_t = ρ D_{t-1} + (1 - ρ) Δ_t²``, ``x_t = x_{t-1} - Δ_t``, from E_0 = D_0 = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        A factor of Δ_t in x alone; the paper has none (1).
    rho : float, range [0, 1)
        ρ.
    eps : float, range [0, inf)
        ε. It sets the size of the first steps; with 0 the method never moves.
    eps_step : float, range [0, inf), optional
        The ε beside D, in units of x², where it shall differ from the ε beside E, in units of g².
    weight_decay : float, range [0, inf)
        The paper has none.
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    References
    ----------
    M. D. Zeiler 2012, ADADELTA: An Adaptive Learning Rate Method, arXiv:1212.5701, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adadelta")
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> print(x.round(5))
    [-0.00447]
    """

    slots: ClassVar[tuple[str, ...]] = ("E", "D")
    lr: Rate = hyper(1.0, "[0, inf)", rate=True)
    rho: float = hyper(0.95, "[0, 1)")
    eps: float = hyper(1e-6, "[0, inf)")
    eps_step: float | None = hyper(None, "[0, inf)")

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {
            "lr": self.rate(t),
            "rho": self.rho,
            "fresh": 1.0 - self.rho,
            "eps": self.eps,
            "eps_step": self.eps if self.eps_step is None else self.eps_step,
            "l2": self.coupled(),
            "keep": self.keep(t),
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return Algorithm 1's step."""
        divisor = nonzero(xp)

        def adadelta(x, g, E, D, lr, rho, fresh, eps, eps_step, l2, keep, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            E = ema(E, g * g, rho, fresh)
            # D of the step before: this step's own size is not known yet.
            delta = xp.sqrt(D + eps_step) / divisor(xp.sqrt(E + eps), zero, one) * g
            D = ema(D, delta * delta, rho, fresh)
            return keep * x - lr * delta, E, D

        return adadelta
