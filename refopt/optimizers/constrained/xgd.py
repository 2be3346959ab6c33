"""Cross gradient descent for sums of log-concave functions (Achab 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import Array, like, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from refopt.core.hyper import Rate, check_number, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import register
from refopt.problems.checkered_regression import ACHAB


@register("xgd", source=ACHAB, where="the XGD update", needs=("term_weights", "term_grad"))
class XGD(Method):
    """Cross gradient descent: a sum of log-concave functions by its terms' gradients under fixed weights.

    For ``F = -log Σ_s exp(-ℓ_s)`` with convex ℓ_s: ``θ_t = θ_{t-1} - γ_t Σ_s μ_s ∇ℓ_s(θ_{t-1})``, μ in the simplex; gradient descent has the shares
    ``exp(-ℓ_s)/Σ exp(-ℓ)`` at θ_{t-1} for μ. "Seen from η", μ are the shares at η.

    Notes
    -----
    Of a mean of such functions over examples, each has its weights: μ is one law for all, or every example's shares at η. Where
    every ℓ_s is B-Lipschitz, ``Σ γ_t (F(θ_{t-1}) - F(η)) <= ‖θ_0 - η‖²/2 + B² Σ γ_t²/2`` for the η from which the gradients are seen.

    Raises
    ------
    ArgumentError, ShapeError
        Weights that are no law, of another number than the terms, or beside a point to see from.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("checkered-regression")
    >>> saddle = np.zeros((2, 2))
    >>> stays = refopt.minimize(p, "sgd", saddle, lr=1.0, steps=50).fun
    >>> seen = refopt.minimize(p, "xgd", saddle, lr=1.0, seen_from=p.start(), steps=50).fun
    >>> bool(seen < 0.95 * stays)
    True
    """

    lr: Rate = hyper(0.1, "[0, inf)", "γ.")
    weights: tuple[float, ...] | None = hyper(None,
        words="μ, one number a term. None: all equal, or as `seen_from` says.", kind="tuple of float")  # fmt: skip
    seen_from: Any = hyper(None, words="η, like x.", kind="array or dict of arrays")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is None:
            return
        if self.seen_from is not None:
            raise ArgumentError("weights: give them, or seen_from, not both")
        if not isinstance(self.weights, (tuple, list)):
            raise ArgumentTypeError(f"weights: wanted a tuple of numbers, got {self.weights!r}")
        for i, w in enumerate(self.weights):
            check_number(w, "[0, 1]", f"weights[{i}]")
        if abs(sum(self.weights) - 1.0) > 1e-12:
            raise ArgumentError(f"weights: wanted numbers of the sum 1, got {self.weights!r}")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        params.check_start(x, "x")
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step against the terms' gradients under μ."""
        t = s["t"] + 1
        return params.axpy(-self.rate(t), oracle.term_grad(x, self.law(x, oracle)), x), {"t": t}

    def law(self, x: Params, oracle: Oracle) -> Array:
        """Return μ for every example."""
        shares = oracle.term_weights(x if self.seen_from is None else self.seen_from)
        if self.seen_from is not None:
            return shares
        n = shares.shape[-1]
        law = np.full(n, 1.0 / n) if self.weights is None else np.asarray(self.weights, dtype=np.float64)
        if law.shape != (n,):
            raise ShapeError(f"weights: wanted {n} numbers, one a term, got {law.size}")
        return namespace(shares).zeros_like(shares) + like(law, shares)

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of the cross gradient."""
        return params.max_abs(oracle.term_grad(x, self.law(x, oracle)))
