"""XGrad: the gradient at a predicted point, for any step made of momentum (Guan et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentTypeError
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, map_leaves
from refopt.core.registry import Evidence, Source, register
from refopt.optimizers.common.averages import correction
from refopt.optimizers.first_order.adam import Adam, AdamFamily
from refopt.optimizers.first_order.gradient_descent import Momentum
from refopt.wrappers.base import Wrapper

GUAN = Source(
    key="guan-2023-xgrad",
    authors="L. Guan, D. Li, Y. Shi, J. Meng",
    year=2023,
    title="XGrad: Boosting Gradient-Based Optimizers With Weight Prediction",
    arxiv="2305.18240",
)


def predicted_step(base: Momentum | Adam, s: State, t: int) -> Params:
    """Return the step that the base's old averages alone would make at step `t`, decay left out."""
    if isinstance(base, Momentum):
        return params.scale(1.0 if base.rate_inside else base.rate(t), s["v"])
    step, c2 = base.rate(t) / correction(base.beta1, s["t"]), correction(base.beta2, s["t"])
    beside = base.eps if base.eps_corrected else base.eps / c2**0.5

    def direction(m: Array, v: Array) -> Array:
        xp = namespace(m)
        below = xp.sqrt(v / c2 + base.eps_root) + beside
        return step * m / xp.where(below > 0.0, below, xp.ones_like(below))

    return map_leaves(direction, s["m"], s["v"])


@register(
    "xgrad",
    kind="wrapper",
    source=GUAN,
    where="Algorithm 1",
    evidence=(
        Evidence(
            "identity",
            "prediction over s = momentum steps is Nesterov's look-ahead gradient, bit for bit; over one step it is not",
            "tests/identities/test_xgrad.py::test_momentum_steps_are_nesterov",
        ),
        Evidence(
            "identity",
            "s = 0 is the base, bit for bit",
            "tests/identities/test_xgrad.py::test_no_prediction_is_the_base",
        ),
        Evidence(
            "identity",
            "around AdamW it equals the authors' procedure transcribed with Python floats, to 1e-13",
            "tests/identities/test_xgrad.py::test_adamw_by_hand",
        ),
        Evidence(
            "claim",
            "on a quadratic with momentum the error contracts by the spectral radius of its 2 x 2 iteration matrix",
            "tests/claims/test_xgrad.py::test_rate_on_a_quadratic",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class XGrad(Wrapper):
    """XGrad: the base steps from x with the gradient at the point where its averages lead.

    ``x̂ = x_{t-1} - s Δ``, with Δ the step that the base's averages of step t-1 alone would make;
    ``g = ∇f(x̂)``, and the base steps from x_{t-1} with g. For momentum Δ = η v_{t-1}; for Adam and
    AdamW ``Δ = η m̂_{t-1} / (sqrt(v̂_{t-1}) + ε)``. Before the first step there is no prediction.

    Parameters
    ----------
    base : Method or str
        ``momentum``, ``adam`` or a method derived from these (``sgdw``, ``adamw``); a name takes
        further hyperparameters (``lr=...``).
    steps : float, range [0, inf)
        s.
    schedule : callable, optional
        Not used by XGrad; give it to the base.

    Raises
    ------
    ArgumentTypeError
        A base of another kind.

    Notes
    -----
    Weight decay is no part of the prediction; a coupled decay uses x, not x̂. The paper has further
    bases (AdaBelief, AdaM3, RMSprop), which are not here.

    References
    ----------
    L. Guan, D. Li, Y. Shi, J. Meng 2023, arXiv:2305.18240.

    Examples
    --------
    >>> import refopt
    >>> o = refopt.optimizer("xgrad", base="adam", lr=0.1, steps=1.0)
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), o, steps=100)
    >>> dict(r.calls)
    {'grad': 100}
    """

    base: Any = hyper("momentum")
    steps: float = hyper(1.0, "[0, inf)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.base, (Momentum, Adam)):
            kind = (
                "an Adam without m and v"
                if isinstance(self.base, AdamFamily)
                else type(self.base).__qualname__
            )
            raise ArgumentTypeError(
                f"xgrad: base: wanted momentum, adam or one derived from these, got {kind}"
            )

    def prediction(self, x: Params, s: State) -> Params:
        """Return x̂ for the next step from `x`, `s` being the base's state."""
        if s["t"] == 0 or self.steps == 0.0:
            return x
        return params.axpy(-self.steps, predicted_step(self.base, s, s["t"] + 1), x)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the gradient at the predicted point."""

        def ahead(oracle: Oracle, w: Params) -> Params:
            return oracle.grad(self.prediction(w, s["base"]))

        x, base = self.base.step(x, s["base"], GradientsAt(oracle, ahead))
        return x, {"t": s["t"] + 1, "base": base}
