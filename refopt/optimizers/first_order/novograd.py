"""NovoGrad (Ginsburg et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero

GINSBURG = Source(
    key="ginsburg-2019-novograd",
    authors="B. Ginsburg et al.",
    year=2019,
    title="Stochastic Gradient Methods with Layer-wise Adaptive Moments for Training of Deep Networks",
    arxiv="1905.11286",
)


@register(
    "novograd",
    kind="optimizer",
    source=GINSBURG,
    where="Algorithm 1",
    dialects={
        "jasper": Dialect(
            {"beta2": 0.0, "lr": 1e-3, "eps_first": True, "restart": True},
            "NVIDIA/DeepLearningExamples Jasper optimizers.py",
            "v is set anew whenever it is zero",
        ),
        "timm": Dialect({"lr": 1e-3, "eps_first": True, "restart": True}, "timm nvnovograd"),
        "optax": Dialect(
            {"beta1": 0.9, "beta2": 0.25, "eps": 1e-6, "eps_first": True}, "optax 0.2.8 novograd"
        ),
        "kozistr": Dialect(
            {"lr": 1e-3, "eps_first": True, "average_first": False}, "pytorch_optimizer 4.1.0 NovoGrad"
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "timm's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[novograd-timm]",
        ),
        Evidence(
            "parity",
            "optax.novograd with large eps, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[novograd-optax]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.NovoGrad with averaged gradients, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[novograd-kozistr]",
        ),
        Evidence(
            "parity",
            "the authors' Jasper code with averaged gradients, large eps, decay and a schedule, 200 steps on two streams and on one where a leaf has no gradient at first, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[novograd-jasper]",
        ),
        Evidence(
            "identity",
            "equals the algorithm and Jasper's form, transcribed line by line, to 1e-13",
            "tests/identities/test_scaled.py::test_novograd_line_by_line",
        ),
        Evidence(
            "claim",
            "with eps = 0 the run is the same, bit for bit, when all gradients are multiplied by 2^k",
            "tests/claims/test_scaled.py::test_novograd_does_not_see_the_scale",
        ),
        Evidence(
            "claim",
            "without averages a step has the length lr, to 1e-14",
            "tests/claims/test_scaled.py::test_novograd_step_length",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class NovoGrad(Decay):
    """NovoGrad: momentum of gradients divided by an average of their whole layer's norm.

    ``v_t = β2 v_{t-1} + (1 - β2) ‖g_t‖²``, ``m_t = β1 m_{t-1} + (g_t / (sqrt(v_t) + ε) + d x_{t-1})``,
    ``x_t = x_{t-1} - η m_t``, from v_1 = ‖g_1‖² and m_1 = g_1 / ‖g_1‖ + d x_0, for every array apart.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η, in units of a norm of x: a step has about this length divided by 1 - β1.
    beta1, beta2 : float, range [0, 1)
    eps : float, range [0, inf)
        ε.
    eps_first : bool
        ε stands in the first step too (the libraries).
    restart : bool
        v is ‖g‖² again after it was zero (the authors' code takes that for the first step).
    grad_averaging : bool
        m takes 1 - β1 of the new term.
    average_first : bool
        With `grad_averaging`: in the first step too.
    weight_decay : float, range [0, inf)
        d.
    decay : {"coupled", "decoupled", "independent"}
        ``coupled``: inside m, beside the divided gradient, as above; the others: apart from m.
    schedule : callable, optional

    Notes
    -----
    An array whose gradient is all zero has g / ‖g‖ = 0.

    References
    ----------
    B. Ginsburg et al. 2019, Stochastic Gradient Methods with Layer-wise Adaptive Moments for Training
    of Deep Networks, arXiv:1905.11286, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("novograd", lr=1.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, 4.0]), o.init(np.zeros(2)))
    >>> print(x)
    [-0.6 -0.8]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    beta1: float = hyper(0.95, "[0, 1)")
    beta2: float = hyper(0.98, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    eps_first: bool = hyper(False, (True, False))
    restart: bool = hyper(False, (True, False))
    grad_averaging: bool = hyper(False, (True, False))
    average_first: bool = hyper(True, (True, False))
    decay: str = hyper("coupled", ("coupled", "decoupled", "independent"))

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: like the leaf, and one number of as many dimensions for its norm."""
        xp = namespace(leaf)
        return xp.zeros_like(leaf) if slot == "m" else xp.sum(xp.zeros_like(leaf), keepdims=True)

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        averaged = self.grad_averaging and (self.average_first or t > 1)
        return {
            "lr": self.rate(t),
            "beta1": self.beta1,
            "gain": 1.0 - self.beta1 if averaged else 1.0,
            "beta2": self.beta2 if t > 1 else 0.0,
            "eps": self.eps if self.eps_first or t > 1 else 0.0,
            "d": self.coupled(),
            "keep": self.keep(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step of one array."""
        divisor = nonzero(xp)

        def novograd(x, g, m, v, lr, beta1, gain, beta2, eps, d, keep):  # type: ignore[no-untyped-def]
            square = xp.sum(g * g, keepdims=True)
            average = ema(v, square, beta2, 1.0 - beta2)
            v = xp.where(v == 0.0, square, average) if self.restart else average
            m = beta1 * m + gain * (g / divisor(xp.sqrt(v) + eps, 0.0, 1.0) + d * x)
            return keep * x - lr * m, m, v

        return novograd
