"""AdamS: weight decay that has one rate with the steps, on the average (Xie et al. 2020)."""

from __future__ import annotations

import math
from typing import ClassVar

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule, State
from refopt.core.params import Params, leaves, map_leaves, size
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

XIE = Source("xie-2020-overlooked", "Z. Xie, Z. Xu, J. Zhang, I. Sato, M. Sugiyama",
    "On the Overlooked Pitfalls of Weight Decay and How to Mitigate Them: A Gradient-Norm Perspective", arxiv="2011.11152")  # fmt: skip


@register("adam-s", source=XIE, where="the algorithm AdamS", state_copies=2)
class AdamS(LeafRule):
    """AdamS: AdamW whose decay is divided by the root mean of all averaged squares, as steps are by their own.

    With Adam's m̂_t and v̂_t, and v̄_t the mean of v̂_t over all entries of all leaves,
    ``x_t = x_{t-1} - η (m̂_t / (sqrt(v̂_t) + ε) + λ / sqrt(v̄_t) x_{t-1})``.

    Notes
    -----
    While all gradients have been zero nothing decays. Another AdamS, with a momentum in the root's place, shares the name.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adam-s", lr=0.1, weight_decay=0.5, eps=0.0)
    >>> x, s = o.update(np.array([2.0, 2.0]), np.array([3.0, 4.0]), o.init(np.zeros(2)))
    >>> print(x.round(4))  # a step of 0.1 and a decay of 0.1 / sqrt(12.5)
    [1.8717 1.8717]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "largest")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_in_mean: bool = hyper(False, words="True: ε is added to ``sqrt(v̄)`` too.")
    amsgrad: bool = hyper(False, words="True: the largest v so far in the place of v, in both roots.")
    weight_decay: float = hyper(1e-4, "[0, inf)", "λ, in the units of the gradient over those of x.")

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: the maximum with amsgrad alone."""
        return self.slots if self.amsgrad else self.slots[:2]

    def start_numbers(self) -> dict[str, float]:
        """Return sqrt(v̄) before the first step."""
        return {"mean": 0.0}

    def carry(self, t, s):
        return {"mean": s["mean"]}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Find the mean of what all roots will be of, and make one step."""
        roots = map_leaves(self._root, *(p for p in (g, s["v"], s.get("largest")) if p is not None))
        most = max(float(namespace(r).max(r)) for r in leaves(roots).values())
        mean = most
        if 0.0 < most < math.inf:
            # In units of the largest, whose square may leave the range.
            total = math.fsum(float(namespace(r).sum((r / most) ** 2)) for r in leaves(roots).values())
            mean = most * math.sqrt(total / size(x) / correction(self.beta2, s["t"] + 1))
        return super()._update(x, g, {**s, "mean": mean}, donate)

    def _root(self, g: Array, v: Array, largest: Array | None = None) -> Array:
        xp = namespace(v)
        v = ema(v, g * g, self.beta2, 1.0 - self.beta2)
        return xp.sqrt(v if largest is None else xp.maximum(largest, v))

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adam_s(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, keep):
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            return keep * x - step * m / divisor(xp.sqrt(v) * root + eps), m, v

        def with_maximum(x, g, m, v, largest, beta1, k1, beta2, k2, step, root, eps, keep):
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            largest = xp.maximum(largest, v)
            return keep * x - step * m / divisor(xp.sqrt(largest) * root + eps), m, v, largest

        return with_maximum if self.amsgrad else adam_s

    def scalars(self, t, carried):
        rate, mean = self.rate(t), carried["mean"] + (self.eps if self.eps_in_mean else 0.0)
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": rate / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
            "keep": 1.0 - rate * self.weight_decay / mean if mean != 0.0 else 1.0,
        }


dialect(AdamS, "official", "zeke-xie/stable-weight-decay-regularization swd_optim/adams.py")
dialect(AdamS, "kozistr", "pytorch_optimizer 4.1 AdamS", eps_in_mean=True)
