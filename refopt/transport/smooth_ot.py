"""Quadratically regularised transport by its dual and semi-dual, without and with a bound on nonzeros."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core.arrays import like, to_numpy
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import TransportResult
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


def largest_only(s: np.ndarray, k: int | None) -> np.ndarray:
    """Return s with all but the k largest entries of each column at minus infinity (None: all kept)."""
    if k is None or k >= s.shape[0]:
        return s
    kept = np.argpartition(-s, k - 1, axis=0)[:k]
    out = np.full_like(s, -np.inf)
    np.put_along_axis(out, kept, np.take_along_axis(s, kept, axis=0), axis=0)
    return out


def project_simplex(v: np.ndarray) -> np.ndarray:
    """Project each column of v onto the simplex; entries at minus infinity go to 0.

    Sorted descending, rho is the last i with ``u_i > (u_1 + ... + u_i - 1) / i``, that quotient is the
    threshold.

    Examples
    --------
    >>> project_simplex(np.array([[0.8], [0.6], [-1.0]])).round(3).tolist()
    [[0.6], [0.4], [0.0]]
    """
    u = -np.sort(-v, axis=0)
    u = np.where(np.isfinite(u), u, -1e300)
    sums = np.cumsum(u, axis=0) - 1
    counts = np.arange(1, v.shape[0] + 1)[:, None]
    rho = np.sum(u * counts > sums, axis=0)
    threshold = np.take_along_axis(sums, rho[None] - 1, axis=0) / rho
    return np.maximum(v - threshold, 0)


def dual_objective(
    alpha: np.ndarray,
    beta: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    C: np.ndarray,
    reg: float,
    k: int | None,
) -> tuple[float, np.ndarray]:
    r"""Return :math:`\alpha^T a + \beta^T b - \sum_j \delta(\alpha + \beta_j - C_{:j})` and the plan.

    :math:`\delta(s) = \frac{1}{2\gamma} \sum [s_i]_+^2` over the k largest entries; its gradient
    :math:`T_{:j}` is a column of the plan, and the objective's gradient ``a - T 1``, ``b - T^T 1``.

    Examples
    --------
    >>> value, T = dual_objective(*[np.ones(2)] * 4, np.eye(2), 0.5, 1)
    >>> value, T.tolist()
    (-4.0, [[0.0, 4.0], [4.0, 0.0]])
    """
    positive = np.maximum(largest_only(alpha[:, None] + beta - C, k), 0)
    return float(alpha @ a + beta @ b - np.sum(positive**2) / (2 * reg)), positive / reg


def semi_dual_objective(
    alpha: np.ndarray, a: np.ndarray, b: np.ndarray, C: np.ndarray, reg: float, k: int | None
) -> tuple[float, np.ndarray]:
    r"""Return :math:`\alpha^T a - \sum_j b_j \phi_j(\alpha - C_{:j})` and the plan.

    :math:`\phi_j(s) = \max_y y^T s - \frac{\gamma b_j}{2} \|y\|^2` over the simplex with at most k nonzeros;
    the column of the plan is :math:`b_j y`, so that b is met exactly.

    Examples
    --------
    >>> value, T = semi_dual_objective(np.zeros(2), np.ones(2), np.ones(2), np.eye(2), 0.5, None)
    >>> T.tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    s = largest_only(alpha[:, None] - C, k)
    used = np.where(b > 0, b, 1.0)
    y = project_simplex(s / (reg * used))
    smooth = np.sum(np.where(y > 0, y * np.where(np.isfinite(s), s, 0), 0), axis=0)
    phi = smooth - reg * b / 2 * np.sum(y * y, axis=0)
    return float(alpha @ a - b @ phi), y * b


def _solve(
    a: Any, b: Any, C: Any, reg: float, k: int | None, form: str, tol: float | None, maxiter: int
) -> TransportResult:
    """Maximise the dual or the semi-dual by L-BFGS from zero, in float64 on the host."""
    problem = transport_problem(a, b, C, batched=False)
    tol = check_regularisation(reg, 1e-5 if tol is None else tol, maxiter, problem.C.dtype, problem.xp)
    if form not in ("dual", "semi-dual"):
        raise ArgumentError(f"form: wanted 'dual' or 'semi-dual', got {form!r}")
    ha, hb, hC = (to_numpy(v).astype(np.float64) for v in (problem.a, problem.b, problem.C))
    n = ha.size

    def evaluate(z: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        if form == "dual":
            value, plan = dual_objective(z[:n], z[n:], ha, hb, hC, reg, k)
            return value, plan, np.concatenate([ha - plan.sum(1), hb - plan.sum(0)])
        value, plan = semi_dual_objective(z, ha, hb, hC, reg, k)
        return value, plan, ha - plan.sum(1)

    def descent(z: np.ndarray) -> tuple[float, np.ndarray]:
        value, _, gradient = evaluate(z)
        return -value, -gradient

    # An L-BFGS stop on the objective's change alone would end far from the marginals.
    options = {
        "maxiter": maxiter,
        "maxfun": 20 * maxiter + 20,
        "ftol": 0.0,
        "gtol": 0.1 * tol * problem.mass / n,
    }
    # Loaded here: scipy.optimize takes longer than all else that a first look-up imports.
    from scipy.optimize import minimize

    start = np.zeros(n + hb.size if form == "dual" else n)
    found = minimize(descent, start, jac=True, method="L-BFGS-B", options=options) if maxiter else None
    z = start if found is None else found.x
    plan = evaluate(z)[1]
    if form == "dual":
        beta = z[n:]
    else:
        # The simplex's threshold is the missing potential: T = [alpha + beta - C]_+ / reg on the support.
        held = plan > 0
        gap = np.where(held, reg * plan - z[:n, None] + hC, 0)
        beta = gap.sum(0) / np.maximum(held.sum(0), 1)
    potentials = like(z[:n], problem.a), like(beta, problem.b)
    return report(problem, like(plan, problem.C), potentials, 0 if found is None else int(found.nit), tol)


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
    L-BFGS is SciPy's and works in float64 on the host; the result has the dtype and library of C.

    Examples
    --------
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
    >>> C = np.random.default_rng(0).random((6, 5))
    >>> int((sparse_ot(None, None, C, reg=1.0, sparsity=2).plan > 0).sum(0).max())
    2
    """
    check_number(sparsity, "int [1, inf)", "sparsity")
    return _solve(a, b, C, reg, sparsity, form, tol, maxiter)
