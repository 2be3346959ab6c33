"""Sinkhorn-Newton-sparse: a few Sinkhorn passes, then Newton steps with a sparsified Hessian."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from refopt.core.arrays import like, to_numpy
from refopt.core.cost import Cost
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.core.result import TransportResult
from refopt.linear.conjugate_gradient import pcg
from refopt.transport.problem import check_regularisation, report, start_potentials, transport_problem
from refopt.transport.scaling import column_potential, entropic_values, row_potential

TANG = Source(
    "tang-2024-accelerating",
    "X. Tang, M. Shavlovsky, H. Rahmanian, E. Tardini, K. K. Thekumparampil, T. Xiao, L. Ying",
    "Accelerating Sinkhorn Algorithm with Sparse Newton Iterations",
    arxiv="2401.12253",
    venue="ICLR 2024",
)
BRAUER = Source(
    "brauer-2017-sinkhorn",
    "C. Brauer, C. Clason, D. Lorenz, B. Wirth",
    "A Sinkhorn-Newton method for entropic optimal transport",
    arxiv="1710.06635",
)


def potential(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, C: np.ndarray, eta: float) -> float:
    r"""Return the Lyapunov potential, :math:`a^T x + b^T y - \frac1\eta\sum P_{ij}`."""
    with np.errstate(over="ignore"):
        return float(a @ x + b @ y - np.sum(plan_of(x, y, C, eta)) / eta)


def plan_of(x: np.ndarray, y: np.ndarray, C: np.ndarray, eta: float) -> np.ndarray:
    r"""Return :math:`P_{ij} = e^{\eta(x_i + y_j - C_{ij}) - 1}`."""
    return np.exp(eta * (x[:, None] + y - C) - 1)


def sparsify(P: np.ndarray, keep: int) -> scipy.sparse.csr_array:
    """Return the `keep` largest entries of P (ties included) as a sparse matrix.

    Examples
    --------
    >>> sparsify(np.array([[1.0, 0.2], [0.3, 2.0]]), 2).toarray().tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    if keep >= P.size:
        return scipy.sparse.csr_array(P)
    threshold = np.partition(P.ravel(), P.size - keep)[P.size - keep]
    return scipy.sparse.csr_array(np.where((threshold <= P) & (P > 0), P, 0))


def _ten_newton_steps(n: int) -> Callable[[], Any]:
    """A fixed number of passes of both stages on a random cost, for the benchmark of growth."""
    C = np.random.default_rng(0).random((n, n))
    return lambda: sinkhorn_newton_sparse(None, None, C, 1e-2, warmup=10, maxiter=10, tol=0.0)


