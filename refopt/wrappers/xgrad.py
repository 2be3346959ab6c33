"""XGrad: gradients at predicted weights (Guan et al. 2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.errors import CapabilityError
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, map_leaves
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import correction
from refopt.optimizers.first_order.adam import Adam
from refopt.optimizers.first_order.adamw import SGDW, AdamW
from refopt.optimizers.first_order.gradient_descent import Momentum
from refopt.wrappers.base import Wrapper

GUAN = Source("guan-2023-xgrad", "L. Guan, D. Li, Y. Shi, J. Meng",
    "XGrad: Boosting Gradient-Based Optimizers With Weight Prediction", arxiv="2305.18240")  # fmt: skip

# Exactly these: a relative of theirs has another direction.
BASES: tuple[type[Method], ...] = (Momentum, SGDW, Adam, AdamW)


def displacement(base: Method, x: Params, s: State) -> Params:
    """Return the step that `base` would make along its old state: rate times direction, no decay.

    Raises
    ------
    CapabilityError
        The base is none of `BASES`.
    """
    if type(base) not in BASES:
        raise CapabilityError(
            f"xgrad: no weight prediction is defined for {base.registered_name or type(base).__qualname__}; it is"
            f" for {', '.join(b.registered_name for b in BASES)}"
        )
    if isinstance(base, Momentum):
        return s["v"] if base.rate_inside else params.scale(base.rate(s["t"] + 1), s["v"])
    assert isinstance(base, Adam)
    t = s["t"]
    if t == 0:
        return params.zeros_like(x)
    c1, c2 = correction(base.beta1, t), correction(base.beta2, t)
    eps = base.eps if base.eps_corrected else base.eps / c2**0.5
    lr = base.rate(t + 1)

    def step(m, v):
        xp = namespace(m)
        size = xp.sqrt(v / c2 + base.eps_root) + eps
        return lr * (m / c1) / xp.where(size > 0, size, xp.ones_like(size))

    return map_leaves(step, s["m"], s["v"])


@register("xgrad", source=GUAN, where="Algorithm 1 and Table 1 (SGDM, Adam, AdamW)")
class XGrad(Wrapper):
    """XGrad: the base steps from x with the gradient at the weights predicted s steps ahead.

    ``x̂ = x - η s Δ``, with Δ the base's update direction from its old state (the velocity, or
    ``m̂ / (sqrt(v̂) + ε)``); then an ordinary step of the base at x with ``g = ∇f(x̂)``.

    Raises
    ------
    CapabilityError
        Another base.

    Notes
    -----
    Decay is never part of the prediction. The authors' SGDM holds gradients alone in its velocity
    and damps the first one too: ``momentum`` with ``dialect="torch", full_first=False``. Their Adam takes
    a weight decay and ignores it, a fault that is not reproduced.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", condition_number=10.0)
    >>> refopt.minimize(p, "xgrad", base="momentum", lr=0.1, steps_ahead=2, steps=300).fun < 1e-8
    True
    """

    base: Method | str = hyper("momentum",
        words="``momentum``, ``sgdw``, ``adam`` or ``adamw``; a name takes further hyperparameters.")  # fmt: skip
    steps_ahead: float = hyper(
        1.0, "[0, inf)", "s. The paper tries small whole numbers and gives no default; here 1."
    )
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def predicted(self, x: Params, s: State) -> Params:
        """Return x̂ from the base's state `s`; at the first step there is none, and x̂ = x."""
        if self.steps_ahead == 0.0 or s["t"] == 0:
            return x
        return params.axpy(-self.steps_ahead, displacement(self.base, x, s), x)  # type: ignore[arg-type]

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with the gradient at the predicted weights."""
        ahead = self.predicted(x, s["base"])
        x, base = self.base.step(x, s["base"], GradientsAt(oracle, lambda o, _: o.grad(ahead)))  # type: ignore[union-attr]
        return x, {"t": s["t"] + 1, "base": base}
