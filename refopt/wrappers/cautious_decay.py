"""Cautious weight decay: decay where it does not oppose the step (Chen et al. 2025)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, map_leaves, without_graph
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper

CHEN = Source("chen-2025-cautious", "L. Chen, J. Li, K. Liang, B. Su, C. Xie, N. Wang Pierse, C. Liang, N. Lao, Q. Liu",
    "Cautious Weight Decay", arxiv="2510.12402")  # fmt: skip


@register("cautious-weight-decay", source=CHEN, where="the update of cautious weight decay")
class CautiousWeightDecay(Wrapper):
    """Cautious weight decay: weights decay beside the base's step where it does not lead away from zero.

    Where the base goes from x_{t-1} to ``x_{t-1} - η u_t``: ``x_t = x_{t-1} - η (u_t + λ 1[u_t x_{t-1} ≥ 0] x_{t-1})``, with η the base's rate.

    Notes
    -----
    A coordinate that the base leaves where it is decays, but where `strict`. The mask is of the base's step as the dtype holds it; a base that has
    a decay of its own has both.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("cautious-weight-decay", base="sgd", lr=1.0, strength=0.25)
    >>> x = np.array([4.0, 4.0])
    >>> x, s = o.update(x, np.array([1.0, -1.0]), o.init(x))
    >>> print(x)
    [2. 5.]
    """

    strength: float = hyper(0.1, "[0, inf)", "λ.")
    strict: bool = hyper(False, words="True: 1[u x > 0].")
    words = {
        "base": "The method that makes the step, which has a rate; a name takes further hyperparameters (``lr=...``).",
        "schedule": "Of the base's rate: handed on to a base that is given by name.",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(self.base, "lr"):
            raise ArgumentError(
                f"base: wanted a method with a rate lr, which multiplies the decay, got {self.base!r}"
            )

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base, and decay."""
        new, base = self.base.step(x, s["base"], oracle)
        return self._decayed(x, new, base, s)

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Update the base, where it needs gradients alone, and decay."""
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        new, base = self.base.update(x, grad, s["base"])
        return self._decayed(without_graph(x), new, base, s)

    def _decayed(self, x: Params, new: Params, base: State, s: State) -> tuple[Params, State]:
        share = self.base.rate(base["t"]) * self.strength

        def decayed(w: Array, there: Array) -> Array:
            xp = namespace(w)
            # u has the sign of w - there; signs, since a product of small numbers would be zero.
            along = xp.sign(w - there) * xp.sign(w)
            mask = along > 0.0 if self.strict else along >= 0.0
            return there - share * xp.where(mask, w, xp.zeros_like(w))

        return map_leaves(decayed, x, new), {"t": s["t"] + 1, "base": base}


dialect(CautiousWeightDecay, "lucidrains", "lucidrains/adam-atan2-pytorch, cautious decay", strict=True)
