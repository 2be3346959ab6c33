"""Gravity (Bahrami and Zadeh 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core import params, rng
from refopt.core.arrays import Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule, Rule, State
from refopt.core.params import Params
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import ema

BAHRAMI = Source(
    key="bahrami-2021-gravity",
    authors="D. Bahrami, S. P. Zadeh",
    year=2021,
    title="Gravity Optimizer: a Kinematic Approach on Optimization in Deep Learning",
    arxiv="2101.09192",
)


@register(
    "gravity",
    kind="optimizer",
    source=BAHRAMI,
    where="Algorithm 1",
    dialects={
        "official-keras": Dialect(
            {"count_from": 0}, "dariush-bahrami/gravity.optimizer, Keras", "its torch file is as the paper"
        ),
        "kozistr": Dialect({"lr": 0.01}, "pytorch_optimizer 4.1.0 Gravity"),
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' torch Gravity with alpha = 0 under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[gravity-official]",
        ),
        Evidence(
            "parity",
            "the update of the authors' Keras file, over NumPy in place of TensorFlow's operations, with alpha = 0 under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[gravity-official-keras]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.Gravity with alpha = 0 and low beta under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[gravity-kozistr]",
        ),
        Evidence(
            "identity",
            "equals Algorithm 1 from its own V_0, and the Keras count from 0, line by line, to 1e-13",
            "tests/identities/test_natural.py::test_gravity_line_by_line",
        ),
        Evidence(
            "claim",
            "a gradient entry moves x most at abs(g) = 1 / M, and the largest less than that where M > 1",
            "tests/claims/test_natural.py::test_gravity_damps_large_gradients",
        ),
        Evidence(
            "claim",
            "without gradients the first step has the standard deviation (beta + 1) / 3 alpha of V_0's noise",
            "tests/claims/test_natural.py::test_gravity_starts_with_noise",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class Gravity(LeafRule):
    """Gravity: momentum of gradients whose large entries are damped, from a random velocity.

    ``β̂ = (β t + 1) / (t + 2)``, ``M = max abs(g)``, ``ζ = g / (1 + (M g)²)``,
    ``V_t = β̂ V_{t-1} + (1 - β̂) ζ``, ``x_t = x_{t-1} - l V_t``, from V_0 ~ N(0, (α / l)²), for every
    array apart.

    Parameters
    ----------
    lr : float or callable, range (0, inf)
        l.
    alpha : float, range [0, inf)
        α, the standard deviation of the start's noise in units of x; 0: no noise.
    beta : float, range [0, 1]
    count_from : {1, 0}
        The first t (0 in the authors' Keras code).
    seed : int, range [0, inf)
        Of V_0.
    schedule : callable, optional

    Notes
    -----
    V_0 moves parameters whose gradient is zero as well. The standard deviation is fixed at the start,
    by the rate without its schedule.

    References
    ----------
    D. Bahrami, S. P. Zadeh 2021, Gravity Optimizer: a Kinematic Approach on Optimization in Deep
    Learning, arXiv:2101.09192, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("gravity", lr=3.0, alpha=0.0, beta=0.5)
    >>> x, s = o.update(np.zeros(2), np.array([1.0, 0.0]), o.init(np.zeros(2)))
    >>> print(x)
    [-0.75  0.  ]
    """

    slots: ClassVar[tuple[str, ...]] = ("V",)
    lr: Rate = hyper(0.1, "(0, inf)", rate=True)
    alpha: float = hyper(0.01, "[0, inf)")
    beta: float = hyper(0.9, "[0, 1]")
    count_from: int = hyper(1, (1, 0))
    seed: int = hyper(0, "int [0, inf)")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: a random velocity."""
        state = super().init(x)
        lr = float(self.lr(1) if callable(self.lr) else self.lr)
        noise = rng.normal(rng.generator(self.seed, "method"), x)
        return {**state, "V": params.scale(self.alpha / lr, noise)}

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        count = t - 1 + self.count_from
        return {"lr": self.rate(t), "beta": (self.beta * count + 1.0) / (count + 2.0)}

    def rule(self, xp: Namespace) -> Rule:
        """Return Algorithm 1's step."""

        def gravity(x, g, V, lr, beta):  # type: ignore[no-untyped-def]
            pull = g * xp.max(xp.abs(g))
            V = ema(V, g / (1.0 + pull * pull), beta, 1.0 - beta)
            return x - lr * V, V

        return gravity
