"""Kernel principal components by differences of convex functions (Tonin, Lambert, Patrinos and Suykens 2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.errors import ShapeError
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.problem import offers
from refopt.core.registry import register
from refopt.matrix.common import eigh
from refopt.problems.kpca import TONIN, inverted


@register("kpca-dual", source=TONIN, where="the DC algorithm for its dual problem", needs=("gram",),
    calm_problem=("kpca", {"variant": "robust"}))  # fmt: skip
class KPCADual(Method):
    """The DC algorithm for kernel PCA: the concave part of its dual is made linear, the rest minimised.

    For ``min_H ‖H‖²/2 + ψ(H) - tr (Hᵀ G H)^(1/2)``:
    ``Y = G H (Hᵀ G H)^(-1/2)``, ``H ← argmin ‖H‖²/2 + ψ(H) - <Y, H> = prox_ψ(Y)``. ψ = 0 is kernel PCA, and the step one of orthogonal
    iteration; the indicator of short rows or entries is its robust form (the variance is a Huber loss), a multiple of the
    sum of their norms its sparse form (an ε-insensitive one).

    Notes
    -----
    ψ is that of the problem's ``prox``, or the indicator of the set of its ``project``, or 0. The objective never rises. For ``f = ‖H‖²/2 - tr (Hᵀ G H)^(1/2)`` the step is that of `proximal-gradient` or `projected-gradient` at the rate 1; it asks
    for a product with G where that asks for a gradient. Where Hᵀ G H is singular, Y has no part along its null vectors. In the
    authors' code the sparse form with entries has the soft threshold of H in the place of that of Y; that is not followed.

    Raises
    ------
    ShapeError
        x is not one matrix.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("kpca", components=2)
    >>> r = refopt.minimize(p, "kpca-dual", steps=100)
    >>> bool(r.fun - p.optimum < 1e-12)
    True
    """

    has_rate = False
    words = {"schedule": "Not used."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        params.check_start(x, "x")
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make the concave part linear, and minimise."""
        if isinstance(x, dict) or x.ndim != 2:
            raise ShapeError("x0: wanted one matrix, a row a point and a column a component")
        GH = oracle.gram(x)
        values, vectors = eigh(x.T @ GH)
        roots = inverted(values) ** 0.5
        new = (GH @ vectors) * roots @ vectors.T
        if offers(oracle.problem, "prox"):
            new = oracle.prox(new, 1.0)
        elif offers(oracle.problem, "project"):
            new = oracle.project(new)
        return new, {"t": s["t"] + 1}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the largest entry of the next step."""
        return params.max_abs(params.subtract(self.step(x, s, oracle)[0], x))
