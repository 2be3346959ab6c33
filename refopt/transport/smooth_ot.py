"""Quadratically regularised transport by its dual and semi-dual, without and with a bound on nonzeros."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from refopt.core.arrays import Array, detached, like, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import TransportResult
from refopt.linear.operators import unit_of
from refopt.transport.lbfgs import minimise
from refopt.transport.problem import check_regularisation, report, transport_problem

BLONDEL = Source(
    "blondel-2018-smooth",
    "M. Blondel, V. Seguy, A. Rolet",
    "Smooth and Sparse Optimal Transport",
    arxiv="1710.06276",
)
LIU = Source(
    "liu-2023-sparsity",
    "T. Liu, J. Puigcerver, M. Blondel",
    "Sparsity-Constrained Optimal Transport",
    arxiv="2209.15466",
)
DUAL = Dialect({"form": "dual"}, "POT 0.9.7 smooth_ot_dual", "neither marginal is exact")


def largest_only(s: Array, k: int | None) -> Array:
    """Return s with all but the k largest entries of each column at minus infinity (None: all kept)."""
    if k is None or k >= s.shape[0]:
        return s
    xp = namespace(s)
    rank = xp.argsort(xp.argsort(s, axis=0, descending=True), axis=0)
    return xp.where(rank < k, s, -math.inf)


def project_simplex(v: Array) -> Array:
    """Project each column of v onto the simplex; entries at minus infinity go to 0.

    What is taken from every entry is the largest of ``(u_1 + ... + u_i - 1) / i``, u sorted descending.

    Examples
    --------
    >>> import numpy as np
    >>> project_simplex(np.array([[0.8], [0.6], [-1.0]])).round(3).tolist()
    [[0.6], [0.4], [0.0]]
    """
    xp = namespace(v)
    sums = xp.cumulative_sum(xp.sort(v, axis=0, descending=True), axis=0) - 1.0
    counts = like(range(1, v.shape[0] + 1), v)[:, None]
    return positive_part(v - xp.max(sums / counts, axis=0, keepdims=True))


def positive_part(s: Array) -> Array:
    """Return what is positive of s."""
    return namespace(s).where(s > 0, s, namespace(s).zeros_like(s))


def dual_objective(
    alpha: Array, beta: Array, a: Array, b: Array, C: Array, reg: float, k: int | None
) -> tuple[Array, Array]:
    r"""Return :math:`\alpha^T a + \beta^T b - \sum_j \delta(\alpha + \beta_j - C_{:j})` and the plan.

    :math:`\delta(s) = \frac{1}{2\gamma} \sum [s_i]_+^2` over the k largest entries; its gradient
    :math:`T_{:j}` is a column of the plan, and the objective's gradient ``a - T 1``, ``b - T^T 1``.

    Examples
    --------
    >>> import numpy as np
    >>> value, T = dual_objective(*[np.ones(2)] * 4, np.eye(2), 0.5, 1)
    >>> float(value), T.tolist()
    (-4.0, [[0.0, 4.0], [4.0, 0.0]])
    """
    xp = namespace(C)
    positive = positive_part(largest_only(alpha[:, None] + beta - C, k))
    return xp.sum(alpha * a) + xp.sum(beta * b) - xp.sum(positive**2) / (2 * reg), positive / reg


def semi_dual_objective(
    alpha: Array, a: Array, b: Array, C: Array, reg: float, k: int | None
) -> tuple[Array, Array]:
    r"""Return :math:`\alpha^T a - \sum_j b_j \phi_j(\alpha - C_{:j})` and the plan.

    :math:`\phi_j(s) = \max_y y^T s - \frac{\gamma b_j}{2} \|y\|^2` over the simplex with at most k nonzeros;
    the column of the plan is :math:`b_j y`, so that b is met exactly.

    Examples
    --------
    >>> import numpy as np
    >>> value, T = semi_dual_objective(np.zeros(2), np.ones(2), np.ones(2), np.eye(2), 0.5, None)
    >>> T.tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    xp = namespace(C)
    s = alpha[:, None] - C
    used = xp.where(b > 0, b, xp.ones_like(b))
    # Divided first: minus infinity over b has no derivative.
    y = project_simplex(largest_only(s / (reg * used), k))
    phi = xp.sum(y * s, axis=0) - reg * b / 2 * xp.sum(y * y, axis=0)
    return xp.sum(alpha * a) - xp.sum(b * phi), y * b


