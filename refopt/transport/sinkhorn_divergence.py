"""The debiased Sinkhorn divergence between point clouds, with its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refopt.core.arrays import Array, Namespace, eye_like, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import TransportResult
from refopt.transport.problem import (
    BlockedPlan,
    PointCloud,
    Transport,
    check_regularisation,
    pairing,
    report,
    transport_problem,
)
from refopt.transport.scaling import exchanged, gibbs, log_safe, row_potential
from refopt.transport.sinkhorn_log import sinkhorn_log

FEYDY = Source(
    "feydy-2019-interpolating",
    "J. Feydy, T. Séjourné, F.-X. Vialard, S. Amari, A. Trouvé, G. Peyré",
    "Interpolating between Optimal Transport and MMD using Sinkhorn Divergences",
    arxiv="1810.08278",
)
GENEVAY = Source(
    "genevay-2018-learning",
    "A. Genevay, G. Peyré, M. Cuturi",
    "Learning Generative Models with Sinkhorn Divergences",
    arxiv="1706.00292",
)
Function = Callable[[Array, Array], Array]
Pull = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class DivergenceResult(TransportResult):
    """A `TransportResult` of the pair (x, y) with the divergence beside it.

    Attributes
    ----------
    value : array of shape ()
        The divergence.
    gradient_x, gradient_y : array
        Its derivatives in the points, of shapes (n, d) and (m, d).
    """

    gradient_x: Array = None
    gradient_y: Array = None


def symmetric_sinkhorn(problem: Transport, reg: float, tol: float, maxiter: int) -> tuple[Array, Array, int]:
    """Solve the transport of a cloud to itself by ``f <- (f + T f) / 2``; return f, the plan, the passes."""
    xp, a, C = problem.xp, problem.a, problem.C
    f = xp.zeros_like(a)
    f = row_potential(xp, a, f, C, reg)
    f = xp.where(xp.isfinite(f), f / 2, f)
    for k in range(maxiter + 1):
        plan = gibbs(xp, f, f, C, reg)
        error = float(xp.sum(xp.abs(xp.sum(plan, axis=-1) - a)))
        if 2 * error <= tol * problem.mass or k == maxiter:
            break
        new = row_potential(xp, a, f, C, reg)
        f = xp.where(xp.isfinite(f), (f + new) / 2, f)
    return f, plan, k


def _value(problem: Transport, f: Array, g: Array, plan: Array, reg: float, form: str) -> Array:
    r"""Return :math:`OT_\varepsilon` of the KL form by its dual, or the sharp cost."""
    xp, a, b = problem.xp, problem.a, problem.b
    if form == "sharp":
        return xp.sum(plan * problem.C)
    # Potentials carry their weights: f - reg log a is the one of the reference measure a b^T.
    left, right = (
        pairing(h - reg * log_safe(xp, xp.where(w > 0, w, xp.ones_like(w))), w, xp)
        for h, w in ((f, a), (g, b))
    )
    return left + right - reg * (xp.sum(plan) - xp.sum(a))


def _weights(problem: Transport, plan: Array, reg: float, form: str) -> Array:
    """Return the derivative of a value in the entries of C."""
    if form == "kl":
        return plan  # the envelope theorem
    xp, C = problem.xp, problem.C
    n = C.shape[0]
    # The sharp cost moves with the plan: solve for the potentials' adjoint (singular by a constant).
    rows, columns = xp.sum(plan, axis=1), xp.sum(plan, axis=0)
    top = xp.concat([eye_like(C, n) * rows, plan], axis=1)
    bottom = xp.concat([plan.T, eye_like(C) * columns], axis=1)
    right = xp.concat([xp.sum(plan * C, axis=1), xp.sum(plan * C, axis=0)])
    adjoint = xp.matmul(xp.linalg.pinv(xp.concat([top, bottom], axis=0)), right)
    return plan * (1 - (C - adjoint[:n, None] - adjoint[n:]) / reg)


def pull_back(
    xp: Namespace, weights: Array, x: Array, y: Array, C: Array, cost: str | tuple[Function, Pull]
) -> Array:
    """Return ``sum_j weights_ij dC_ij / dx_i``."""
    if not isinstance(cost, str):
        return cost[1](x, y, weights)
    if cost == "sqeuclidean":
        weights = 2 * weights
    else:  # the distance has no derivative at 0; 0 is in its subdifferential
        weights = xp.where(C > 0, weights / xp.where(C > 0, C, xp.ones_like(C)), xp.zeros_like(C))
    return x * xp.sum(weights, axis=1)[:, None] - xp.matmul(weights, y)


def _online_symmetric(
    cloud: PointCloud, a: Array, reg: float, tol: float, maxiter: int
) -> tuple[Array, Array, int]:
    """Do as `symmetric_sinkhorn` over blocks of rows; return f, the plan's row sums and the passes."""
    xp = namespace(a)

    def pulled(f: Array) -> Array:
        parts = [row_potential(xp, a[i:j], f, cloud.rows(i, j), reg) for i, j in cloud.blocks()]
        return xp.concat(parts)

    f = pulled(xp.zeros_like(a))
    f = xp.where(xp.isfinite(f), f / 2, f)
    for k in range(maxiter + 1):
        new = pulled(f)
        # The potential that follows tells the row sums of this one's plan.
        gap = xp.where(a > 0, f, xp.zeros_like(f)) - xp.where(a > 0, new, xp.zeros_like(f))
        rows = a * xp.exp(gap / reg)
        if 2 * float(xp.sum(xp.abs(rows - a))) <= tol * float(xp.sum(a)) or k == maxiter:
            break
        f = xp.where(xp.isfinite(f), (f + new) / 2, f)
    return f, rows, k


