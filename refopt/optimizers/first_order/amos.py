"""Amos: decay that falls by itself, towards the scale that weights are to have (Tian and Parikh 2022)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

TIAN = Source("tian-2022-amos", "R. Tian, A. P. Parikh",
    "Amos: An Adam-style Optimizer with Adaptive Weight Decay towards Model-Oriented Scale", arxiv="2210.11693")  # fmt: skip


@register("amos", source=TIAN, where="the algorithm Amos", state_copies=0)
class Amos(LeafRule):
    """Amos: gradients over their root mean square, with a decay and a rate that both fall with the decay so far.

    With η̃ the scale of a leaf's weights and means over all its entries: ``v_t = β v_{t-1} + (1 - β) mean(g_t²)``,
    ``r = (1 - β^t) / max(v_t, ε)``, ``γ = ξ² r mean(g_t²) / sqrt(1 + c sqrt(ξ) b_{t-1})``,
    ``x_t = x_{t-1} - (ξ η̃ sqrt(r) g_t + (γ / 2 + λ) x_{t-1}) / (1 + d sqrt(ξ η̃) b_{t-1})``, ``b_t = b_{t-1} + γ (1 + b_{t-1})``,
    from v_0 = b_0 = 0.

    Notes
    -----
    There is no decay to choose: with d = 0, x and η̃ times s make the run times s. With a momentum, ``μ``, x moves by the average of these steps.
    pytorch_optimizer takes half of λ off in place of adding it (a fault, not a dialect).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("amos", lr=0.5, weight_scale=0.5)
    >>> x, s = o.update(np.array([8.0, 8.0]), np.array([3.0, -3.0]), o.init(np.zeros(2)))
    >>> print(x)  # 0.25 along the sign, and an eighth of x
    [6.75 7.25]
    """

    slots = ("v", "b", "m")
    lr: Rate = hyper(1e-2, "[0, inf)", "ξ, without a unit: how far x goes, relative to η̃.")
    beta: float = hyper(0.999, "[0, 1)", "β.")
    momentum: float = hyper(0.0, "[0, 1)", "μ.")
    weight_scale: float | None = hyper(None, "(0, inf)",
        "η̃ of all leaves, in the units of x. None: 1/2 of numbers and vectors, ``sqrt(2 / columns)`` of matrices, one over the root"
        " of the second axis's length of others (pytorch_optimizer's choice).")  # fmt: skip
    c: float = hyper(0.25, "[0, inf)", "c.")
    d: float = hyper(0.25, "[0, inf)", "d.")
    extra_l2: float = hyper(0.0, "[0, inf)", "λ.")
    reduced: str = hyper(
        "leaf", ("leaf", "none"), "What squares are averaged over: none, for v of every entry."
    )
    eps: float = hyper(2.0**-125, "[0, inf)", "ε, in the units of g².")
    eps_added: bool = hyper(False, words="True: ``v + ε`` in the place of the maximum (pytorch_optimizer).")

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: without μ no average of steps."""
        return self.slots if self.momentum > 0.0 else self.slots[:2]

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, for v and b one number of the leaf."""
        xp = namespace(leaf)
        return xp.zeros_like(leaf if slot == "m" or self.reduced == "none" else xp.sum(leaf))

    def scale_of(self, shape: tuple[int, ...]) -> float:
        """Return η̃ of a leaf."""
        if self.weight_scale is not None:
            return self.weight_scale
        if len(shape) < 2:
            return 0.5
        return math.sqrt((2.0 if len(shape) == 2 else 1.0) / shape[1])

    def rule(self, xp):
        divisor = nonzero(xp)

        def step(x, g, v, b, beta, k, c1, rate, eps):
            eta = self.scale_of(tuple(x.shape))
            square = g * g if self.reduced == "none" else xp.mean(g * g)
            v = ema(v, square, beta, k)
            r = c1 / divisor(v + eps if self.eps_added else xp.clip(v, min=eps))
            gamma = rate * rate * r * square / xp.sqrt(1.0 + self.c * rate**0.5 * b)
            slow = 1.0 + self.d * (rate * eta) ** 0.5 * b
            return (
                (rate * eta * xp.sqrt(r) * g + (gamma / 2.0 + self.extra_l2) * x) / slow,
                v,
                b + gamma * (1.0 + b),
            )

        def amos(x, g, v, b, beta, k, c1, rate, eps):
            u, v, b = step(x, g, v, b, beta, k, c1, rate, eps)
            return x - u, v, b

        def averaged(x, g, v, b, m, beta, k, c1, rate, eps):
            u, v, b = step(x, g, v, b, beta, k, c1, rate, eps)
            m = ema(m, u, self.momentum, 1.0 - self.momentum)
            return x - m, v, b, m

        return averaged if self.momentum > 0.0 else amos

    def scalars(self, t, carried):
        return {"k": 1.0 - self.beta, "c1": correction(self.beta, t), "rate": self.rate(t)}


dialect(Amos, "official", "google-research/jestimator amos.py, without functions of scales and axes", "its scale is a function that it asks for",
    reduced="none")  # fmt: skip
dialect(Amos, "kozistr", "pytorch_optimizer 4.1 Amos", eps=1e-18, eps_added=True)
