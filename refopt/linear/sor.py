"""Successive over-relaxation, forward and symmetric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from refopt.core.arrays import Array, all_finite, eye_like, namespace, to_numpy
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.core.result import LinearResult
from refopt.linear import compiled
from refopt.linear.operators import csr_parts, linear_system, numpy_only, vector_norm
from refopt.linear.preconditioners import Factored

YOUNG = Source(
    "young-1954-iterative",
    "D. Young",
    "Iterative Methods for Solving Partial Difference Equations of Elliptic Type",
    venue="Transactions of the American Mathematical Society 76, 92-111",
)
KHODAK = Source(
    "khodak-2024-learning",
    "M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar",
    "Learning to Relax: Setting Solver Parameters Across a Sequence of Linear System Instances",
    arxiv="2310.02246",
)


def optimal_omega(jacobi_radius: float) -> float:
    r"""Return Young's :math:`\omega^* = 2 / (1 + \sqrt{1 - \beta^2})` for a consistently ordered matrix.

    Parameters
    ----------
    jacobi_radius : float
        Spectral radius :math:`\beta` in [0, 1) of :math:`I - D^{-1} A`.

    Examples
    --------
    >>> round(optimal_omega(float(np.cos(np.pi / 33))), 5)  # Poisson on 32 x 32 points
    1.82639
    """
    check_number(jacobi_radius, "[0, 1)", "jacobi_radius")
    return float(2 / (1 + np.sqrt(1 - jacobi_radius**2)))


def _lower(matrix: Any, omega: float) -> Factored:
    """Return ``D / omega + L`` with its two triangular solves."""
    if scipy.sparse.issparse(matrix):
        scaled = scipy.sparse.diags_array(matrix.diagonal() / omega)
        return Factored(scipy.sparse.csr_array(scipy.sparse.tril(matrix, -1) + scaled))
    xp = namespace(matrix)
    diagonal = eye_like(matrix) * (xp.linalg.diagonal(matrix) / omega)
    return Factored(xp.tril(matrix, k=-1) + diagonal)


@register(
    "sor",
    kind="solver",
    source=YOUNG,
    where="the successive overrelaxation method",
    also=(KHODAK,),
)
def sor(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    omega: float = 1.0,
    symmetric: bool = False,
    rtol: float = 1e-8,
    atol: float = 0.0,
    relative_to: str = "start",
    maxiter: int = 10_000,
    callback: Callable[[Array], object] | None = None,
    engine: str = "auto",
) -> LinearResult:
    r"""Successive over-relaxation for a Hermitian positive definite system ``A x = b``.

    With :math:`A = D + L + L^H` a pass is :math:`x \leftarrow x + (D/\omega + L)^{-1}(b - A x)`; a symmetric
    pass (SSOR) follows it with :math:`x \leftarrow x + (D/\omega + L^H)^{-1}(b - A x)`.

    Parameters
    ----------
    A : array (n, n) or SciPy sparse matrix
        Hermitian with a positive diagonal; its entries are read.
    b : array of shape (n,)
        Right side.
    x0 : array of shape (n,), optional
        Start; zeros if left out.
    omega : float
        Relaxation in (0, 2); 1 is Gauss-Seidel. `optimal_omega` gives Young's best.
    symmetric : bool
        SSOR: two sweeps a pass.
    rtol, atol : float
        Stop at ``norm(b - A x) <= max(rtol scale, atol)``.
    relative_to : {"start", "b"}
        The scale: the norm of the first residual, as in Khodak et al., or of b.
    maxiter : int
        Largest number of passes.
    callback : callable, optional
        Called with x after every pass.
    engine : {"auto", "array", "numba"}
        ``"numba"`` sweeps element by element; ``"auto"`` takes it for a SciPy sparse matrix of at
        least 10000 unknowns where Numba is installed.

    Returns
    -------
    LinearResult
        With status ``"converged"``, ``"iterations"`` or ``"diverged"``.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `refopt.linear.conjugate_gradient.cg`; also a diagonal entry that is not positive.

    Examples
    --------
    >>> from refopt.problems.linear_systems import poisson_2d
    >>> A, b = poisson_2d(10), np.ones(100)
    >>> sor(A, b).iterations > 4 * sor(A, b, omega=optimal_omega(float(np.cos(np.pi / 11)))).iterations
    True
    """
    operator, b, x = linear_system(A, b, x0, entries=True)
    check_number(omega, "(0, 2)", "omega")
    if omega < 1e-30:
        raise ArgumentError(f"omega: {omega!r} is so small that D / omega leaves the range of numbers")
    check_number(rtol, "[0, inf)", "rtol")
    check_number(atol, "[0, inf)", "atol")
    check_number(maxiter, "int [0, inf)", "maxiter")
    if relative_to not in ("start", "b"):
        raise ArgumentError(f"relative_to: wanted 'start' or 'b', got {relative_to!r}")
    matrix = operator.matrix
    diagonal = matrix.diagonal() if operator.sparse else namespace(matrix).linalg.diagonal(matrix)
    smallest = float(to_numpy(diagonal).real.min())
    if not smallest > 0:
        raise ArgumentError(f"A: wanted a positive diagonal, the smallest entry is {smallest:.3g}")
    if numpy_only(engine, operator, b):
        sweep = compiled.kernels().sweep
        parts = csr_parts(matrix)
        factor = diagonal.real.dtype.type(omega)

        def one_pass(x: Array, r: Array) -> Array:
            x = x.copy()
            sweep(*parts, diagonal, b, x, factor, False)
            if symmetric:
                sweep(*parts, diagonal, b, x, factor, True)
            return x
    else:
        lower = _lower(matrix, omega)

        def one_pass(x: Array, r: Array) -> Array:
            x = x + lower.solve_lower(r)
            return x + lower.solve_upper(b - operator.apply(x)) if symmetric else x

    r = b - operator.apply(x)
    norms = [vector_norm(r)]
    stop = max(rtol * (norms[0] if relative_to == "start" else vector_norm(b)), atol)
    status = "converged" if norms[0] <= stop else "iterations"
    while status == "iterations" and len(norms) <= maxiter:
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging run is told below
            trial = one_pass(x, r)
            r = b - operator.apply(trial)
        norm = vector_norm(r)
        if not (np.isfinite(norm) and all_finite(trial)):
            status = "diverged"
            break
        x = trial
        norms.append(norm)
        if callback is not None:
            callback(x)
        if norm <= stop:
            status = "converged"
    message = f"residual {norms[-1]:.3g} after {len(norms) - 1} passes (wanted {stop:.3g})"
    if status == "diverged":
        message += "; the iterates overflow, A is not positive definite"
    elif status == "iterations":
        message += "; raise maxiter or choose another omega"
    return LinearResult(x, len(norms) - 1, np.asarray(norms), status, message)
