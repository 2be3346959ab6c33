"""Normalised gradient descent and SPIDER under generalized smoothness (Chen et al. 2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, register

CHEN = Source("chen-2023-generalized", "Z. Chen, Y. Zhou, Y. Liang, Z. Lu",
    "Generalized-Smooth Nonconvex Optimization is As Efficient As Smooth Nonconvex Optimization",
    arxiv="2303.02854")  # fmt: skip
FANG = Source("fang-2018-spider", "C. Fang, C. J. Li, Z. Lin, T. Zhang",
    "SPIDER: Near-Optimal Non-Convex Optimization via Stochastic Path-Integrated Differential Estimator",
    venue="NeurIPS 31")  # fmt: skip


@register("normalized-gd", source=CHEN, where="algorithm beta-GD", state_copies=0)
class NormalizedGD(GradientMethod):
    """β-normalised gradient descent: the gradient over a power of its norm.

    ``w_{t+1} = w_t - γ ∇f(w_t) / ||∇f(w_t)||^β``, the norm over all parameters.

    Notes
    -----
    Where the gradient is zero the point stays. With β = 1 and a constant rate the run ends in an
    oscillation of size γ about a minimum.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("normalized-gd", lr=0.5)
    >>> x, s = o.update(np.array([3.0, 4.0]), np.array([30.0, 40.0]), o.init(np.zeros(2)))
    >>> print(x)
    [2.7 3.6]
    """

    lr: Rate = hyper(0.01, "[0, inf)", "γ.")
    beta: float = hyper(1.0, "[0, 1]", "β; 1 makes every step of length γ, 0 is gradient descent.")
    floor: float = hyper(0.0, "[0, inf)",
        "Norms below are taken as `floor`: with β = 1 this is clipping. The paper has none (0).")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        check_start(x, "x")
        return {"t": 0}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step from the gradient `g`."""
        t = s["t"] + 1
        return normalized_step(x, g, self.rate(t), self.beta, self.floor), {"t": t}


def normalized_step(x: Params, g: Params, lr: float, beta: float, floor: float = 0.0) -> Params:
    """Return ``x - lr g / max(||g||, floor)^beta``, or `x` where that is 0/0."""
    length = max(params.norm(g), floor)
    if length == 0.0:
        return params.copied(x)
    return params.axpy(-lr / length**beta, g, x)


@register(
    "spider",
    source=FANG,
    where="Algorithm 1 (SPIDER-SFO), with the normalised step of the source below",
    also=(CHEN,),
)
class Spider(Method):
    """SPIDER: normalised steps along a gradient estimate that is carried from point to point.

    Every q steps ``v_t = ∇f_S(w_t)`` on a large sample S; between,
    ``v_t = v_{t-1} + ∇f_{S'}(w_t) - ∇f_{S'}(w_{t-1})`` with the same small sample at both points. Then
    ``w_{t+1} = w_t - γ v_t / ||v_t||``.

    Notes
    -----
    S' is the driver's batch (``minimize(..., batch_size=...)``). The theory's output is an iterate
    drawn at random; a run returns the last.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "spider", lr=0.01, period=10, steps=20, batch_size=16)
    >>> r.calls["grad"]  # two a step, but one where a period begins
    38
    """

    lr: Rate = hyper(0.01, "[0, inf)", "γ, the length of every step.")
    period: int = hyper(10, "int [1, inf)", "q.")
    large_batch: int | None = hyper(
        None, "int [1, inf)", "The size of S, drawn without replacement; None takes all examples."
    )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        return {"t": 0, "v": params.zeros_like(x), "last": params.copied(x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Refresh or carry on the estimate; then one normalised step."""
        t = s["t"]
        if t % self.period == 0:
            v = params.copied(self._large(oracle).grad(x))
        else:
            here, there = params.copied(oracle.grad(x)), oracle.grad(s["last"])
            v = params.map_leaves(lambda e, a, b: e + (a - b), s["v"], here, there)
        return normalized_step(x, v, self.rate(t + 1), 1.0), {"t": t + 1, "v": v, "last": x}

    def _large(self, oracle: Oracle) -> Oracle:
        n = oracle.n_examples
        if self.large_batch is None or self.large_batch >= n:
            return oracle.full
        return oracle.on(oracle.rng.choice(n, size=self.large_batch, replace=False))
