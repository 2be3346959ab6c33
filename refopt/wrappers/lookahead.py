"""Lookahead (Zhang et al. 2019)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.params import Params, copied, map_leaves
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import AfterStep

ZHANG = Source("zhang-2019-lookahead", "M. R. Zhang, J. Lucas, G. Hinton, J. Ba",
    "Lookahead Optimizer: k steps forward, 1 step back", arxiv="1907.08610")  # fmt: skip


@register("lookahead", source=ZHANG, where="Algorithm 1")
class Lookahead(AfterStep):
    """Lookahead: after every k steps of the base, x goes back to a point between where it was and where it came to.

    ``φ <- φ + α (x - φ)``, ``x <- φ`` after steps k, 2k, 3k, ..., with φ = x_0 at first.

    Notes
    -----
    Between two of these steps x is the base's; the point to use is φ, under ``"slow"`` in the state.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("lookahead", base="sgd", lr=1.0, period=2, alpha=0.5)
    >>> x, s = np.array([0.0]), o.init(np.array([0.0]))
    >>> for _ in range(2):
    ...     x, s = o.update(x, np.array([-1.0]), s)
    >>> print(x)
    [1.]
    """

    period: int = hyper(5, "int [1, inf)", "k.")
    alpha: float = hyper(0.5, "[0, 1]", "α; 1 is the base itself.")
    slow_from: str = hyper("start", ("start", "first-sync"),
        "φ's first value: x_0, or x_k, so that the first of these steps does nothing (timm).")  # fmt: skip
    inner: str = hyper("keep", ("keep", "reset"), "The base's state at these steps: kept, or begun anew.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def start(self, x: Params) -> State:
        """Return φ_0."""
        return {"slow": copied(x)}

    def after(self, x: Params, s: State, base: State, t: int) -> tuple[Params, State]:
        """Go back where it is time."""
        if t % self.period:
            return x, {"base": base, "slow": s["slow"]}
        if t == self.period and self.slow_from == "first-sync":
            slow = copied(x)
        else:
            slow = map_leaves(lambda old, new: old + self.alpha * (new - old), s["slow"], x)
        return copied(slow), {"base": self.base.init(slow) if self.inner == "reset" else base, "slow": slow}


dialect(
    Lookahead, "official", "michaelrzhang/lookahead lookahead_pytorch.py, pullback_momentum='none'", alpha=0.8
)
dialect(Lookahead, "timm", "timm 1.0 Lookahead", period=6, slow_from="first-sync")
dialect(Lookahead, "kozistr", "pytorch_optimizer 4.1 Lookahead, pullback_momentum='none'")
