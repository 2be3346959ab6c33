"""Entropic optimal transport in the log domain, with absorbed potentials or over blocks of a cloud."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array
from refopt.core.registry import Source, register
from refopt.core.result import TransportResult
from refopt.transport.problem import (
    BlockedPlan,
    PointCloud,
    Transport,
    check_regularisation,
    pairing,
    report,
    start_potentials,
    transport_problem,
)
from refopt.transport.scaling import (
    column_potential,
    columns_first,
    entropic_values,
    entropy,
    gibbs,
    log_safe,
    log_sum_exp,
    row_potential,
    scaling_class,
    transposed,
)
from refopt.transport.sinkhorn import CUTURI, POT

PEYRE = Source(
    "peyre-2019-computational",
    "G. Peyré, M. Cuturi",
    "Computational Optimal Transport",
    arxiv="1803.00567",
)


@register(
    "sinkhorn-log",
    kind="transport",
    source=PEYRE,
    where="section 4.4",
    also=(CUTURI,),
    dialects={"pot": POT},
)
def sinkhorn_log(
    a: Any,
    b: Any,
    C: Any,
    reg: float,
    *,
    tol: float | None = None,
    maxiter: int = 10_000,
    potentials: tuple[Any, Any] | None = None,
    first: str = "rows",
    engine: str = "auto",
) -> TransportResult:
    r"""Entropic optimal transport in the log domain, for any regularisation.

    In potentials (units of C) a pass is

    .. math:: f_i = \varepsilon\log a_i - \varepsilon\,\mathrm{LSE}_j\frac{g_j - C_{ij}}{\varepsilon},\qquad
              g_j = \varepsilon\log b_j - \varepsilon\,\mathrm{LSE}_i\frac{f_i - C_{ij}}{\varepsilon}.

    Parameters
    ----------
    a, b, tol, maxiter, potentials, first, engine
        As in `sinkhorn`.
    C : array of shape (..., n, m) or PointCloud
        Of a `refopt.transport.problem.PointCloud` only blocks of rows exist at a time.
    reg : float
        :math:`\varepsilon > 0` in units of C.

    Returns
    -------
    TransportResult
        For a point cloud, `plan` is a `BlockedPlan` (``rows``, ``apply``, ``dense``).

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `sinkhorn`.

    Notes
    -----
    For a matrix the potentials are absorbed: ``K = exp((f + g - C) / reg)`` is scaled by u and v as in
    `sinkhorn`, and only when one of them leaves the safe range do f and g take them up and K is formed
    anew (Schmitzer's stabilisation). Pass by pass this is the iteration above to rounding, at the cost
    of two products with K in place of two log-sum-exps.

    References
    ----------
    Peyré, Cuturi (2019), Computational Optimal Transport, arXiv:1803.00567, section 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> r = sinkhorn_log(None, None, np.array([[0.0, 1.0], [1.0, 0.0]]), reg=1e-4)
    >>> r.status, r.plan.tolist()
    ('converged', [[0.5, 0.0], [0.0, 0.5]])
    """
    problem = transport_problem(a, b, C, clouds=True)
    tol = check_regularisation(reg, tol, maxiter, problem.C.dtype, problem.xp)
    f, g = start_potentials(potentials, problem)
    swap = columns_first(first)
    work = transposed(problem) if swap else problem
    if isinstance(work.C, PointCloud):
        return _cloud(problem, work, reg, tol, maxiter, g if not swap else f, swap)
    f, g, plan, iterations = _absorbed(work, reg, tol, maxiter, (g, f) if swap else (f, g), engine)
    if swap:
        f, g, plan = g, f, problem.xp.matrix_transpose(plan)
    values = entropic_values(problem, plan, f, g, reg)
    return report(problem, plan, (f, g), iterations, tol, values=values)


def _absorbed(
    problem: Transport, reg: float, tol: float, maxiter: int, start: tuple[Array, Array], engine: str
) -> tuple[Array, Array, Array, int]:
    """Iterate scalings of an absorbed kernel; return f, g, the plan and the passes."""
    xp, a, b, C = problem.xp, problem.a, problem.b, problem.C
    scaling = scaling_class(engine, problem)
    # exp(-limit) twice is far above the smallest number: what K loses to underflow stays negligible.
    limit = math.exp(100.0 if xp.finfo(C.dtype).bits == 64 else 15.0)
    f, g = start
    iterations = 0
    while iterations < maxiter:
        f = row_potential(xp, a, g, C, reg)
        g = column_potential(xp, b, f, C, reg)
        iterations += 1
        safe = True
        while safe:
            one_pass = scaling(problem, gibbs(xp, f, g, C, reg))
            u, v = xp.ones_like(f), xp.ones_like(g)
            while True:
                new_u, new_v, error, low, high = one_pass(u, v)
                done = error <= tol * problem.mass or iterations >= maxiter
                # A total that underflowed to zero needs the log-sum-exp of the next outer pass.
                safe = low > 0 and math.isfinite(high)
                if done or not safe:
                    break
                u, v, iterations = new_u, new_v, iterations + 1
                if high > limit or low < 1 / limit:
                    break
            f, g = f + reg * log_safe(xp, u), g + reg * log_safe(xp, v)
            if done:
                return f, g, u[..., :, None] * one_pass.K * v[..., None, :], iterations
    return f, g, gibbs(xp, f, g, C, reg), iterations


def _cloud(
    problem: Transport, work: Transport, reg: float, tol: float, maxiter: int, g: Array, swap: bool
) -> TransportResult:
    """Iterate log-sum-exps over blocks of rows; the cost is formed once a pass."""
    xp, a, b, cloud = work.xp, work.a, work.b, work.C
    f, error, iterations = xp.zeros_like(a), xp.zeros_like(a[0]), 0
    while True:
        # Row potentials, the error of the previous pair and, block by block, the column sums of the new.
        new_f, error = [], xp.zeros_like(a[0])
        top, total = xp.full_like(b, -math.inf), xp.zeros_like(b)
        for start, stop in cloud.blocks():
            rows = cloud.rows(start, stop)
            part = reg * (log_safe(xp, a[start:stop]) - log_sum_exp(xp, (g - rows) / reg, -1))
            if iterations:
                zero = xp.zeros_like(part)
                old, new = (xp.where(xp.isfinite(part), v, zero) for v in (f[start:stop], part))
                sums = a[start:stop] * xp.exp((old - new) / reg)
                error = error + xp.sum(xp.abs(sums - a[start:stop]))
            exponents = (part[:, None] - rows) / reg
            new_top = xp.maximum(top, xp.max(exponents, axis=0))
            new_top = xp.where(xp.isfinite(new_top), new_top, xp.zeros_like(new_top))
            total = total * xp.exp(top - new_top) + xp.sum(xp.exp(exponents - new_top), axis=0)
            top = new_top
            new_f.append(part)
        if (iterations and float(error) <= tol * work.mass) or iterations >= maxiter:
            break
        f = xp.concat(new_f)
        g = reg * (log_safe(xp, b) - top - xp.log(total))
        iterations += 1
    plan = BlockedPlan(cloud, f, g, reg)
    cost, penalty, total = (xp.zeros_like(a[0]) for _ in range(3))
    for start, stop in cloud.blocks():
        rows = plan.rows(start, stop)
        cost = cost + xp.sum(rows * cloud.rows(start, stop))
        penalty, total = penalty + entropy(xp, rows), total + xp.sum(rows)
    dual = pairing(f, a, xp) + pairing(g, b, xp) - reg * (total - xp.sum(a))
    status = "converged" if float(error) <= tol * work.mass and iterations else "iterations"
    message = f"marginal error {float(error):.3g} after {iterations} passes (wanted {tol * work.mass:.3g})"
    pair = (g, f) if swap else (f, g)
    if swap:
        plan = BlockedPlan(problem.C, g, f, reg)
    return TransportResult(plan, cost, pair, error, iterations, status, message, cost + reg * penalty, dual)
