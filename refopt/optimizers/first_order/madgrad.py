"""MADGRAD (Defazio and Jelassi 2021)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

DEFAZIO = Source("defazio-2021-madgrad", "A. Defazio, S. Jelassi",
    "Adaptivity without Compromise: A Momentumized, Adaptive, Dual Averaged Gradient Method for"
    " Stochastic Optimization", arxiv="2101.11075")  # fmt: skip


@register("madgrad", source=DEFAZIO, where="Algorithm 1", state_copies=3)
class MADGRAD(ElementwiseDecay):
    """MADGRAD: dual averaging divided by the cube root of the squares' sum, with momentum of iterates.

    For k = 0, 1, …: ``λ_k = γ_k sqrt(k + 1)``, ``s ← s + λ_k g_k``, ``ν ← ν + λ_k g_k²``,
    ``z = x_0 - s / (∛ν + ε)``, ``x ← (1 - c) x + c z``, from s = ν = 0.

    Notes
    -----
    With ε = 0 a coordinate whose gradient has always been zero stays.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("madgrad", lr=1.0, momentum=0.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([27.0]), o.init(np.array([0.0])))
    >>> print(x.round(12))
    [-3.]
    """

    slots = ("s", "nu", "x0")
    lr: Rate = hyper(0.01, "[0, inf)", "γ.")
    momentum: float = hyper(0.9, "[0, 1)", "1 - c.")
    eps: float = hyper(1e-6, "[0, inf)", "ε.")
    rate_plus_eps: bool = hyper(
        False, words="γ + ε in γ's place, unless the rate is zero (the authors' code)."
    )
    decay_first: bool = hyper(
        False, words="Decay apart from the gradient shrinks x before the average with z, not after it (timm)."
    )
    start_moves: bool = hyper(False,
        words="Without momentum, decay apart from the gradient moves x_0 too: the authors' code and"
        " timm's then recover x_0 from x.")  # fmt: skip
    words = {
        "decay": "``coupled``: g + λ x in both sums. ``decoupled``: γ λ x is taken from the new point.",
        "schedule": "Of γ_k.",
    }

    def rule(self, xp):
        divisor = nonzero(xp)

        def madgrad(x, g, s, nu, x0, weight, third, eps, c, left, drift, l2):
            g = g + l2 * x
            s = s + weight * g
            nu = nu + weight * (g * g)
            z = x0 - s / divisor(nu**third + eps)
            return left * x + c * z, s, nu, x0 - drift * x

        return madgrad

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, or the start itself."""
        xp = namespace(leaf)
        return xp.asarray(leaf, copy=True) if slot == "x0" else xp.zeros_like(leaf)

    def scalars(self, t, carried):
        gamma = self.rate(t)
        if self.rate_plus_eps and gamma > 0.0:
            gamma += self.eps
        lost = 1.0 - self.keep(t)
        if self.decay == "decoupled" and not self.decay_first:
            lost = gamma * self.weight_decay
        moves = self.start_moves and self.momentum == 0.0
        # Where x_0 moves, it takes the decay with it into z: before or after is then the same.
        shrinks = self.decay_first and not moves
        return {
            "weight": gamma * math.sqrt(t),
            "third": 1.0 / 3.0,
            "c": 1.0 - self.momentum,
            "left": self.momentum * (1.0 - lost) if shrinks else self.momentum - lost,
            "drift": lost if moves else 0.0,
        }


dialect(MADGRAD, "official", "facebookresearch/madgrad madgrad.py",
    "decouple_decay=True is decay='decoupled'; pytorch_optimizer 4.1.0 alike, with lr 1e-3",
    rate_plus_eps=True, start_moves=True, decay="coupled")  # fmt: skip
dialect(MADGRAD, "timm", "timm madgrad with decoupled_decay", rate_plus_eps=True, decay_first=True,
    start_moves=True, decay="decoupled")  # fmt: skip
dialect(MADGRAD, "optax", "optax 0.2.8 contrib.madgrad", rate_plus_eps=True, decay="coupled")
