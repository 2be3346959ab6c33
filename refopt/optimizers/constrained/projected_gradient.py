"""The projected gradient method, as in the Handbook of Garrigos and Gower (2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.known_rate import KnownRate
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import register
from refopt.optimizers.constrained.proximal import GARRIGOS


@register(
    "projected-gradient",
    source=GARRIGOS,
    where="proximal gradient with the indicator of a set, and its projected subgradient method",
    needs=("grad", "project"),
    known_rate=KnownRate("1 / L", lambda L, mu: {"lr": 1.0 / L}),
)
class ProjectedGradient(Method):
    """The projected gradient method: a gradient step, then the nearest feasible point.

    ``x_{t+1} = P_C(x_t - γ ∇f(x_t))``, C closed and convex. A start outside C is inside after the first step.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(
    ...     lambda x: np.sum((x - 2.0) ** 2), lambda x: 2.0 * (x - 2.0), project=lambda x: np.clip(x, 0.0, 1.0), x0=np.zeros(2)
    ... )
    >>> print(refopt.minimize(p, "projected-gradient", lr=0.4, steps=3).x)
    [1. 1.]
    """

    lr: Rate = hyper(1e-2, "[0, inf)", "γ: at most 1 / L, or 2 / L short of it, for an L-smooth f.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one projected step."""
        t = s["t"] + 1
        return oracle.project(params.axpy(-self.rate(t), oracle.grad(x), x)), {"t": t}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of ``(x - P_C(x - γ ∇f(x))) / γ``, zero at minimisers; 0 for γ = 0."""
        gamma = self.rate(s["t"] + 1)
        if gamma == 0.0:
            return 0.0
        after = oracle.project(params.axpy(-gamma, oracle.grad(x), x))
        return params.max_abs(params.subtract(x, after)) / gamma
