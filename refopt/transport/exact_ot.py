"""Unregularised optimal transport of small problems, as an assignment or a linear program."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core.arrays import detached, like, to_numpy
from refopt.core.errors import ConvergenceError
from refopt.core.registry import register
from refopt.core.result import TransportResult
from refopt.transport.problem import report, transport_problem
from refopt.transport.sinkhorn_log import PEYRE


def assignment(C: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns of the cheapest assignment of a square cost, and potentials f, g that prove it.

    ``f_i + g_j <= C_ij`` with equality on the assignment.

    Examples
    --------
    >>> columns, f, g = assignment(np.array([[4.0, 1.0], [2.0, 3.0]]))
    >>> columns.tolist(), float(f.sum() + g.sum())
    ([1, 0], 3.0)
    """
    from scipy.optimize import (
        linear_sum_assignment,
    )  # loaded here: it takes longer than the rest of a first look-up

    columns = linear_sum_assignment(C)[1]
    paid = C[np.arange(C.shape[0]), columns]
    # f_i - f_k is at most what row i would pay for k's column beyond k: shortest paths, by Bellman and Ford.
    extra = C[:, columns].T - paid[:, None]
    f = np.zeros(C.shape[0], dtype=C.dtype)
    for _ in range(C.shape[0]):
        shorter = np.min(f[:, None] + extra, axis=0)
        if np.all(shorter >= f):
            break
        f = np.minimum(f, shorter)
    g = np.empty_like(f)
    g[columns] = paid - f
    return columns, f, g


def linear_program(a: np.ndarray, b: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an optimal plan and potentials by SciPy's HiGHS.

    Raises
    ------
    ConvergenceError
        HiGHS gave up.
    """
    import scipy.sparse
    from scipy.optimize import linprog

    n, m = C.shape
    rows = scipy.sparse.kron(scipy.sparse.eye_array(n), np.ones((1, m)))
    columns = scipy.sparse.kron(np.ones((1, n)), scipy.sparse.eye_array(m))
    # One equation follows from the others; left in, rounding of the totals may make the program infeasible.
    found = linprog(
        C.ravel(), A_eq=scipy.sparse.vstack([rows, columns], format="csr")[:-1],
        b_eq=np.concatenate([a, b[:-1]]), method="highs",
    )  # fmt: skip
    if found.status != 0:
        raise ConvergenceError(f"exact-ot: the linear program was not solved: {found.message}")
    dual = found.eqlin.marginals
    return found.x.reshape(n, m), dual[:n], np.append(dual[n:], 0.0)


@register("exact-ot", kind="transport", source=PEYRE, where="section 3.1, Kantorovich's linear programs")
def exact_ot(a: Any, b: Any, C: Any) -> TransportResult:
    r"""Optimal transport without regularisation, for small problems.

    Minimises :math:`\langle P, C\rangle` over the plans with marginals a and b; the dual maximises
    :math:`\langle f, a\rangle + \langle g, b\rangle` subject to :math:`f_i + g_j \le C_{ij}`.

    Parameters
    ----------
    a : array of shape (n,) or None
        Row masses, at least 0; None is uniform with total 1.
    b : array of shape (m,) or None
        Column masses of the same total.
    C : array of shape (n, m)
        Cost.

    Returns
    -------
    TransportResult
        Its plan has at most n + m - 1 entries that are not 0; ``value`` is the cost. ``iterations`` is 0.

    Raises
    ------
    ConvergenceError
        The linear program was not solved.
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `refopt.transport.sinkhorn.sinkhorn`.

    Notes
    -----
    Equal masses in equal number are an assignment, by SciPy's ``linear_sum_assignment``, O(n^3); others a linear program of
    n m unknowns by HiGHS, meant for up to some hundred points a side. Both run in float64 on the host. Of torch tensors that ask for
    gradients ``value`` has the linear program's: by C the plan, by a and b the potentials, which hold up to a constant.

    Examples
    --------
    >>> r = exact_ot(np.array([0.5, 0.5]), np.array([0.25, 0.75]), np.array([[0.0, 1.0], [2.0, 0.5]]))
    >>> r.plan.tolist(), float(r.value)
    ([[0.25, 0.25], [0.0, 0.5]], 0.5)
    """
    problem = transport_problem(a, b, C, batched=False)
    ha, hb, hC = (to_numpy(v).astype(np.float64) for v in (problem.a, problem.b, problem.C))
    if ha.size == hb.size and np.all(ha == ha[0]) and np.all(hb == hb[0]):
        columns, f, g = assignment(hC)
        plan = np.zeros_like(hC)
        plan[np.arange(ha.size), columns] = ha[0]
    else:
        # HiGHS has absolute tolerances: costs and masses of size 1.
        unit, total = float(np.max(np.abs(hC))) or 1.0, float(ha.sum())
        plan, f, g = linear_program(ha / total, hb / total, hC / unit)
        plan, f, g = total * plan, unit * f, unit * g
    found = like(plan, problem.C)
    value = problem.xp.sum(found * problem.C)
    for masses, slopes in ((problem.a, f), (problem.b, g)):
        still = detached(masses)
        if still is not masses:  # a graph: the value's derivatives by the masses are the potentials
            value = value + problem.xp.sum(like(slopes, masses) * (masses - still))
    dual = like(ha @ f + hb @ g, problem.C)
    potentials = like(f, problem.C), like(g, problem.C)
    # Above what HiGHS leaves (1e-7) and what rounds in float32.
    return report(problem, found, potentials, 0, 1e-6, values=(value, dual))
