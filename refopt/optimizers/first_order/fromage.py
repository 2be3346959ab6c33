"""Fromage (Bernstein et al. 2020)."""

from __future__ import annotations

from refopt.core.arrays import Array
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.trust import leaf_norm, trust_ratio

BERNSTEIN = Source("bernstein-2020-distance", "J. Bernstein, A. Vahdat, Y. Yue, M.-Y. Liu",
    "On the distance between two neural networks and the stability of learning", arxiv="2002.03432")  # fmt: skip


@register("fromage", source=BERNSTEIN, where="Algorithm 1")
class Fromage(LeafRule):
    """Fromage: a layer's step is a share of its weights' norm, and the longer leg that this makes is shortened.

    ``W ← (W - η ‖W‖_F / ‖g‖_F g) / sqrt(1 + η²)`` for each leaf; where a norm is zero, with the ratio of norms 1.

    Notes
    -----
    A leaf without gradient is divided by sqrt(1 + η²) too, as in the authors' code.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("fromage", lr=0.75)
    >>> x, s = o.update(np.array([2.0, 0.0]), np.array([0.0, -9.0]), o.init(np.array([2.0, 0.0])))
    >>> print(x)  # across the weights, whose norm stays
    [1.6 1.2]
    """

    slots = ("size",)
    lr: Rate = hyper(1e-2, "[0, inf)", "η, without a unit.")
    bound: float | None = hyper(
        None, "(0, inf)", "Norms are kept at most this many times the start's. None: no bound."
    )
    least: float = hyper(
        0.0, "[0, inf)", "Both norms count as at least this, and neither is zero then (optax)."
    )

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: without a bound no norm of the start."""
        return self.slots if self.bound is not None else ()

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return the norm of the start."""
        return leaf_norm(leaf)

    def rule(self, xp):
        def stepped(x, g, lr, shorter, least):
            size, length = (xp.clip(leaf_norm(a), min=least) for a in (x, g))
            whole, one = (size > 0.0) & (length > 0.0), xp.ones_like(size)
            # g by its norm first: the ratio of the norms may be more than a number holds.
            direction = g / xp.where(whole, length, one)
            return (x - lr * xp.where(whole, size, one) * direction) * shorter

        def fromage(x, g, lr, shorter, least):
            return (stepped(x, g, lr, shorter, least),)

        def bounded(x, g, size, lr, shorter, least, bound):
            x = stepped(x, g, lr, shorter, least)
            length = leaf_norm(x)
            return xp.where(length > bound * size, x * trust_ratio(bound * size, length), x), size

        return fromage if self.bound is None else bounded

    def scalars(self, t, carried):
        return {"shorter": (1.0 + self.rate(t) ** 2) ** -0.5}


dialect(
    Fromage, "official", "jxbz/fromage fromage.py, and pytorch_optimizer 4.1 Fromage", "bound is its p_bound"
)
dialect(Fromage, "optax", "optax 0.2.8 fromage", "a leaf of zeros hardly moves", least=1e-6)
