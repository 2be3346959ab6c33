"""Adai: adaptive inertia (Xie et al. 2020)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start, leaves, map_leaves
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema

XIE = Source("xie-2020-adaptive", "Z. Xie, X. Wang, H. Zhang, I. Sato, M. Sugiyama",
    "Adaptive Inertia: Disentangling the Effects of Adaptive Learning Rate and Momentum", arxiv="2006.15815")  # fmt: skip


@register("adai", source=XIE, where="Adai; AdaiS and the second form from the authors' codes", state_copies=3)
class Adai(GradientMethod):
    """Adai: one rate for all coordinates, and a momentum for each, the less the larger its gradients are.

    ``v_t = β2 v_{t-1} + (1 - β2) g_t²``, ``v̂_t = v_t / (1 - β2^t)``, v̄_t the mean of v̂_t over all parameters,
    ``β_t = clip(1 - β0 v̂_t / v̄_t, 0, 1 - ε)``, ``m_t = β_t m_{t-1} + (1 - β_t) g_t``, ``x_t = x_{t-1} - η m_t / (1 - Π_{s≤t} β_s)``.

    Notes
    -----
    While all gradients have been zero nothing moves; the authors' code gives NaN then. Its second form has
    ``(v̂ / v̄)^{1 / (3 - 2δ)}``, ``(1 - β_t)^δ g_t`` and ``β0^{1-δ}`` times the step; δ = 1 is the first.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adai", lr=1.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, -3.0]), o.init(np.zeros(2)))
    >>> print(x.round(6), s["product"])  # equal squares: β = 1 - β0 in both
    [-3.  3.] [0.9 0.9]
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta0: float = hyper(0.1, "[0, inf)", "β0: where squares are average, the momentum is 1 - β0.")
    beta2: float = hyper(0.99, "[0, 1)", "β2.")
    eps: float = hyper(1e-3, "(0, 1]", "ε, without a unit: no momentum is above 1 - ε.")
    delta: float = hyper(1.0, "[0, 1]", "δ of the second form.")
    least_mean: float = hyper(
        0.0, "[0, inf)", "v̄ counts as at least this, in the units of g² (pytorch_optimizer)."
    )
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")
    decay: str = hyper(
        "coupled",
        ("coupled", "decoupled"),
        "g + λ x in the gradient's place, or x times 1 - η λ before the step (AdaiS).",
    )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: zeros, and ones for the product of momenta."""
        zero = params.zeros_like(check_start(x, "x"))
        return {"t": 0, "m": zero, "v": zero, "product": params.full_like(zero, 1.0)}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("m", "v", "product")

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step."""
        t = s["t"] + 1
        keep = 1.0
        if self.decay == "coupled":
            g = params.axpy(self.weight_decay, x, g)
        else:
            keep -= self.rate(t) * self.weight_decay
        v = map_leaves(lambda a, b: ema(a, b * b, self.beta2, 1.0 - self.beta2), s["v"], g)
        mean = (
            math.fsum(float(namespace(a).sum(a)) for a in leaves(v).values())
            / params.size(v)
            / correction(self.beta2, t)
        )
        mean = max(mean, self.least_mean)
        share = 1.0 / (correction(self.beta2, t) * mean) if mean > 0.0 else 0.0
        power, eta = 1.0 / (3.0 - 2.0 * self.delta), self.rate(t) * self.beta0 ** (1.0 - self.delta)

        def momentum(v: Array) -> Array:
            return namespace(v).clip(1.0 - self.beta0 * (share * v) ** power, min=0.0, max=1.0 - self.eps)

        beta = map_leaves(momentum, v)
        m = map_leaves(lambda a, b, c: b * a + (1.0 - b) ** self.delta * c, s["m"], beta, g)
        product = map_leaves(lambda a, b: a * b, s["product"], beta)
        new = map_leaves(lambda a, b, c: keep * a - eta * b / (1.0 - c), x, m, product)
        return new, {"t": t, "m": m, "v": v, "product": product}


dialect(
    Adai,
    "official",
    "zeke-xie/adaptive-inertia-adai adai.py and adaiv2.py",
    "the decoupled form is decay='decoupled'",
)
dialect(Adai, "kozistr", "pytorch_optimizer 4.1 Adai", "its dampening is delta", least_mean=1e-3)
