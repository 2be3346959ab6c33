"""Stochastic variance reduced gradient (Johnson and Zhang 2013)."""

from __future__ import annotations

from refopt.core.arrays import Array
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, copied, map_leaves
from refopt.core.registry import Source, register

JOHNSON = Source("johnson-2013-accelerating", "R. Johnson, T. Zhang",
    "Accelerating Stochastic Gradient Descent using Predictive Variance Reduction", venue="NeurIPS 26")  # fmt: skip


@register("svrg", source=JOHNSON, where="Figure 1, Procedure SVRG")
class SVRG(Method):
    """SVRG: a stochastic gradient corrected by its value at a snapshot, where the full gradient is known.

    Every m steps ``w̃`` is the snapshot and ``μ̃ = ∇P(w̃)``; between,
    ``w_t = w_{t-1} - η (∇ψ_i(w_{t-1}) - ∇ψ_i(w̃) + μ̃)``.

    Notes
    -----
    Batches are the driver's: ``minimize(..., batch_size=1, sampling="replacement")`` is the paper's
    setting. Without batches the method is gradient descent at two gradients a step.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "svrg", lr=0.02, steps=1138, batch_size=1, sampling="replacement")
    >>> r.calls["grad"]  # two a step; at the snapshot they are one, and the full one
    2276
    """

    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    inner_steps: int | None = hyper(None, "int [1, inf)",
        "m. None: twice the number of batches in the data, the paper's suggestion for convex problems.")  # fmt: skip
    option: str = hyper("I", ("I", "II"),
        "The next snapshot is the last iterate (I), or one of w_0 … w_{m-1} drawn at random, from where"
        " the next inner loop starts (II, what the theorem is about).")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        x = copied(x)
        return {"t": 0, "k": 0, "snapshot": x, "mean": x, "chosen": x, "choice": 0}

    def inner_loop(self, oracle: Oracle) -> int:
        """Return m."""
        if self.inner_steps is not None:
            return self.inner_steps
        batch = oracle.n_examples if oracle.batch is None else oracle.batch.size
        return max(1, 2 * oracle.n_examples // batch)

    @staticmethod
    def direction(here: Array, there: Array, mean: Array) -> Array:
        """Return the corrected gradient from the batch's at the point and at the snapshot, and the full one there."""
        return here - there + mean

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Take a new snapshot where the inner loop starts; then one inner step."""
        k, snapshot, mean = s["k"], s["snapshot"], s["mean"]
        chosen, choice = s["chosen"], s["choice"]
        if k == 0:
            if self.option == "II" and s["t"] > 0:
                x = chosen
            snapshot, mean = x, copied(oracle.full.grad(x))
            if self.option == "II":
                choice = int(oracle.rng.integers(0, self.inner_loop(oracle)))
        if k == choice:
            chosen = x
        here, there = copied(oracle.grad(x)), oracle.grad(snapshot)
        eta = self.rate(s["t"] + 1)
        v = map_leaves(self.direction, here, there, mean)
        x = map_leaves(lambda w, d: w - eta * d, x, v)
        return x, {
            "t": s["t"] + 1,
            "k": (k + 1) % self.inner_loop(oracle),
            "snapshot": snapshot,
            "mean": mean,
            "chosen": chosen if self.option == "II" else x,
            "choice": choice,
        }