def _online_pull(plan: BlockedPlan, cost: str | tuple[Function, Pull]) -> Array:
    """Return ``sum_j P_ij dC_ij / dx_i``, a block of rows at a time."""
    cloud, xp = plan.cloud, namespace(plan.f)
    parts = [
        pull_back(xp, plan.rows(i, j), cloud.x[i:j, :], cloud.y, cloud.rows(i, j), cost)
        for i, j in cloud.blocks()
    ]
    return xp.concat(parts)


def _online(
    cloud: PointCloud,
    a: Any,
    b: Any,
    reg: float,
    cost: str | tuple[Function, Pull],
    tol: float | None,
    maxiter: int,
) -> DivergenceResult:
    """Return the divergence of the KL form without a matrix of costs."""
    xp = namespace(cloud.x)
    problem = transport_problem(a, b, cloud, clouds=True)
    tol = check_regularisation(reg, tol, maxiter, cloud.dtype, xp)
    solved = sinkhorn_log(problem.a, problem.b, cloud, reg, tol=tol, maxiter=maxiter)
    f, g = solved.potentials
    ones = xp.ones_like(problem.b)[:, None]
    value = _value(problem, f, g, solved.plan.apply(ones), reg, "kl")
    other = BlockedPlan(exchanged(cloud), g, f, reg)
    gradients = [_online_pull(solved.plan, cost), _online_pull(other, cost)]
    iterations, worst = solved.iterations, solved.marginal_error
    for side, (points, mass) in enumerate(((cloud.x, problem.a), (cloud.y, problem.b))):
        own = PointCloud(points, points, cloud.cost)
        f, rows, passes = _online_symmetric(own, mass, reg, tol, maxiter)
        value = value - _value(Transport(xp, mass, mass, own), f, f, rows, reg, "kl") / 2
        gradients[side] = gradients[side] - _online_pull(BlockedPlan(own, f, f, reg), cost)
        iterations = max(iterations, passes)
        worst = xp.maximum(worst, 2 * xp.sum(xp.abs(rows - mass)))
    return _result(solved, worst, iterations, tol * problem.mass, value, gradients)


def _result(
    solved: TransportResult,
    worst: Array,
    iterations: int,
    wanted: float,
    value: Array,
    gradients: list[Array],
) -> DivergenceResult:
    """Put the outcome of the three solves into words."""
    status = "converged" if float(worst) <= wanted else "iterations"
    message = f"marginal error of the three solves at most {float(worst):.3g} (wanted {wanted:.3g})"
    return DivergenceResult(
        solved.plan, solved.cost, solved.potentials, worst, iterations, status, message,
        value, gradient_x=gradients[0], gradient_y=gradients[1],
    )  # fmt: skip


