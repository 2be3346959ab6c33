"""AMSGrad and AdamNC (Reddi, Kale and Kumar 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import Rate, check_number, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.projection import box
from refopt.problems.adam_counterexample import REDDI


@dataclass(frozen=True, kw_only=True)
class OnlineAdam(ElementwiseDecay):
    """What the methods with a regret bound share: falling rate and momentum, and a feasible box.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        α.
    beta1 : float, range [0, 1)
    beta1_decay : float, range (0, 1]
        λ in β1t = β1 λ^(t-1).
    rate_root : bool
        The rate is α / sqrt(t).
    lower, upper : float, range [-inf, inf]
        The feasible set F, a box for every coordinate alike.
    """

    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.9, "[0, 1)")
    beta1_decay: float = hyper(1.0, "(0, 1]")
    rate_root: bool = hyper(True, (True, False))
    lower: float = hyper(-math.inf, "[-inf, inf]")
    upper: float = hyper(math.inf, "[-inf, inf]")

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        if self.lower > self.upper:
            raise ArgumentError(
                f"{self.registered_name}: lower: wanted a number up to upper = {self.upper!r}, got {self.lower!r}"
            )

    def fall(self, t: int) -> float:
        """Return the factor of the rate at step `t`: 1 / sqrt(t), or 1."""
        return 1.0 / math.sqrt(t) if self.rate_root else 1.0

    def rate(self, t: int) -> float:
        """Return α_t."""
        return super().rate(t) * self.fall(t)

    def first_weights(self, t: int) -> dict[str, float]:
        """Return β1t and 1 - β1t."""
        beta1 = self.beta1 * self.beta1_decay ** (t - 1)
        return {"beta1": beta1, "k1": 1.0 - beta1}

    def first_correction(self, t: int) -> float:
        """Return one minus the product of β1, β1 λ, …, β1 λ^(t-1)."""
        return 1.0 - self.beta1**t * self.beta1_decay ** (t * (t - 1) / 2)

    def bounds(self, t: int) -> dict[str, float]:
        """Return decay and box of step `t`, the last numbers of every rule here."""
        return {
            "l2": self.coupled(),
            "keep": self.keep(t),
            "low": self.lower,
            "up": self.upper,
            "zero": 0.0,
            "one": 1.0,
        }


@register(
    "amsgrad",
    kind="optimizer",
    source=REDDI,
    where="Algorithm 2",
    dialects={
        "overview": Dialect({"rate_root": False, "eps": 1e-8}, "Ruder's overview, the edition on his pages"),
        "torch": Dialect(
            {"rate_root": False, "eps": 1e-8, "bias_correction": True, "decay": "coupled"},
            "torch 2.13 optim.Adam(amsgrad=True)",
            "the maximum of v is kept, and corrected afterwards; AdamW(amsgrad=True): decay='decoupled'",
        ),
        "optax": Dialect(
            {"rate_root": False, "eps": 1e-8, "bias_correction": True, "maximum_of": "corrected"},
            "optax 0.2.8 amsgrad",
            "the maximum of the corrected v is kept",
        ),
        "keras": Dialect(
            {
                "rate_root": False,
                "eps": 1e-7,
                "bias_correction": True,
                "eps_corrected": False,
                "decay": "decoupled",
            },
            "Keras 3 Adam(amsgrad=True)",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[amsgrad-keras]",
        ),
        Evidence(
            "parity",
            "torch.optim.Adam(amsgrad=True) with low beta2, large eps, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[amsgrad-torch]",
        ),
        Evidence(
            "parity",
            "optax.amsgrad with low beta2 and large eps under a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[amsgrad-optax]",
        ),
        Evidence(
            "parity",
            "optax.amsgrad without bias corrections, which is the overview's rule (the paper's with an eps and a constant rate), 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[amsgrad-overview]",
        ),
        Evidence(
            "identity",
            "equals Algorithm 2 transcribed line by line, with falling beta1 and a box, to 1e-13",
            "tests/identities/test_online.py::test_amsgrad_line_by_line",
        ),
        Evidence(
            "claim",
            "the paper's experiment: after 30000 steps Adam is at 0.994, AMSGrad at -0.867, AdamNC at -0.217 and falling (x* = -1)",
            "tests/claims/test_online.py::test_adam_diverges_and_the_others_converge",
        ),
        Evidence(
            "claim",
            "sqrt(V_t) / α_t never falls, which is what the proof needs; Adam's does",
            "tests/claims/test_online.py::test_gamma_is_never_negative",
        ),
    ),
    state_copies=3,
)
@dataclass(frozen=True, kw_only=True)
class AMSGrad(OnlineAdam):
    """AMSGrad: Adam that divides by the largest average of squares so far.

    ``m_t = β1t m_{t-1} + (1 - β1t) g_t``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²``,
    ``V_t = max(V_{t-1}, v_t)``, ``x_{t+1} = Π(x_t - α_t m_t / sqrt(V_t))``, α_t = α / sqrt(t), from
    m_0 = v_0 = V_0 = 0, without bias correction.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        α.
    beta1, beta2 : float, range [0, 1)
    beta1_decay : float, range (0, 1]
        λ in β1t = β1 λ^(t-1).
    rate_root : bool
        α_t = α / sqrt(t); False: α_t = α.
    bias_correction : bool
        Divide m by 1 - Π β1i, and v or V by 1 - β2^t.
    maximum_of : {"raw", "corrected"}
        Of which v the maximum is taken and kept, where there is a bias correction.
    eps : float, range [0, inf)
        Added to the root; the paper has none (0).
    eps_corrected : bool
        With bias correction: ε beside the corrected root, or beside the raw one (Keras).
    lower, upper : float, range [-inf, inf]
        The feasible set, a box. The projection in the norm weighted by sqrt(V) is a clip.
    weight_decay : float, range [0, inf)
        The paper has none.
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    A coordinate whose gradient has always been zero stays, with ε = 0 too.

    References
    ----------
    S. J. Reddi, S. Kale, S. Kumar 2018, On the Convergence of Adam and Beyond, ICLR,
    arXiv:1904.09237, Algorithm 2.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("amsgrad", lr=1.0, beta1=0.0, beta2=0.75)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x)
    [-2.]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "V")
    beta2: float = hyper(0.999, "[0, 1)")
    bias_correction: bool = hyper(False, (True, False))
    maximum_of: str = hyper("raw", ("raw", "corrected"))
    eps: float = hyper(0.0, "[0, inf)")
    eps_corrected: bool = hyper(True, (True, False))

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        c1 = self.first_correction(t) if self.bias_correction else 1.0
        c2 = correction(self.beta2, t) if self.bias_correction else 1.0
        raw = self.maximum_of == "raw"
        return {
            **self.first_weights(t),
            "beta2": self.beta2,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / c1,
            "before": 1.0 if raw else 1.0 / c2,
            "after": 1.0 / math.sqrt(c2) if raw else 1.0,
            "eps": self.eps if self.eps_corrected else self.eps / math.sqrt(c2),
            **self.bounds(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return Algorithm 2's step."""
        divisor, project = nonzero(xp), box(xp)

        def amsgrad(  # type: ignore[no-untyped-def]
            x, g, m, v, V, beta1, k1, beta2, k2, step, before, after, eps, l2, keep, low, up, zero, one
        ):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            V = xp.maximum(V, before * v)
            new = keep * x - step * m / divisor(xp.sqrt(V) * after + eps, zero, one)
            return project(new, low, up), m, v, V

        return amsgrad


@register(
    "adamnc",
    kind="optimizer",
    source=REDDI,
    where="Algorithm 3, with the β2t of Corollary 2",
    evidence=(
        Evidence(
            "identity",
            "with beta1 = 0 it is AdaGrad, to 1e-13: v_t is the mean and α_t = α / sqrt(t)",
            "tests/identities/test_online.py::test_adamnc_without_momentum_is_adagrad",
        ),
        Evidence(
            "identity",
            "equals Algorithm 3 transcribed line by line, with falling beta1 and a box, to 1e-13",
            "tests/identities/test_online.py::test_adamnc_line_by_line",
        ),
        Evidence(
            "claim",
            "the paper's experiment: after 30000 steps Adam is at 0.994, AMSGrad at -0.867, AdamNC at -0.217 and falling (x* = -1)",
            "tests/claims/test_online.py::test_adam_diverges_and_the_others_converge",
        ),
        Evidence(
            "claim",
            "sqrt(v_t) / α_t never falls; with Adam's constant beta2 it does",
            "tests/claims/test_online.py::test_gamma_is_never_negative",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class AdamNC(OnlineAdam):
    """AdamNC: Adam with an average of squares whose memory grows.

    ``m_t = β1t m_{t-1} + (1 - β1t) g_t``, ``v_t = β2t v_{t-1} + (1 - β2t) g_t²``,
    ``x_{t+1} = Π(x_t - α_t m_t / sqrt(v_t))``, α_t = α / sqrt(t), β2t = 1 - 1/t.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        α.
    beta1 : float, range [0, 1)
    beta1_decay : float, range (0, 1]
        λ in β1t = β1 λ^(t-1).
    beta2 : callable, optional
        β2t as a function of t = 1, 2, …; None: 1 - 1/t, so that v_t is the mean of all squares.
    rate_root : bool
        α_t = α / sqrt(t); False: α_t = α.
    lower, upper : float, range [-inf, inf]
        The feasible set, a box.
    weight_decay : float, range [0, inf)
        The paper has none.
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Raises
    ------
    ArgumentTypeError
        `beta2` is neither None nor a function.
    ArgumentError
        `beta2` returns a number outside [0, 1].

    Notes
    -----
    No maintained implementation is known. A coordinate whose gradient has always been zero stays.

    References
    ----------
    S. J. Reddi, S. Kale, S. Kumar 2018, arXiv:1904.09237, Algorithm 3, Theorem 5, Corollary 2.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamnc", lr=1.0, beta1=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x)
    [-1.]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    beta2: Callable[[int], float] | None = None

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        if self.beta2 is not None and not callable(self.beta2):
            raise ArgumentTypeError(
                f"adamnc: beta2: wanted a function of the step or None, got {self.beta2!r}; for a constant"
                " give lambda t: 0.999"
            )

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        beta2 = 1.0 - 1.0 / t if self.beta2 is None else float(self.beta2(t))
        check_number(beta2, "[0, 1]", f"adamnc: beta2({t})")
        return {
            **self.first_weights(t),
            "beta2": beta2,
            "k2": 1.0 - beta2,
            "step": self.rate(t),
            **self.bounds(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return Algorithm 3's step."""
        divisor, project = nonzero(xp), box(xp)

        def adamnc(x, g, m, v, beta1, k1, beta2, k2, step, l2, keep, low, up, zero, one):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            return project(keep * x - step * m / divisor(xp.sqrt(v), zero, one), low, up), m, v

        return adamnc