def _solve(
    a: Any, b: Any, C: Any, reg: float, k: int | None, form: str, tol: float | None, maxiter: int
) -> TransportResult:
    """Maximise the dual or the semi-dual by L-BFGS from zero."""
    problem = transport_problem(a, b, C, batched=False)
    tol = check_regularisation(reg, 1e-5 if tol is None else tol, maxiter, problem.C.dtype, problem.xp)
    if form not in ("dual", "semi-dual"):
        raise ArgumentError(f"form: wanted 'dual' or 'semi-dual', got {form!r}")
    xp, a, b, C = problem.xp, problem.a, problem.b, problem.C
    if (
        unit := unit_of(C)
    ) != 1.0:  # squares of such costs leave the dtype's range: the same problem in other units
        found = _solve(a, b, C / unit, reg / unit, k, form, tol, maxiter)
        f, g = found.potentials
        return dataclasses.replace(
            found, potentials=(f * unit, g * unit), cost=found.cost * unit, value=found.value * unit,
            dual_value=found.dual_value * unit,
        )  # fmt: skip
    n = a.shape[0]

    def evaluate(z: Array) -> tuple[Array, Array, Array]:
        if form == "dual":
            value, plan = dual_objective(z[:n], z[n:], a, b, C, reg, k)
            return value, plan, xp.concat([a - xp.sum(plan, axis=1), b - xp.sum(plan, axis=0)])
        value, plan = semi_dual_objective(z, a, b, C, reg, k)
        return value, plan, a - xp.sum(plan, axis=1)

    def descent(z: Array) -> tuple[float, Array]:
        value, _, gradient = evaluate(z)
        return -float(detached(value)), -gradient

    start = xp.zeros_like(xp.concat([a, b])) if form == "dual" else xp.zeros_like(a)
    # The gradient is what the marginals lack.
    z, iterations, stuck = minimise(descent, start, tol * problem.mass, maxiter)
    value, plan, _ = evaluate(z)
    if form == "dual":
        beta = z[n:]
    else:
        # The simplex's threshold is the missing potential: T = [alpha + beta - C]_+ / reg on the support.
        held = plan > 0
        gap = xp.where(held, reg * plan - z[:n, None] + C, xp.zeros_like(C))
        counts = xp.sum(xp.astype(held, C.dtype), axis=0)
        beta = xp.sum(gap, axis=0) / xp.where(counts > 0, counts, xp.ones_like(counts))
    primal = xp.sum(plan * C) + reg / 2 * xp.sum(plan * plan)
    found = report(problem, plan, (z[:n], beta), iterations, tol, values=(primal, value))
    if stuck and not found.success:
        said = (
            f"marginal error {float(detached(found.marginal_error)):.3g} after {iterations} passes (wanted {tol * problem.mass:.3g}): no"
            " step along the direction of descent gains, by rounding or at a kink; a larger tol or reg helps, more passes do not"
        )
        return dataclasses.replace(found, message=said)
    return found


@register(
    "quadratic-ot",
    kind="transport",
    source=BLONDEL,
    where="dual and semi-dual with the squared 2-norm",
    dialects={"pot": DUAL},
)
def quadratic_ot(
    a: Any,
    b: Any,
    C: Any,
    reg: float,
    *,
    form: str = "semi-dual",
    tol: float | None = None,
    maxiter: int = 2000,
) -> TransportResult:
    r"""Optimal transport with a squared Euclidean penalty, which leaves the plan sparse.

    Minimises :math:`\langle P, C\rangle + \frac{\gamma}{2}\|P\|_F^2` over the plans with marginals a
    and b, by maximising the dual or the semi-dual with L-BFGS.

    Parameters
    ----------
    a : array of shape (n,) or None
        Row masses, at least 0; None is uniform.
    b : array of shape (m,) or None
        Column masses of the same total.
    C : array of shape (n, m)
        Cost.
    reg : float
        The paper's :math:`\gamma > 0`; it multiplies a sum over n m entries.
    form : {"semi-dual", "dual"}
        "semi-dual": n unknowns, a sort a column, b met exactly; "dual": n + m unknowns, neither
        marginal exact.
    tol : float, optional
        Wanted marginal error (1-norm) relative to the mass; 1e-5 if left out.
    maxiter : int
        Largest number of L-BFGS steps.

    Returns
    -------
    TransportResult
        With ``plan = max(f + g - C, 0) / reg``.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `refopt.transport.sinkhorn.sinkhorn`.

    Notes
    -----
    All is computed in the library, on the device and in the dtype of C; in float32 a tolerance below about 1e-6 is out of reach.

    Examples
    --------
    >>> import numpy as np
    >>> r = quadratic_ot(None, None, np.array([[0.0, 1.0], [1.0, 0.0]]), reg=1.0)
    >>> r.status, r.plan.round(6).tolist()
    ('converged', [[0.5, 0.0], [0.0, 0.5]])
    """
    return _solve(a, b, C, reg, None, form, tol, maxiter)


@register(
    "sparse-ot",
    kind="transport",
    source=LIU,
    where="dual and semi-dual with the squared k-support norm",
    also=(BLONDEL,),
    dialects={"pot": DUAL},
)
def sparse_ot(
    a: Any,
    b: Any,
    C: Any,
    reg: float,
    *,
    sparsity: int = 2,
    form: str = "semi-dual",
    tol: float | None = None,
    maxiter: int = 2000,
) -> TransportResult:
    r"""Quadratically regularised transport with at most k nonzeros in each column of the plan.

    Maximises the convex dual or semi-dual of :math:`\langle P, C\rangle + \frac{\gamma}{2}\|P\|_F^2` with
    :math:`\|P_{:j}\|_0 \le k`, with L-BFGS.

    Parameters
    ----------
    a, b, C, reg, form, tol, maxiter
        As in `quadratic_ot`.
    sparsity : int
        The paper's k, at least 1; from n on this is `quadratic_ot`.

    Returns
    -------
    TransportResult
        The column bound always holds. The marginals hold where the optimum is not at a tie between the
        k-th and the next entry; elsewhere no subgradient in this form meets them, and the status is
        ``"iterations"`` with the marginal error that is left.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `refopt.transport.sinkhorn.sinkhorn`.

    Examples
    --------
    >>> import numpy as np
    >>> C = np.random.default_rng(0).random((6, 5))
    >>> int((sparse_ot(None, None, C, reg=1.0, sparsity=2).plan > 0).sum(0).max())
    2
    """
    check_number(sparsity, "int [1, inf)", "sparsity")
    return _solve(a, b, C, reg, sparsity, form, tol, maxiter)
