"""AdaBound and AMSBound (Luo, Xiong, Liu and Sun 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from refopt.core.arrays import Array, Namespace
from refopt.core.hyper import hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.projection import box
from refopt.optimizers.first_order.amsgrad import OnlineAdam

LUO = Source(
    key="luo-2019-adabound",
    authors="L. Luo, Y. Xiong, Y. Liu, X. Sun",
    year=2019,
    title="Adaptive Gradient Methods with Dynamic Bound of Learning Rate",
    arxiv="1902.09843",
    venue="ICLR",
)
DIALECTS = {
    "official": Dialect(
        {
            "rate_root": False,
            "gamma": 1e-3,
            "eps": 1e-8,
            "bias_correction": True,
            "bounds_follow_rate": True,
            "decay": "coupled",
        },
        "Luolc/AdaBound adabound.py",
        "AdaBoundW is decay='independent', whose decay the schedule then multiplies",
    ),
}


@register(
    "adabound",
    kind="optimizer",
    source=LUO,
    where="the algorithm AdaBound, with the bounds of its experiments",
    dialects=DIALECTS,
    evidence=(
        Evidence(
            "parity",
            "the authors' AdaBound with low beta2, large eps, decay and a schedule, 200 steps on two streams, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[adabound-official]",
        ),
        Evidence(
            "identity",
            "equals the algorithm transcribed line by line with Python floats, to 1e-13",
            "tests/identities/test_online.py::test_adabound_line_by_line",
        ),
        Evidence(
            "claim",
            "with narrow bounds it is SGD: in 50 steps x is moved by final_lr times the average gradient, to 1e-11",
            "tests/claims/test_online.py::test_adabound_ends_as_sgd",
        ),
        Evidence(
            "claim",
            "every rate that is applied lies between the bounds of its step",
            "tests/claims/test_online.py::test_rates_stay_inside_the_bounds",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class AdaBound(OnlineAdam):
    """AdaBound: Adam whose rates are clipped between bounds that meet, so that it ends as SGD.

    ``m_t`` and ``v_t`` as in AMSGrad, ``η̂_t = clip(α / sqrt(v_t), l_t, u_t)``,
    ``x_{t+1} = Π(x_t - η̂_t / sqrt(t) · m_t)`` with ``l_t = α* (1 - 1 / (γ t + 1))`` and
    ``u_t = α* (1 + 1 / (γ t))``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        α, of the adaptive beginning.
    final_lr : float, range [0, inf)
        α*, the rate of the SGD at the end.
    gamma : float, range (0, inf), optional
        γ, how fast the bounds meet; None: 1 - β2, as in the paper's experiments.
    beta1, beta2 : float, range [0, 1)
    beta1_decay : float, range (0, 1]
        λ in β1t = β1 λ^(t-1).
    rate_root : bool
        Divide the clipped rates by sqrt(t).
    bias_correction : bool
        α sqrt(1 - β2^t) / (1 - Π β1i) in α's place, inside the clip (the authors' code).
    eps : float, range [0, inf)
        Added to sqrt(v); the paper has none (0).
    bounds_follow_rate : bool
        A schedule of the rate multiplies α* as well. Otherwise it acts on α alone, inside the clip.
    lower, upper : float, range [-inf, inf]
        The feasible set, a box.
    weight_decay : float, range [0, inf)
        The paper has none.
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}

    Notes
    -----
    The momentum is an average, so that the SGD at the end has the rate α*, not α* / (1 - β1).

    Unverified: the bounds of the experiments, .1 - .1 / ((1 - β2) t + 1) and .1 + .1 / ((1 - β2) t), are
    from memory of the paper; its rule is confirmed by listings of AMSBound elsewhere.

    References
    ----------
    L. Luo, Y. Xiong, Y. Liu, X. Sun 2019, Adaptive Gradient Methods with Dynamic Bound of Learning
    Rate, ICLR, arXiv:1902.09843, the algorithm AdaBound.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adabound", beta1=0.0, gamma=1e9)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-0.5]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    final_lr: float = hyper(0.1, "[0, inf)")
    gamma: float | None = hyper(None, "(0, inf)")
    beta2: float = hyper(0.999, "[0, 1)")
    bias_correction: bool = hyper(False, (True, False))
    eps: float = hyper(0.0, "[0, inf)")
    bounds_follow_rate: bool = hyper(False, (True, False))

    def rate_bounds(self, t: int) -> tuple[float, float]:
        """Return l_t and u_t."""
        final = self.final_lr
        if self.bounds_follow_rate:
            base = float(self.lr(1) if callable(self.lr) else self.lr)
            final = final * self.rate(t) / self.fall(t) / base if base > 0.0 else 0.0
        gamma = 1.0 - self.beta2 if self.gamma is None else self.gamma
        return final * (1.0 - 1.0 / (gamma * t + 1.0)), final * (1.0 + 1.0 / (gamma * t))

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        alpha = self.rate(t) / self.fall(t)
        if self.bias_correction:
            alpha *= math.sqrt(correction(self.beta2, t)) / self.first_correction(t)
        least, most = self.rate_bounds(t)
        return {
            **self.first_weights(t),
            "beta2": self.beta2,
            "k2": 1.0 - self.beta2,
            "alpha": alpha,
            "eps": self.eps,
            "least": least,
            "most": most,
            "fall": self.fall(t),
            **self.bounds(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step."""
        divisor, clip = nonzero(xp), box(xp)

        def rates(
            second: Array, alpha: float, eps: float, least: float, most: float, zero: float, one: float
        ) -> Array:
            return clip(alpha / divisor(xp.sqrt(second) + eps, zero, one), least, most)

        def adabound(  # type: ignore[no-untyped-def]
            x, g, m, v, beta1, k1, beta2, k2, alpha, eps, least, most, fall, l2, keep, low, up, zero, one
        ):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            eta = rates(v, alpha, eps, least, most, zero, one)
            return clip(keep * x - fall * eta * m, low, up), m, v

        def amsbound(  # type: ignore[no-untyped-def]
            x, g, m, v, V, beta1, k1, beta2, k2, alpha, eps, least, most, fall, l2, keep, low, up, zero, one
        ):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            V = xp.maximum(V, v)
            eta = rates(V, alpha, eps, least, most, zero, one)
            return clip(keep * x - fall * eta * m, low, up), m, v, V

        return amsbound if "V" in self.slots else adabound


@register(
    "amsbound",
    kind="optimizer",
    source=LUO,
    where="the algorithm AMSBound, with the bounds of its experiments",
    dialects=DIALECTS,
    evidence=(
        Evidence(
            "parity",
            "the authors' AdaBound(amsbound=True) with low beta2, large eps, decay and a schedule, 200 steps, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[amsbound-official]",
        ),
        Evidence(
            "identity",
            "equals the algorithm transcribed line by line with Python floats, to 1e-13",
            "tests/identities/test_online.py::test_adabound_line_by_line",
        ),
        Evidence(
            "identity",
            "is AdaBound, bit for bit, while the average of squares grows, and parts from it when that falls",
            "tests/identities/test_online.py::test_amsbound_is_adabound_while_v_grows",
        ),
        Evidence(
            "claim",
            "with narrow bounds it is SGD: in 50 steps x is moved by final_lr times the average gradient, to 1e-11",
            "tests/claims/test_online.py::test_adabound_ends_as_sgd",
        ),
    ),
    state_copies=3,
)
@dataclass(frozen=True, kw_only=True)
class AMSBound(AdaBound):
    """AMSBound: AdaBound on AMSGrad's largest average of squares.

    ``V_t = max(V_{t-1}, v_t)``, ``η̂_t = clip(α / sqrt(V_t), l_t, u_t)``,
    ``x_{t+1} = Π(x_t - η̂_t / sqrt(t) · m_t)``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
    final_lr : float, range [0, inf)
    gamma : float, range (0, inf), optional
    beta1, beta2 : float, range [0, 1)
    beta1_decay : float, range (0, 1]
    rate_root, bias_correction : bool
    eps : float, range [0, inf)
    bounds_follow_rate : bool
    lower, upper : float, range [-inf, inf]
    weight_decay : float, range [0, inf)
    decay : {"coupled", "decoupled", "independent"}
    schedule : callable, optional
    engine : {"array", "numba", "cupy"}
        All as in `AdaBound`.

    Notes
    -----
    The maximum is of v without bias correction; the authors' code corrects afterwards, so that its
    unclipped rates may grow although V does not fall.

    References
    ----------
    L. Luo, Y. Xiong, Y. Liu, X. Sun 2019, arXiv:1902.09843, the algorithm AMSBound.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("amsbound", beta1=0.0, gamma=1e9)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-0.5]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "V")
