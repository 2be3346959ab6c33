"""Gravity (Bahrami and Zadeh 2021)."""

from __future__ import annotations

from refopt.core import params, rng
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule, State
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema

BAHRAMI = Source("bahrami-2021-gravity", "D. Bahrami, S. P. Zadeh",
    "Gravity Optimizer: a Kinematic Approach on Optimization in Deep Learning", arxiv="2101.09192")  # fmt: skip


@register("gravity", source=BAHRAMI, where="Algorithm 1", state_copies=1)
class Gravity(LeafRule):
    """Gravity: momentum of gradients whose large entries are damped, from a random velocity.

    ``β̂ = (β t + 1) / (t + 2)``, ``M = max abs(g)``, ``ζ = g / (1 + (M g)²)``,
    ``V_t = β̂ V_{t-1} + (1 - β̂) ζ``, ``x_t = x_{t-1} - l V_t``, from V_0 ~ N(0, (α / l)²), for every
    array apart.

    Notes
    -----
    V_0 moves parameters whose gradient is zero as well. The standard deviation is fixed at the start,
    by the rate without its schedule.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("gravity", lr=3.0, alpha=0.0, beta=0.5)
    >>> x, s = o.update(np.zeros(2), np.array([1.0, 0.0]), o.init(np.zeros(2)))
    >>> print(x)
    [-0.75  0.  ]
    """

    slots = ("V",)
    lr: Rate = hyper(0.1, "(0, inf)", "l.")
    alpha: float = hyper(
        0.01, "[0, inf)", "α, the standard deviation of the start's noise in units of x; 0: no noise."
    )
    beta: float = hyper(0.9, "[0, 1]")
    count_from: int = hyper(1, (1, 0), "The first t (0 in the authors' Keras code).")
    seed: int = hyper(0, "int [0, 18446744073709551615]", "Of V_0.")

    def rule(self, xp):
        def gravity(x, g, V, lr, beta):
            pull = g * xp.max(xp.abs(g))
            V = ema(V, g / (1.0 + pull * pull), beta, 1.0 - beta)
            return x - lr * V, V

        return gravity

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: a random velocity."""
        x = check_start(x, "x")
        state = super().init(x)
        lr = float(self.lr(1) if callable(self.lr) else self.lr)
        noise = rng.normal(rng.generator(self.seed, "method"), x)
        return {**state, "V": params.scale(self.alpha / lr, noise)}

    def scalars(self, t, carried):
        count = t - 1 + self.count_from
        return {"beta": (self.beta * count + 1.0) / (count + 2.0)}


dialect(Gravity, "official-keras", "dariush-bahrami/gravity.optimizer, Keras",
    "its torch file is as the paper", count_from=0)  # fmt: skip
dialect(Gravity, "kozistr", "pytorch_optimizer 4.1.0 Gravity", lr=0.01)
