"""Lion: the sign of interpolated momentum, a rule found by program search (Chen et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import ElementwiseDecay

CHEN = Source(
    key="chen-2023-symbolic",
    authors="X. Chen, C. Liang, D. Huang, E. Real, K. Wang, et al.",
    year=2023,
    title="Symbolic Discovery of Optimization Algorithms",
    arxiv="2302.06675",
)


@register(
    "lion",
    kind="optimizer",
    source=CHEN,
    where="the discovered algorithm, Lion",
    dialects={
        "official": Dialect({}, "google/automl lion/lion_pytorch.py", "its optax and TensorFlow files alike"),
        "optax": Dialect({"weight_decay": 1e-3}, "optax 0.2.8 lion"),
        "kozistr": Dialect({}, "pytorch_optimizer 4.1 Lion"),
        "keras": Dialect({"lr": 1e-3}, "Keras 3 Lion"),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lion-keras]",
        ),
        Evidence(
            "parity",
            "optax.lion with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lion-optax]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.Lion with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lion-kozistr]",
        ),
        Evidence(
            "parity",
            "the authors' torch code with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[lion-official]",
        ),
        Evidence(
            "identity",
            "equals the algorithm transcribed line by line with Python floats, to 1e-14",
            "tests/identities/test_lion.py::test_algorithm",
        ),
        Evidence(
            "claim",
            "with decay, |x_i| stays below max(|x_i at the start|, 1 / lambda), and is driven to 1 / lambda",
            "tests/claims/test_lion.py::test_decay_bounds_the_parameters",
        ),
    ),
    state_copies=1,
)
@dataclass(frozen=True, kw_only=True)
class Lion(ElementwiseDecay):
    """Lion: a step of equal size in every coordinate, against the sign of interpolated momentum.

    ``x_t = x_{t-1} - η (sign(β1 m_{t-1} + (1 - β1) g_t) + λ x_{t-1})``,
    ``m_t = β2 m_{t-1} + (1 - β2) g_t``, from m_0 = 0, with sign(0) = 0.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η, in the units of x: every coordinate moves by it. The paper advises 3 to 10 times less than
        for AdamW, and as much more decay.
    beta1 : float, range [0, 1)
        Weight of the momentum in the direction.
    beta2 : float, range [0, 1)
        Weight of the momentum in its own average.
    weight_decay : float, range [0, inf)
        λ.
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    References
    ----------
    X. Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, arXiv:2302.06675.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("lion", lr=0.1)
    >>> x = np.array([1.0, -2.0])
    >>> x, s = o.update(x, np.array([30.0, -0.5]), o.init(x))
    >>> print(x)
    [ 0.9 -1.9]
    """

    slots: ClassVar[tuple[str, ...]] = ("m",)
    lr: Rate = hyper(1e-4, "[0, inf)", rate=True)
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.99, "[0, 1)")

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        return {
            "lr": self.rate(t),
            "beta1": self.beta1,
            "k1": 1.0 - self.beta1,
            "beta2": self.beta2,
            "k2": 1.0 - self.beta2,
            "l2": self.coupled(),
            "keep": self.keep(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step: the sign sees the old momentum."""

        def lion(x, g, m, lr, beta1, k1, beta2, k2, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            x = keep * x - lr * xp.sign(ema(m, g, beta1, k1))
            return x, ema(m, g, beta2, k2)

        return lion