@register(
    "sinkhorn-newton-sparse",
    kind="transport",
    source=TANG,
    where="Algorithm 1",
    costs=(Cost("n", 2.0, "abstract: O(n^2) an iteration", _ten_newton_steps, (250, 500, 1000, 2000)),),
    also=(BRAUER,),
)
def sinkhorn_newton_sparse(
    a: Any,
    b: Any,
    C: Any,
    reg: float,
    *,
    warmup: int = 20,
    keep: float = 5.0,
    tol: float | None = None,
    maxiter: int = 100,
    potentials: tuple[Any, Any] | None = None,
) -> TransportResult:
    r"""Entropic optimal transport by sparsified Newton steps after a Sinkhorn warm-up.

    With :math:`\eta = 1/\varepsilon` it maximises
    :math:`f(x, y) = a^T x + b^T y - \frac1\eta \sum_{ij} e^{\eta(x_i + y_j - C_{ij}) - 1}`. Stage 1 runs
    `warmup` Sinkhorn passes. Stage 2 solves by conjugate gradients

    .. math:: \eta \begin{pmatrix}\operatorname{diag}(P 1) & \tilde P\\
              \tilde P^T & \operatorname{diag}(P^T 1)\end{pmatrix} \Delta
              = \begin{pmatrix} a - P 1\\ b - P^T 1\end{pmatrix},

    with only the largest entries of P kept in :math:`\tilde P`, and backtracks on f.

    Parameters
    ----------
    a : array of shape (n,) or None
        Row masses, positive; None is uniform.
    b : array of shape (m,) or None
        Column masses of the same total, positive.
    C : array of shape (n, m)
        Cost.
    reg : float
        :math:`\varepsilon = 1/\eta > 0` in units of C.
    warmup : int
        The paper's :math:`N_1` Sinkhorn passes.
    keep : float
        Entries of P kept, as a multiple of max(n, m); at least 1. All of them is dense Newton.
    tol : float, optional
        Stop at a marginal error (1-norm) of at most tol times the mass; 1e-9, in float32 1e-5.
    maxiter : int
        The paper's :math:`N_2`, largest number of Newton steps.
    potentials : tuple of two arrays, optional
        Warm start (f, g) in the convention of `sinkhorn`.

    Returns
    -------
    TransportResult
        `iterations` counts both stages; potentials are those of `sinkhorn`:
        ``exp((f + g - C) / reg)`` is the plan.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `sinkhorn`; also a zero mass.

    Notes
    -----
    The Newton matrix keeps the full sums on its diagonal: it is diagonally dominant, so conjugate
    gradients with its diagonal as preconditioner apply. The sparse algebra is SciPy's, so that arrays
    of other libraries visit the host. On smooth costs between point clouds many more entries matter
    than on random ones: raise `keep`.

    Examples
    --------
    >>> C = np.random.default_rng(0).random((40, 40))
    >>> r = sinkhorn_newton_sparse(None, None, C, reg=1e-2)
    >>> r.status, r.iterations < 40
    ('converged', True)
    """
    problem = transport_problem(a, b, C, batched=False)
    xp = problem.xp
    tol = check_regularisation(reg, tol, maxiter, problem.C.dtype, xp)
    check_number(warmup, "int [0, inf)", "warmup")
    check_number(keep, "[1, inf)", "keep")
    f, g = start_potentials(potentials, problem)
    _positive(to_numpy(problem.a), "a")
    _positive(to_numpy(problem.b), "b")
    for _ in range(warmup):
        f = row_potential(xp, problem.a, g, problem.C, reg)
        g = column_potential(xp, problem.b, f, problem.C, reg)
    ha, hb, hC = (to_numpy(v) for v in (problem.a, problem.b, problem.C))
    eta = 1 / reg
    # The paper's potentials carry the constant: x + y = f + g + 1 / eta.
    x, y = to_numpy(f) + reg, to_numpy(g).copy()
    P = plan_of(x, y, hC, eta)
    value = potential(x, y, ha, hb, hC, eta)
    newton, status = 0, None
    while newton < maxiter:
        rows, columns = P.sum(1), P.sum(0)
        gap = np.concatenate([ha - rows, hb - columns])
        if np.abs(gap).sum() <= tol * problem.mass:
            break
        kept = sparsify(P, math.ceil(keep * max(P.shape)))
        matrix = eta * scipy.sparse.block_array(
            [[scipy.sparse.diags_array(rows), kept], [kept.T, scipy.sparse.diags_array(columns)]],
            format="csr",
        )
        matrix = scipy.sparse.csr_array(matrix).astype(P.dtype)
        size = gap.size
        solved = pcg(matrix, gap.astype(P.dtype), rtol=_forcing(gap, problem.mass), maxiter=20 * size)
        step = solved.x
        alpha, slope = 1.0, float(gap @ step)
        for _ in range(60):
            trial = (x + alpha * step[: x.size], y + alpha * step[x.size :])
            new = potential(*trial, ha, hb, hC, eta)
            # Near the maximum the values agree to rounding; the gap then decides.
            if new >= value + 1e-4 * alpha * slope - 64 * np.finfo(P.dtype).eps * abs(value):
                break
            alpha /= 2
        else:
            status = "iterations"
            break
        (x, y), value, newton = trial, new, newton + 1
        P = plan_of(x, y, hC, eta)
    f, g = like(x - reg, f), like(y, g)
    plan = like(P.astype(hC.dtype), problem.C)
    message = None
    if status is not None:
        message = f"no ascent along the Newton step after {warmup} + {newton} passes; raise keep or warmup"
    values = entropic_values(problem, plan, f, g, reg)
    return report(problem, plan, (f, g), warmup + newton, tol, status, message, values)


def _forcing(gap: np.ndarray, mass: float) -> float:
    """Return the relative accuracy of the inner solve: tighter as the gap closes, for fast convergence."""
    relative = float(np.linalg.norm(gap)) / mass
    return max(min(1e-2, relative), 1e-8 if gap.dtype == np.float64 else 1e-4)


def _positive(mass: np.ndarray, name: str) -> None:
    if not np.all(mass > 0):
        raise ArgumentError(
            f"{name}: wanted positive masses, entry {int(np.argmin(mass))} is {mass.min():.3g}"
        )