@register(
    "sinkhorn-divergence",
    kind="transport",
    source=FEYDY,
    where="the debiased divergence S_eps",
    also=(GENEVAY,),
    dialects={
        "pot": Dialect({"form": "sharp"}, "POT 0.9.7 empirical_sinkhorn_divergence", "clipped at 0 there")
    },
)
def sinkhorn_divergence(
    x: Any,
    y: Any,
    reg: float,
    *,
    a: Any = None,
    b: Any = None,
    form: str = "kl",
    cost: str | tuple[Function, Pull] = "sqeuclidean",
    tol: float | None = None,
    maxiter: int = 10_000,
    online: bool = False,
) -> DivergenceResult:
    r"""Debiased entropic transport between two weighted clouds of points.

    .. math:: S_\varepsilon = OT_\varepsilon(a, b)
              - \tfrac12 OT_\varepsilon(a, a) - \tfrac12 OT_\varepsilon(b, b)

    Parameters
    ----------
    x : array of shape (n, d)
    y : array of shape (m, d)
        The points.
    reg : float
        :math:`\varepsilon > 0` in units of the cost.
    a, b : array of shape (n,) and (m,), optional
        Masses of equal total; uniform if left out.
    form : {"kl", "sharp"}
        "kl" (Feydy et al.), at least 0:
        :math:`OT_\varepsilon = \min \langle P, C\rangle + \varepsilon KL(P \| a b^T)`. "sharp" (Genevay et
        al.): :math:`\langle P, C\rangle` at that P, which may be negative.
    cost : {"sqeuclidean", "euclidean"} or pair of callables
        :math:`\|x - y\|^2` (no factor one half), or its root; or any symmetric cost by a pair
        ``c(x, y) -> (n, m)`` and ``pull(x, y, w) -> (n, d)`` with
        :math:`\sum_j w_{ij}\, \partial c(x_i, y_j) / \partial x_i`.
    tol : float, optional
        As in `refopt.transport.sinkhorn.sinkhorn`, for each of the three solves.
    maxiter : int
        Largest number of passes of each.
    online : bool
        No matrix of costs is kept: blocks of rows are formed anew in every pass, for clouds whose matrix does not fit. The "kl"
        form alone; its plan is a `refopt.transport.problem.BlockedPlan`.

    Returns
    -------
    DivergenceResult
        The transport from x to y, with ``value``, ``gradient_x`` and ``gradient_y``.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `refopt.transport.sinkhorn.sinkhorn`.

    Notes
    -----
    The terms (a, a) and (b, b) take averaged Sinkhorn passes. The gradient of "kl" is that of the cost at
    fixed plans; that of "sharp" solves one dense linear system for each of the three plans.

    References
    ----------
    Feydy et al. (2019), Interpolating between Optimal Transport and MMD using Sinkhorn Divergences,
    arXiv:1810.08278. Genevay, Peyré, Cuturi (2018), arXiv:1706.00292.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> r = sinkhorn_divergence(x, x + 1, reg=0.5)  # a shift costs its square
    >>> round(float(r.value), 6), r.gradient_y.round(4).tolist()
    (1.0, [[0.6667], [0.6667], [0.6667]])
    """
    if form not in ("kl", "sharp"):
        raise ArgumentError(f"form: wanted 'kl' or 'sharp', got {form!r}")
    if not isinstance(cost, str) and not (
        isinstance(cost, tuple) and len(cost) == 2 and all(map(callable, cost))
    ):
        raise ArgumentTypeError(f"cost: wanted a name or a pair (c, pull) of functions, got {cost!r}")
    function = cost if isinstance(cost, str) else cost[0]
    cloud = PointCloud(x, y, function)
    if online:
        if form != "kl":
            raise ArgumentError(
                f"online: wanted the form 'kl', got {form!r}, whose gradient solves dense systems"
            )
        return _online(cloud, a, b, reg, cost, tol, maxiter)
    x, y = cloud.x, cloud.y
    xp = namespace(x)
    between = transport_problem(a, b, cloud.rows(0, cloud.shape[0]), batched=False)
    tol = check_regularisation(reg, tol, maxiter, x.dtype, xp)
    solved = sinkhorn_log(between.a, between.b, between.C, reg, tol=tol, maxiter=maxiter)
    f, g = solved.potentials
    value = _value(between, f, g, solved.plan, reg, form)
    weights = _weights(between, solved.plan, reg, form)
    gradients = [
        pull_back(xp, weights, x, y, between.C, cost),
        pull_back(xp, weights.T, y, x, between.C.T, cost),
    ]
    iterations, worst = solved.iterations, solved.marginal_error
    for side, (points, mass) in enumerate(((x, between.a), (y, between.b))):
        own = Transport(xp, mass, mass, PointCloud(points, points, function).rows(0, points.shape[0]))
        f, plan, passes = symmetric_sinkhorn(own, reg, tol, maxiter)
        value = value - _value(own, f, f, plan, reg, form) / 2
        weights = _weights(own, plan, reg, form)
        # The points stand in both arguments; the factor one half of the term makes it a mean.
        weights = (weights + weights.T) / 2
        gradients[side] = gradients[side] - pull_back(xp, weights, points, points, own.C, cost)
        iterations = max(iterations, passes)
        worst = xp.maximum(worst, report(own, plan, (f, f), passes, tol).marginal_error)
    return _result(solved, worst, iterations, tol * between.mass, value, gradients)
