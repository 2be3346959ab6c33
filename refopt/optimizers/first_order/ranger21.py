"""Ranger21: AdamW with clipped, centred and standardised gradients, two momenta, and Lookahead (Wright and Demeure 2021)."""

from __future__ import annotations

import math
from typing import ClassVar

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule, State
from refopt.core.params import Params, leaves, map_leaves, size
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.pnm import XIE, weights

WRIGHT_2021 = Source("wright-2021-ranger21", "L. Wright, N. Demeure", "Ranger21: a synergistic deep learning optimizer", arxiv="2106.13731")  # fmt: skip


def unit_lengths(a: Array) -> Array:
    """Return the lengths of a leaf's units: a vector whole, axis 1 of two or three axes, all but the first of more."""
    return lengths(a, None if a.ndim < 2 else 1 if a.ndim < 4 else tuple(range(1, a.ndim)), keepdims=True)


def softplus(d: Array, sharpness: float) -> Array:
    """Return ``log(1 + exp(β d)) / β``, and d itself where β d is above 20."""
    xp = namespace(d)
    z = sharpness * d
    return xp.where(z > 20.0, d, xp.log1p(xp.exp(xp.clip(z, max=20.0))) / sharpness)


@register(
    "ranger21",
    source=WRIGHT_2021,
    where="ranger21/ranger21.py, with every part on every leaf",
    also=(XIE,),
    state_copies=5,
)
class Ranger21(LeafRule):
    """Ranger21: AdaPNM on clipped, centred and standardised gradients, two kinds of decay, and Lookahead.

    For every leaf, with u its units (rows): ``g ← g c max(‖x_u‖, 1e-3) / ‖g_u‖`` where ``‖g_u‖`` is larger than that; ``g ← g - mean_u(g)``; and
    ``g ← g / (std(g) + 1e-8)``. ``v ← β2 v + (1 - β2) g²``, ``V ← max(V, v)``, and over all leaves ``S = sqrt(mean(v̂))``. Then
    ``x ← (1 - η_t λ / S) x``, ``x ← (1 - 2 η_t f (1 - 1 / (‖x_u‖ + ε))) x``, ``m_t = β1² m_{t-2} + (1 - β1²) g``,
    ``d = softplus(sqrt(V / (1 - β2^t)) + ε)``, ``x ← x - η_t / (1 - β1^t) ((1 + β0) m_t - β0 m_{t-1}) / sqrt((1 + β0)² + β0²) / d``. Every k-th step
    ``x ← α x + (1 - α) φ``, ``φ ← x``, from φ = x_0.

    Notes
    -----
    With `total` steps η_t rises to η in W steps, W the least of ``2 / (1 - β2)``, or 22% of them where that were more than 45%; and from 72% on it
    falls to η_min. The momentum sees gradients that are centred and standardised a second time, as in the codes. Standardising and softplus
    are later than the paper. In the authors' code β0 is 1 whatever is set, its weight comes of β2, V is not kept, and the decays reach one leaf of
    a group (faults, not dialects); pytorch_optimizer's ``Σ v̂`` begins at 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("ranger21", lr=0.1, clip=np.inf, norm_loss=0.0, softplus=0.0, beta0=0.0)
    >>> x, s = o.update(np.zeros(4), np.array([2.0, -2.0, 2.0, -2.0]), o.init(np.zeros(4)))
    >>> print(x.round(4))  # (1 - β1²) / (1 - β1), as in AdaPNM
    [-0.19  0.19 -0.19  0.19]
    """

    slots: ClassVar[tuple[str, ...]] = ("last", "older", "v", "largest", "slow")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta0: float = hyper(0.9, "[0, inf)", "β0.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    clip: float = hyper(0.01, "(0, inf]", "c; infinity: no clipping.")
    centralize: bool = hyper(True, words="False: gradients are not centred.")
    standardize: bool = hyper(
        True, words="False: gradients are not standardised; leaves of one or two entries never are."
    )
    softplus: float = hyper(50.0, "[0, inf)", "Its sharpness; 0: d is without it.")
    weight_decay: float = hyper(1e-4, "[0, inf)", "λ.")
    norm_loss: float = hyper(1e-4, "[0, inf)", "f.")
    period: int = hyper(5, "int [1, inf)", "k.")
    alpha: float = hyper(0.5, "[0, 1]", "α; 1: no step goes back.")
    total: int | None = hyper(
        None, "int [1, inf)", "The run's number of steps, for the rate's rise and fall. None: η_t = η."
    )
    lr_min: float = hyper(3e-5, "[0, inf)", "η_min.")

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, for φ the start."""
        xp = namespace(leaf)
        return xp.asarray(leaf, copy=True) if slot == "slow" else xp.zeros_like(leaf)

    def rate(self, t: int) -> float:
        """Return η_t."""
        lr = super().rate(t)
        if self.total is None:
            return lr
        rise = math.ceil(2.0 / (1.0 - self.beta2))
        rise = int(0.22 * self.total) if rise > 0.45 * self.total else rise
        start = int(0.72 * self.total)
        if t < start:
            return lr * min(1.0, t / rise) if rise else lr
        return max(
            lr - (lr - self.lr_min) * min((t + 1 - start) / (self.total - start + 1), 1.0), self.lr_min
        )

    def rule(self, xp):
        divisor = nonzero(xp)

        def ranger21(
            x,
            g,
            last,
            older,
            v,
            largest,
            slow,
            lr,
            memory,
            new,
            plus,
            minus,
            beta2,
            k2,
            step,
            root,
            eps,
            shrink,
            back,
        ):
            v = ema(v, g * g, beta2, k2)
            largest = xp.maximum(largest, v)
            x = (1.0 - lr * shrink) * x
            x = (
                x * (1.0 - lr * 2.0 * self.norm_loss * (1.0 - 1.0 / divisor(unit_lengths(x) + eps)))
                if self.norm_loss
                else x
            )
            fresh = ema(older, self.shaped(g), memory, new)
            d = xp.sqrt(largest) * root + eps
            d = softplus(d, self.softplus) if self.softplus else divisor(d)
            x = x - step * (plus * fresh - minus * last) / d
            if back:
                x = self.alpha * x + (1.0 - self.alpha) * slow
                slow = xp.asarray(x, copy=True)
            return x, fresh, 1.0 * last, v, largest, slow

        return ranger21

    def shaped(self, g: Array) -> Array:
        """Return a gradient centred and standardised."""
        xp = namespace(g)
        if self.centralize and g.ndim > 1:
            g = g - xp.mean(g, axis=tuple(range(1, g.ndim)), keepdims=True)
        if self.standardize and math.prod(g.shape) > 2:
            g = g / (xp.std(g, correction=1.0) + 1e-8)
        return g

    def clipped(self, x: Array, g: Array) -> Array:
        """Return a gradient whose units are no longer than a share of those of `x`."""
        if math.isinf(self.clip):
            return g
        xp = namespace(g)
        most, found = self.clip * xp.clip(unit_lengths(x), min=1e-3), unit_lengths(g)
        return xp.where(found > most, g * (most / xp.clip(found, min=1e-6)), g)

    def start_numbers(self) -> dict[str, float]:
        """Return S before the first step."""
        return {"spread": 0.0}

    def carry(self, t, s):
        return {"spread": s["spread"]}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Shape the gradients, find S, and make one step."""
        g = map_leaves(lambda a, b: self.shaped(self.clipped(a, b)), x, g)
        vs = map_leaves(lambda v, b: ema(v, b * b, self.beta2, 1.0 - self.beta2), s["v"], g)
        total = math.fsum(float(namespace(v).sum(v)) for v in leaves(vs).values())
        spread = math.sqrt(total / correction(self.beta2, s["t"] + 1) / size(x))
        return super()._update(x, g, {**s, "spread": spread}, donate)

    def scalars(self, t, carried):
        return {
            **weights(self.beta0, self.beta1),
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
            "shrink": self.weight_decay / carried["spread"] if carried["spread"] > 0.0 else 0.0,
            "back": float(t % self.period == 0),
        }


dialect(
    Ranger21,
    "paper-core",
    "the paper, before standardising and softplus were added",
    standardize=False,
    softplus=0.0,
)
