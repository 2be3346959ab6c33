"""Gradient accumulation: one step of the base for several batches (Liu et al. 2024)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, axpy, copied, scale, zeros_like
from refopt.core.registry import Source, register
from refopt.wrappers.base import Wrapper

LIU = Source("liu-2024-enhancing", "X. Liu, Y. Zhong, W. Deng, H. Shi, X. Cui, Y. Yin, D. Wen",
    "Enhancing Generalization of Invisible Facial Privacy Cloak via Gradient Accumulation", arxiv="2401.01575")  # fmt: skip


@register(
    "gradient-accumulation", source=LIU, where="the aggregation of small batches' gradients into one step"
)
class GradientAccumulation(Wrapper):
    """Gradient accumulation: gradients of k batches are averaged before the base makes one step.

    Between the steps of the base x stands still. With an inner rate γ the j-th gradient is taken where temporary steps
    have led, ``u_{j+1} = u_j - γ ∇f_j(u_j)`` from u_1 = x, and these are then taken back.

    Notes
    -----
    The paper's base makes signed steps. k batches of one size without temporary steps are one batch of all of them. A step of the run is one batch; the base's own
    count, rate and schedule go on once in k. Gradients that the base asks for elsewhere than at x, or several of, are not for this.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "gradient-accumulation", batches=4, lr=0.5, batch_size=16, steps=200)
    >>> r.state["base"]["t"], bool(p.value(r.x) < 0.25)
    (50, True)
    """

    batches: int = hyper(4, "int [1, inf)", "k.")
    inner_lr: float = hyper(0.0, "[0, inf)", "γ.")
    words = {
        "base": "The method that steps; a name takes further hyperparameters (``lr=...``).",
        "schedule": "Of the base's rate: handed on to a base that is given by name.",
    }

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's, the sum of gradients, and where the next is taken."""
        return {**super().init(x), "total": zeros_like(x), "point": copied(x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Add a gradient, and step the base with the mean of k."""
        t, g = s["t"] + 1, oracle.grad(s["point"])
        total = axpy(1.0, g, s["total"])
        if t % self.batches:
            point = axpy(-self.inner_lr, g, s["point"]) if self.inner_lr else s["point"]
            return copied(x), {"t": t, "base": s["base"], "total": total, "point": point}
        mean = scale(1.0 / self.batches, total)
        x, base = self.base.step(x, s["base"], GradientsAt(oracle, lambda oracle, w: mean))
        return x, {"t": t, "base": base, "total": zeros_like(x), "point": copied(x)}
