"""Coordinate-wise clipping at a quantile (Pan and Li 2023)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, check_like, leaves, map_leaves, rebuild
from refopt.core.registry import Source, register
from refopt.wrappers.base import Wrapper

PAN = Source("pan-2023-toward", "Y. Pan, Y. Li",
    "Toward Understanding Why Adam Converges Faster Than SGD for Transformers", arxiv="2306.00204")  # fmt: skip


def threshold(sizes: Array, fraction: float) -> Array:
    """Return the value over which lie the largest ``floor(fraction n)`` of n sizes, but never all of them."""
    xp = namespace(sizes)
    n = sizes.shape[0]
    return xp.sort(sizes)[n - 1 - min(math.floor(fraction * n), n - 1)]


@register("coordinate-clip", source=PAN, where="coordinate-wise clipping")
class CoordinateClip(Wrapper):
    """Coordinate-wise clipping: the largest coordinates are cut down to the largest of the others.

    ``u_i <- sign(u_i) min(|u_i|, τ)``, where the largest floor(q n) of the n values |u_i| are over τ; u is the
    gradient that the base method is given, or the base's step.

    Notes
    -----
    τ is taken anew at every step from the values themselves, without interpolation. The paper clips gradients
    for SGD and its momentum, and steps for Adam; q and the scope of τ are open there.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("coordinate-clip", base="sgd", fraction=0.25, lr=1.0)
    >>> x, s = o.update(np.zeros(4), np.array([-9.0, 1.0, 2.0, 3.0]), o.init(np.zeros(4)))
    >>> print(x)
    [ 3. -1. -2. -3.]
    """

    fraction: float = hyper(0.1, "[0, 1]", "q; 0 clips nothing, 1 leaves the signs times the least size.")
    clips: str = hyper("gradient", ("gradient", "step"), "What u is.")
    scope: str = hyper("leaf", ("leaf", "all"), "τ of every leaf, or one τ of all parameters.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def thresholds(self, u: Params) -> Params:
        """Return τ for every leaf of `u`, as arrays without dimensions."""

        def sizes(a: Array) -> Array:
            xp = namespace(a)
            return xp.reshape(xp.abs(a), (-1,))

        if self.scope == "leaf":
            return map_leaves(lambda a: threshold(sizes(a), self.fraction), u)
        first = next(iter(leaves(u).values()))
        every = namespace(first).concat([sizes(a) for a in leaves(u).values()])
        tau = threshold(every, self.fraction)
        return rebuild(u, dict.fromkeys(leaves(u), tau))

    def clipped(self, u: Params, tau: Params) -> Params:
        """Return `u` with its entries cut down to `tau`."""

        def cut(a: Array, t: Array) -> Array:
            xp = namespace(a)
            return xp.where(xp.abs(a) > t, xp.sign(a) * t, a)

        return map_leaves(cut, u, tau)

    def _finish(self, x: Params, new: Params) -> Params:
        if self.clips == "gradient":
            return new
        u = params.subtract(new, x)
        tau = self.thresholds(u)

        def held(a: Array, b: Array, d: Array, t: Array) -> Array:
            xp = namespace(a)
            # What is not clipped keeps the base's own bits.
            return xp.where(xp.abs(d) > t, a + xp.sign(d) * t, b)

        return map_leaves(held, x, new, u, tau)

    def _given(self, g: Params) -> Params:
        return self.clipped(g, self.thresholds(g)) if self.clips == "gradient" else g

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Clip `grad` or the step of the base, where it needs gradients alone."""
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        check_like(grad, x, "grad")
        new, base = self.base.update(x, self._given(grad), s["base"])
        return self._finish(x, new), {"t": s["t"] + 1, "base": base}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with clipped gradients, or clip its step."""
        inner = GradientsAt(oracle, lambda oracle, w: self._given(oracle.grad(w)))
        new, base = self.base.step(x, s["base"], inner)
        return self._finish(x, new), {"t": s["t"] + 1, "base": base}
