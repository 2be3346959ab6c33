"""Implicit differentiation with an approximate inverse Hessian (Lorraine, Vicol, Duvenaud 2020)."""

from __future__ import annotations

from collections.abc import Callable

from refopt.bilevel.base import Bilevel, descend, hypergradient, pair, solver
from refopt.core.arrays import Array
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, register

LORRAINE = Source("lorraine-2020-optimizing", "J. Lorraine, P. Vicol, D. Duvenaud",
    "Optimizing Millions of Hyperparameters by Implicit Differentiation", arxiv="1911.02590")  # fmt: skip
NEEDS = ("upper_grad", "lower_grad", "lower_hvp", "lower_mixed")


class Implicit(Bilevel):
    """Base of both: some lower steps from where y is, then one step against the implicit hypergradient."""

    lower_lr: float = hyper(0.1, "[0, inf)", "Rate of the lower player's gradient steps.")
    lower_steps: int = hyper(10, "int [1, inf)", "Lower steps before each upper one.")

    def inverse(self, product: Callable[[Array], Array], b: Array) -> Array:
        """Return about ``H⁻¹ b``."""
        raise NotImplementedError

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Bring y near its best response, and step x."""
        t = s["t"] + 1
        x = descend(oracle, x, self.lower_lr, self.lower_steps)
        d = hypergradient(oracle, x, self.inverse)
        return pair(x["upper"] - self.rate(t) * d, x["lower"]), {"t": t}


@register("ift-neumann", source=LORRAINE, where="Algorithms 1 to 3", needs=NEEDS,
    calm_problem=("bilevel-quadratic", {}))  # fmt: skip
class IFTNeumann(Implicit):
    """Implicit hypergradients whose inverse Hessian is a Neumann series of K terms.

    ``y ← y - β ∇_y f`` some times, then ``x ← x - α (∇_x F - ∇²_xy f q)`` with ``q = a Σ_{j=0}^{K} (I - a H)^j ∇_y F``,
    ``H = ∇²_yy f``: the error of q is ``(I - a H)^{K+1} H⁻¹ ∇_y F``, and vanishes for a < 2/λ_max. K = 0 is the identity,
    times a; K terms are as differentiating through K + 1 steps of size a.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("bilevel-quadratic", scalar=True)
    >>> r = refopt.minimize(p, "ift-neumann", lr=0.3, lower_lr=0.5, terms=20, steps=100)
    >>> print(np.round(r.x["upper"], 5), round(r.fun, 6), round(r.lower_fun, 6))
    [0.5] 0.25 -0.125
    """

    terms: int = hyper(20, "int [0, inf)", "K, Hessian products a step.")
    alpha: float | None = hyper(None, "(0, inf)", "a. None: the lower player's rate.")
    scaled: bool = hyper(True,
        words="False: q without the factor a in front, as the paper's Algorithm 3 prints it; where ∇_x F = 0 that only"
        " rescales α.")  # fmt: skip

    def inverse(self, product: Callable[[Array], Array], b: Array) -> Array:
        """Return the partial sum."""
        a = self.lower_lr if self.alpha is None else self.alpha
        v = total = b
        for _ in range(self.terms):
            v = v - a * product(v)
            total = total + v
        return a * total if self.scaled else total


@register("ift-cg", source=LORRAINE, where="Algorithm 1, with conjugate gradients for the inverse (Section 2.2)",
    needs=NEEDS, calm_problem=("bilevel-quadratic", {}))  # fmt: skip
class IFTCG(Implicit):
    """Implicit hypergradients whose linear system is solved by conjugate gradients.

    ``y ← y - β ∇_y f`` some times, then ``x ← x - α (∇_x F - ∇²_xy f q)``, where q is what K passes of conjugate gradients
    make of ``∇²_yy f q = ∇_y F`` from 0: exact in as many passes as H has different eigenvalues.

    Notes
    -----
    On a direction of negative curvature the passes end early, with what there is.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("ridge-hyperparameter", single=True)
    >>> r = refopt.minimize(p, "ift-cg", {"upper": np.zeros(1), "lower": np.zeros((1, 4))}, lr=5.0, lower_lr=0.3, steps=60)
    >>> print(np.round(r.x["upper"], 4), bool(abs(p.hypergradient(r.x["upper"])).max() < 1e-6))
    [-0.14] True
    """

    cg_steps: int = hyper(10, "int [1, inf)", "K, at most so many Hessian products a step.")
    rtol: float = hyper(0.0, "[0, 1)", "Stop at a residual of so much times the first.")

    def inverse(self, product: Callable[[Array], Array], b: Array) -> Array:
        """Return what conjugate gradients reach."""
        return solver(self.cg_steps, self.rtol)(product, b)
