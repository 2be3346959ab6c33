"""MADGRAD (Defazio and Jelassi 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

DEFAZIO = Source(
    key="defazio-2021-madgrad",
    authors="A. Defazio, S. Jelassi",
    year=2021,
    title="Adaptivity without Compromise: A Momentumized, Adaptive, Dual Averaged Gradient Method for"
    " Stochastic Optimization",
    arxiv="2101.11075",
)


@register(
    "madgrad",
    kind="optimizer",
    source=DEFAZIO,
    where="Algorithm 1",
    dialects={
        "official": Dialect(
            {"rate_plus_eps": True, "start_moves": True, "decay": "coupled"},
            "facebookresearch/madgrad madgrad.py",
            "decouple_decay=True is decay='decoupled'; pytorch_optimizer 4.1.0 alike, with lr 1e-3",
        ),
        "timm": Dialect(
            {"rate_plus_eps": True, "decay_first": True, "start_moves": True, "decay": "decoupled"},
            "timm madgrad with decoupled_decay",
        ),
        "optax": Dialect({"rate_plus_eps": True, "decay": "coupled"}, "optax 0.2.8 contrib.madgrad"),
    },
    evidence=(
        Evidence(
            "parity",
            "timm's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[madgrad-timm]",
        ),
        Evidence(
            "parity",
            "timm's MADGRAD without momentum, with decoupled decay, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[madgrad-timm-plain]",
        ),
        Evidence(
            "parity",
            "the authors' MADGRAD with coupled decay under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[madgrad-official]",
        ),
        Evidence(
            "parity",
            "the authors' MADGRAD without momentum, with decoupled decay, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[madgrad-official-decoupled]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.MADGRAD with momentum and decoupled decay, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[madgrad-kozistr]",
        ),
        Evidence(
            "parity",
            "optax.contrib.madgrad with an int64 step count, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[madgrad-optax]",
        ),
        Evidence(
            "identity",
            "equals Algorithm 1 transcribed line by line with Python floats, to 1e-13",
            "tests/identities/test_scaled.py::test_madgrad_line_by_line",
        ),
        Evidence(
            "claim",
            "the first step is lr^(2/3) |g|^(1/3) in size, to 2e-15: not invariant to the gradient's scale",
            "tests/claims/test_scaled.py::test_madgrad_first_step",
        ),
    ),
    state_copies=3,
)
@dataclass(frozen=True, kw_only=True)
class MADGRAD(ElementwiseDecay):
    """MADGRAD: dual averaging divided by the cube root of the squares' sum, with momentum of iterates.

    For k = 0, 1, …: ``λ_k = γ_k sqrt(k + 1)``, ``s ← s + λ_k g_k``, ``ν ← ν + λ_k g_k²``,
    ``z = x_0 - s / (∛ν + ε)``, ``x ← (1 - c) x + c z``, from s = ν = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        γ.
    momentum : float, range [0, 1)
        1 - c.
    eps : float, range [0, inf)
        ε.
    rate_plus_eps : bool
        γ + ε in γ's place, unless the rate is zero (the authors' code).
    weight_decay : float, range [0, inf)
    decay : {"coupled", "decoupled", "independent"}
        ``coupled``: g + λ x in both sums. ``decoupled``: γ λ x is taken from the new point.
    decay_first : bool
        Decay apart from the gradient shrinks x before the average with z, not after it (timm).
    start_moves : bool
        Without momentum, decay apart from the gradient moves x_0 too: the authors' code and timm's then
        recover x_0 from x.
    schedule : callable, optional
        Of γ_k.
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    With ε = 0 a coordinate whose gradient has always been zero stays.

    References
    ----------
    A. Defazio, S. Jelassi 2021, Adaptivity without Compromise, arXiv:2101.11075, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("madgrad", lr=1.0, momentum=0.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([27.0]), o.init(np.array([0.0])))
    >>> print(x.round(12))
    [-3.]
    """

    slots: ClassVar[tuple[str, ...]] = ("s", "nu", "x0")
    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    momentum: float = hyper(0.9, "[0, 1)")
    eps: float = hyper(1e-6, "[0, inf)")
    rate_plus_eps: bool = hyper(False, (True, False))
    decay_first: bool = hyper(False, (True, False))
    start_moves: bool = hyper(False, (True, False))

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, or the start itself."""
        xp = namespace(leaf)
        return xp.asarray(leaf, copy=True) if slot == "x0" else xp.zeros_like(leaf)

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t` = k + 1."""
        gamma = self.rate(t)
        if self.rate_plus_eps and gamma > 0.0:
            gamma += self.eps
        lost = 1.0 - self.keep(t)
        if self.decay == "decoupled" and not self.decay_first:
            lost = gamma * self.weight_decay
        moves = self.start_moves and self.momentum == 0.0
        # Where x_0 moves, it takes the decay with it into z: before or after is then the same.
        shrinks = self.decay_first and not moves
        return {
            "weight": gamma * math.sqrt(t),
            "third": 1.0 / 3.0,
            "eps": self.eps,
            "c": 1.0 - self.momentum,
            "left": self.momentum * (1.0 - lost) if shrinks else self.momentum - lost,
            "drift": lost if moves else 0.0,
            "l2": self.coupled(),
            "zero": 0.0,
            "one": 1.0,
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return Algorithm 1's step."""
        divisor = nonzero(xp)

        def madgrad(x, g, s, nu, x0, weight, third, eps, c, left, drift, l2, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            s = s + weight * g
            nu = nu + weight * (g * g)
            z = x0 - s / divisor(nu**third + eps, zero, one)
            return left * x + c * z, s, nu, x0 - drift * x

        return madgrad
