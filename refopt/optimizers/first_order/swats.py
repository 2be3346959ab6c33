"""SWATS: Adam that becomes SGD, at a rate learnt from Adam's steps (Keskar and Socher 2017)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

KESKAR = Source("keskar-2017-improving", "N. S. Keskar, R. Socher", "Improving Generalization Performance by Switching from Adam to SGD",
    arxiv="1712.07628")  # fmt: skip


@register("swats", source=KESKAR, where="Algorithm 1", state_copies=3)
class SWATS(GradientMethod):
    """SWATS: Adam until the rate at which SGD would make Adam's step is steady, then SGD at that rate.

    Adam: ``p_t = -α sqrt(1 - β2^t) / (1 - β1^t) m_t / (sqrt(v_t) + ε)``, ``x_t = x_{t-1} + p_t``, with products over all parameters; where
    ``<p_t, g_t> ≠ 0``, ``γ_t = <p_t, p_t> / -<p_t, g_t>``, ``λ_t = β2 λ_{t-1} + (1 - β2) γ_t``. From the step on in which t > 1,
    ``Λ = λ_t / (1 - β2^t) > 0`` and ``|Λ - γ_t| < τ``, SGD: ``b_t = β1 b_{t-1} + g_t`` from 0, ``x_t = x_{t-1} - (1 - β1) Λ b_t``.

    Notes
    -----
    A schedule multiplies both rates, and γ is taken without it. Libraries take γ of each array, and τ relative to Λ, too.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("swats", lr=0.1, eps=0.0)
    >>> x, s = np.zeros(2), o.init(np.zeros(2))
    >>> for _ in range(3):
    ...     x, s = o.update(x, np.array([3.0, 1.0]), s)
    >>> print(round(s["sgd"], 12), x.round(6))  # Λ = 0.1 · 2 / 4 after two steps, and a tenth of Λ g in the third
    0.05 [-0.215 -0.205]
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-9, "[0, inf)", "ε, beside the uncorrected root.")
    tolerance: float = hyper(1e-9, "(0, inf)", "τ; the paper's is ε.")
    weight_decay: float = hyper(
        0.0, "[0, inf)", "g + this times x is taken in the gradient's place. The paper has none."
    )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; ``"sgd"`` is Λ, and zero before the switch."""
        zero = params.zeros_like(check_start(x, "x"))
        return {"t": 0, "sgd": 0.0, "average": 0.0, "m": zero, "v": zero, "b": zero}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("sgd", "average", "m", "v", "b")

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step."""
        t, scale = s["t"] + 1, self.multiplier(s["t"] + 1)
        g = params.axpy(self.weight_decay, x, g)
        if s["sgd"]:
            b = params.axpy(self.beta1, s["b"], g)
            rate = (1.0 - self.beta1) * s["sgd"] * scale
            return params.axpy(-rate, b, x), {**s, "t": t, "b": b}
        m = map_leaves(lambda a, new: ema(a, new, self.beta1, 1.0 - self.beta1), s["m"], g)
        v = map_leaves(lambda a, new: ema(a, new * new, self.beta2, 1.0 - self.beta2), s["v"], g)
        c2 = correction(self.beta2, t)
        size = self.rate(t) * c2**0.5 / correction(self.beta1, t)

        def direction(m: Array, v: Array) -> Array:
            xp = namespace(m)
            return -size * m / nonzero(xp)(xp.sqrt(v) + self.eps)

        p = map_leaves(direction, m, v)
        along, average, sgd = params.dot(p, g), s["average"], 0.0
        if along != 0.0 and scale > 0.0:
            gamma = params.dot(p, p) / -along / scale
            average = ema(average, gamma, self.beta2, 1.0 - self.beta2)
            steady = average / c2
            if t > 1 and steady > 0.0 and abs(steady - gamma) < self.tolerance:
                sgd = steady
        return params.axpy(1.0, p, x), {"t": t, "sgd": sgd, "average": average, "m": m, "v": v, "b": s["b"]}
