"""Entropic optimal transport by Sinkhorn's scaling of the Gibbs kernel."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from refopt.core.arrays import Array
from refopt.core.errors import ConvergenceError
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import TransportResult
from refopt.transport.problem import (
    Transport,
    check_regularisation,
    report,
    start_potentials,
    transport_problem,
)
from refopt.transport.scaling import columns_first, entropic_values, log_safe, scaling_class, transposed

CUTURI = Source(
    "cuturi-2013-sinkhorn",
    "M. Cuturi",
    "Sinkhorn Distances: Lightspeed Computation of Optimal Transport",
    arxiv="1306.0895",
)
POT = Dialect({"first": "columns"}, "POT 0.9.7", "columns first and rows last, so the row marginal is exact")


@register(
    "sinkhorn",
    kind="transport",
    source=CUTURI,
    where="Algorithm 1",
    dialects={"pot": POT},
)
def sinkhorn(
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
    r"""Entropic optimal transport by matrix scaling.

    Minimises :math:`\langle P, C\rangle + \varepsilon \sum P \log P` over the plans with marginals a
    and b. With :math:`K = e^{-C/\varepsilon}` a pass is

    .. math:: u = a / (K v),\qquad v = b / (K^T u),\qquad P = \operatorname{diag}(u) K \operatorname{diag}(v).

    Parameters
    ----------
    a : array of shape (..., n) or None
        Row masses, at least 0; None is uniform with total 1.
    b : array of shape (..., m) or None
        Column masses of the same total.
    C : array of shape (..., n, m)
        Cost. Leading axes are a batch, broadcast against those of a and b.
    reg : float
        :math:`\varepsilon > 0` in units of C. Below about max(C) / 700 (float64) K underflows: use
        `sinkhorn_log`.
    tol : float, optional
        Stop at a marginal error (1-norm) of at most tol times the mass; 1e-9, in float32 1e-5.
    maxiter : int
        Largest number of passes.
    potentials : tuple of two arrays, optional
        Warm start (f, g), for example from an earlier result.
    first : {"rows", "columns"}
        Which half-step comes first; the marginal of the other one is exact (POT: "columns").
    engine : {"auto", "array", "numba"}
        ``"numba"`` reads K once a pass; ``"auto"`` takes it for one NumPy problem of at least 10000
        entries where Numba is installed.

    Returns
    -------
    TransportResult
        With potentials ``f = reg log u``, ``g = reg log v`` (minus infinity at a zero mass).

    Raises
    ------
    ConvergenceError
        K underflowed so that a positive mass has nothing to go to.
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        Wrong shapes or dtypes, negative or unequal masses, reg not positive.

    Examples
    --------
    >>> import numpy as np
    >>> r = sinkhorn(None, None, np.array([[0.0, 1.0], [1.0, 0.0]]), reg=0.5)
    >>> r.status, np.round(r.plan, 4).tolist()
    ('converged', [[0.4404, 0.0596], [0.0596, 0.4404]])
    """
    problem = transport_problem(a, b, C)
    tol = check_regularisation(reg, tol, maxiter, problem.C.dtype, problem.xp)
    f, g = start_potentials(potentials, problem)
    if columns_first(first):
        r = _sinkhorn(transposed(problem), reg, tol, maxiter, (g, f), engine)
        return dataclasses.replace(
            r, plan=problem.xp.matrix_transpose(r.plan), potentials=(r.potentials[1], r.potentials[0])
        )
    return _sinkhorn(problem, reg, tol, maxiter, (f, g), engine)


def _sinkhorn(
    problem: Transport, reg: float, tol: float, maxiter: int, start: tuple[Array, Array], engine: str
) -> TransportResult:
    xp = problem.xp
    K = xp.exp(-problem.C / reg)
    one_pass = scaling_class(engine, problem)(problem, K)
    u, v = xp.exp(start[0] / reg), xp.exp(start[1] / reg)
    iterations = 0
    while iterations < maxiter:
        new_u, new_v, error, low, high = one_pass(u, v)
        if error <= tol * problem.mass and iterations > 0:
            break
        if not (low > 0 and math.isfinite(high)):
            raise ConvergenceError(
                f"reg: {reg:g} is so small against C (largest {float(xp.max(problem.C)):.3g}) that"
                " exp(-C / reg) underflows; use sinkhorn-log, or a larger reg"
            )
        u, v, iterations = new_u, new_v, iterations + 1
    plan = u[..., :, None] * K * v[..., None, :]
    f, g = reg * log_safe(xp, u), reg * log_safe(xp, v)
    values = entropic_values(problem, plan, f, g, reg)
    return report(problem, plan, (f, g), iterations, tol, values=values)
