"""AdaGC: Adam on gradients that are clipped leaf by leaf against their own past norms (Wang et al. 2025)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.clipping import shortening
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.adam import Adam

WANG = Source("wang-2025-adagc", "G. Wang, S. Li, C. Chen, J. Zeng, J. Yang, D. Yu, Y. Ma, L. Shen",
    "AdaGC: Enhancing LLM Pretraining Stability via Adaptive Gradient Clipping", arxiv="2502.11034")  # fmt: skip


@register("adagc", source=WANG, where="the algorithm", state_copies=2)
class AdaGC(Adam):
    """AdaGC: AdamW on clipped gradients, each leaf's bound following its own clipped norms.

    While t < T (and where a leaf is seen first) ``ĝ_t = min(λ_abs / ‖g_t‖, 1) g_t`` with the norm of all leaves, and for each leaf
    ``γ_t = min(γ_{t-1}, ‖ĝ_t‖)``. Then for each leaf ``ĝ_t = min(λ_rel γ_{t-1} / ‖g_t‖, 1) g_t``, ``γ_t = β γ_{t-1} + (1 - β) ‖ĝ_t‖``.
    Adam takes ĝ, with decay beside the step.

    Notes
    -----
    γ of a leaf whose gradient is zero while t < T is zero from then on, and the leaf never moves again, unless `least` is above zero.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adagc", warmup=1)
    >>> x, s = o.update(np.zeros(2), np.array([0.3, 0.4]), o.init(np.zeros(2)))
    >>> x, s = o.update(x, np.array([30.0, 40.0]), s)
    >>> print(s["gamma"])  # 0.98 · 0.5 + 0.02 · 1.05 · 0.5
    [0.5005]
    """

    beta: float = hyper(0.98, "[0, 1)", "β.")
    absolute: float = hyper(1.0, "(0, inf)", "λ_abs, in the units of the gradient.")
    relative: float = hyper(1.05, "(0, inf)", "λ_rel.")
    warmup: int = hyper(100, "int [0, inf)", "T.")
    least: float = hyper(0.0, "[0, inf)", "The least γ that bounds a norm; the paper has none.")
    weight_decay: float = hyper(0.1, "[0, inf)", "λ.")

    def number(self, name: str, t: int) -> float:
        """Return a number of Adam's rule; coupled decay is in the gradient before it is clipped."""
        return 0.0 if name == "l2" else super().number(name, t)

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; a γ of -1 is that of a leaf not seen yet."""
        x = check_start(x, "x")

        def unseen(leaf: Array) -> Array:
            xp = namespace(leaf)
            return xp.sum(xp.zeros_like(leaf), keepdims=True) - 1.0

        return {**super().init(x), "gamma": map_leaves(unseen, x)}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Clip, move the bounds and make Adam's step."""
        if self.coupled():
            g = params.axpy(self.coupled(), x, g)
        bound = s["gamma"]
        once, early = shortening(params.norm(g), self.absolute), s["t"] + 1 < self.warmup

        def share(a: Array, gamma: Array) -> Array:
            xp = namespace(a)
            size = lengths(a, keepdims=True)
            top = self.relative * xp.clip(gamma, min=self.least)
            own = xp.where(size > top, top / nonzero(xp)(size), 1.0)
            return xp.where((gamma < 0.0) | early, once, own)

        def moved(a: Array, gamma: Array) -> Array:
            xp = namespace(a)
            size = lengths(a, keepdims=True)
            first = xp.where((gamma < 0.0) | (size < gamma), size, gamma)
            return xp.where((gamma < 0.0) | early, first, ema(gamma, size, self.beta, 1.0 - self.beta))

        clipped = map_leaves(lambda a, gamma: a * share(a, gamma), g, bound)
        new, state = super()._update(x, clipped, s, donate)
        return new, {**state, "gamma": map_leaves(moved, clipped, bound)}
