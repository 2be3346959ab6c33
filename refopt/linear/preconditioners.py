"""Preconditioners behind one small interface: ``apply(r)`` returns ``M^-1 r``.

Each of Jacobi, SSOR and IC(0) is a lower triangular factor F with ``M = F F^H``; a learned factor
is `Factored(F)` too. Multigrid is a cycle of PyAMG's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from refopt.core.arrays import Array, eye_like, is_array, like, namespace, to_numpy
from refopt.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    ConvergenceError,
    HyperparameterError,
    ShapeError,
    missing_extra,
    nearest,
)
from refopt.core.hyper import check_number
from refopt.linear import compiled
from refopt.linear.operators import Operator, is_complex, linear_system

COARSENINGS = ("smoothed-aggregation", "ruge-stuben")
CYCLES = ("V", "W", "F")


@runtime_checkable
class Preconditioner(Protocol):
    """What `pcg` asks of a preconditioner M, Hermitian positive definite."""

    def apply(self, r: Array) -> Array:
        """Return ``M^-1 r`` for a vector of shape (n,).

        Parameters
        ----------
        r : array of shape (n,)

        Returns
        -------
        array of shape (n,)
        """
        ...


@dataclass(frozen=True)
class Applied:
    """A function ``r -> M^-1 r`` as a preconditioner."""

    function: Callable[[Array], Array]

    def apply(self, r: Array) -> Array:
        """Return ``M^-1 r``."""
        z = self.function(r)
        if not is_array(z):
            raise ArgumentTypeError(
                f"preconditioner: returned {'None; is a `return` missing?' if z is None else type(z).__qualname__}; wanted an array"
            )
        if tuple(z.shape) != tuple(r.shape):
            raise ShapeError(f"preconditioner: maps shape {tuple(r.shape)} to {tuple(z.shape)}")
        return z


@dataclass(frozen=True)
class Factored:
    """``M = F F^H`` by its lower triangular factor, for example a learned one.

    Parameters
    ----------
    factor : array or SciPy sparse matrix of shape (n, n)
        Lower triangular with a nonzero diagonal.
    """

    factor: Any

    def __post_init__(self) -> None:
        F = self.factor
        if (
            not (scipy.sparse.issparse(F) or hasattr(F, "shape"))
            or len(F.shape) != 2
            or F.shape[0] != F.shape[1]
        ):
            raise ShapeError(
                f"factor: wanted a square lower triangular matrix, got {getattr(F, 'shape', F)!r}"
            )
        if scipy.sparse.issparse(F):
            above = scipy.sparse.triu(F, 1).nnz > 0
            diagonal = F.diagonal()
        else:
            xp = namespace(F)
            above, diagonal = bool(xp.any(xp.triu(F, k=1) != 0)), to_numpy(xp.linalg.diagonal(F))
        if above:
            raise ArgumentError("factor: has entries above the diagonal, wanted a lower triangular matrix")
        if not np.all(np.isfinite(diagonal) & (diagonal != 0)):
            raise ArgumentError("factor: has a zero or non-finite diagonal entry")

    def apply(self, r: Array) -> Array:
        """Return ``F^-H (F^-1 r)``.

        Parameters
        ----------
        r : array of shape (n,)

        Returns
        -------
        array of shape (n,)
        """
        return self.solve_upper(self.solve_lower(r))

    def solve_lower(self, r: Array) -> Array:
        """Return ``F^-1 r``."""
        return self._solves[0](r)

    def solve_upper(self, r: Array) -> Array:
        """Return ``F^-H r``."""
        return self._solves[1](r)

    @cached_property
    def _solves(self) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        if scipy.sparse.issparse(self.factor):
            # Without pivoting and reordering, SuperLU's factor of a triangular matrix is that matrix.
            lu = scipy.sparse.linalg.splu(
                scipy.sparse.csc_array(self.factor),
                permc_spec="NATURAL",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
            return lu.solve, lambda r: lu.solve(r, trans="H")
        xp = namespace(self.factor)
        # The array API has no triangular solve; the inverse is formed once, in place of n^3 work a pass.
        inverse = xp.linalg.inv(self.factor)
        adjoint = xp.matrix_transpose(inverse)
        if is_complex(self.factor):
            adjoint = xp.conj(adjoint)
        return lambda r: xp.matmul(inverse, r), lambda r: xp.matmul(adjoint, r)

    def unit(self) -> tuple[Any, np.ndarray]:
        """Return L and ``1 / |D|^2`` of ``F = L D``, L with a unit diagonal and as CSR with sorted rows, for the compiled loop."""
        F = scipy.sparse.csr_array(self.factor)
        diagonal = F.diagonal()
        L = scipy.sparse.csr_array(F @ scipy.sparse.diags_array(1 / diagonal).astype(F.dtype))
        L.sort_indices()
        return L, (1 / np.abs(diagonal) ** 2).astype(F.dtype)


def _entries(A: Any) -> Any:
    """Return the checked entries of a Hermitian A with a positive diagonal, and that diagonal."""
    size = getattr(A, "shape", (1,))[0]
    if scipy.sparse.issparse(A):
        b: Any = np.zeros(size, dtype=A.dtype)
    else:
        b = namespace(A).zeros_like(A[0, :]) if getattr(A, "ndim", 0) == 2 else None
    operator, _, _ = linear_system(A, b, entries=True)
    return operator.matrix, _diagonal(operator.matrix)


def _diagonal(matrix: Any) -> Array:
    """Return the diagonal, real and positive or else an error, in the matrix's dtype."""
    diagonal = (
        matrix.diagonal() if scipy.sparse.issparse(matrix) else namespace(matrix).linalg.diagonal(matrix)
    )
    real = to_numpy(diagonal).real
    if not np.all(real > 0):
        i = int(np.argmin(real))
        raise ArgumentError(
            f"A: wanted positive definite, but the diagonal entry {i} is {real[i]:.3g}; its unit vector is a"
            " direction of non-positive curvature"
        )
    return diagonal


def _scale_columns(matrix: Any, scale: Array) -> Any:
    """Return ``matrix @ diag(scale)``."""
    if scipy.sparse.issparse(matrix):
        return scipy.sparse.csr_array(matrix @ scipy.sparse.diags_array(scale))
    return matrix * scale[None, :]


def jacobi(A: Any) -> Factored:
    """Build ``M = diag(A)``.

    Parameters
    ----------
    A : array or SciPy sparse matrix of shape (n, n)
        Hermitian with a positive diagonal.

    Returns
    -------
    Factored

    Examples
    --------
    >>> jacobi(np.diag([4.0, 9.0])).apply(np.array([8.0, 9.0])).tolist()
    [2.0, 1.0]
    """
    matrix, diagonal = _entries(A)
    if scipy.sparse.issparse(matrix):
        return Factored(scipy.sparse.csr_array(scipy.sparse.diags_array(np.sqrt(diagonal))))
    xp = namespace(matrix)
    return Factored(eye_like(matrix) * xp.sqrt(diagonal))


def ssor(A: Any, omega: float = 1.0) -> Factored:
    r"""Build SSOR's :math:`M = \frac{\omega}{2-\omega} (D/\omega + L) D^{-1} (D/\omega + L)^H`.

    Applied to r it is one forward and one backward SOR sweep from zero; omega = 1 is symmetric
    Gauss-Seidel.

    Parameters
    ----------
    A : array or SciPy sparse matrix of shape (n, n)
        Hermitian with a positive diagonal D and strictly lower part L.
    omega : float
        Relaxation in (0, 2).

    Returns
    -------
    Factored

    Examples
    --------
    >>> A = np.array([[2.0, -1.0], [-1.0, 2.0]])
    >>> F = ssor(A, omega=1.0).factor
    >>> np.round(F @ F.T, 12).tolist()  # A plus L D^-1 L^T
    [[2.0, -1.0], [-1.0, 2.5]]
    """
    check_number(omega, "(0, 2)", "omega")
    matrix, diagonal = _entries(A)
    if scipy.sparse.issparse(matrix):
        lower = scipy.sparse.tril(matrix, -1) + scipy.sparse.diags_array(diagonal / omega)
        return Factored(_scale_columns(lower, np.sqrt(omega / ((2 - omega) * diagonal))))
    xp = namespace(matrix)
    lower = xp.tril(matrix, k=-1) + eye_like(matrix) * (diagonal / omega)
    return Factored(_scale_columns(lower, xp.sqrt(omega / ((2 - omega) * diagonal))))


def ic0(A: Any, shift: float = 1e-3) -> Factored:
    """Build the incomplete Cholesky factor on the pattern of A's lower triangle.

    On the pattern ``F F^H`` equals A exactly. The factor exists for every H-matrix; elsewhere a
    pivot can fail, and then ``A + sigma diag(A)`` is tried, sigma = `shift` and doubled from there.

    Parameters
    ----------
    A : array or SciPy sparse matrix of shape (n, n)
        Hermitian with a positive diagonal. Zeros of a dense array count as outside the pattern.
    shift : float
        First sigma in [0, 1]; 0 raises at once instead of trying again.

    Returns
    -------
    Factored

    Raises
    ------
    ConvergenceError
        No factor with sigma up to 1, or none at all with ``shift=0``.

    Examples
    --------
    >>> A = np.array([[4.0, 2.0], [2.0, 5.0]])
    >>> ic0(A).factor.tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    check_number(shift, "[0, 1]", "shift")
    matrix, _ = _entries(A)
    host = matrix if scipy.sparse.issparse(matrix) else to_numpy(matrix)
    lower = scipy.sparse.csr_array(scipy.sparse.tril(scipy.sparse.csr_array(host), format="csr"))
    lower.sort_indices()
    diagonal = lower.indptr[1:] - 1
    rows = _ic0_rows(lower.shape[0])
    sigma = 0.0
    while True:
        data = lower.data.copy()
        data[diagonal] *= 1 + sigma
        bad = rows(data, lower.indices, lower.indptr)
        if bad < 0:
            break
        sigma = 2 * sigma if sigma else shift
        if not 0 < sigma <= 1:
            raise ConvergenceError(
                f"A: IC(0) met a pivot that is not positive in row {bad}; give a positive shift, or use"
                " 'ssor' or 'jacobi'"
            )
    factor = scipy.sparse.csr_array((data, lower.indices, lower.indptr), shape=lower.shape)
    if scipy.sparse.issparse(matrix):
        return Factored(factor)
    return Factored(like(factor.toarray(), matrix))


@dataclass(frozen=True)
class Multigrid:
    """One cycle of an algebraic multigrid hierarchy from PyAMG, from zero."""

    hierarchy: Any
    cycle: str = "V"

    @cached_property
    def _cycle(self) -> Any:
        return self.hierarchy.aspreconditioner(cycle=self.cycle)

    def apply(self, r: Array) -> Array:
        """Return ``M^-1 r``."""
        return like(self._cycle.matvec(to_numpy(r)), r)


def amg(A: Any, coarsening: str = "smoothed-aggregation", cycle: str = "V") -> Multigrid:
    """Build an algebraic multigrid hierarchy with PyAMG: passes that do not grow with the grid.

    Parameters
    ----------
    A : array or SciPy sparse matrix of shape (n, n)
        Hermitian with a positive diagonal, such as a discretised elliptic operator.
    coarsening : {"smoothed-aggregation", "ruge-stuben"}
        The second takes real matrices, and fewer passes for more work in each.
    cycle : {"V", "W", "F"}

    Returns
    -------
    Multigrid

    Raises
    ------
    MissingExtraError
        PyAMG is not installed (the extra ``amg``).
    """
    if coarsening not in COARSENINGS:
        raise ArgumentError(f"coarsening: wanted one of {', '.join(COARSENINGS)}, got {coarsening!r}")
    if cycle not in CYCLES:
        raise ArgumentError(f"cycle: wanted one of {', '.join(CYCLES)}, got {cycle!r}")
    matrix, _ = _entries(A)
    host = scipy.sparse.csr_array(matrix if scipy.sparse.issparse(matrix) else to_numpy(matrix))
    try:
        import pyamg
    except ImportError:
        raise missing_extra("amg", "pyamg") from None
    # PyAMG starts its power iterations from NumPy's global generator: lent a seed, so that an answer is always the same.
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        if coarsening == "ruge-stuben":
            return Multigrid(pyamg.ruge_stuben_solver(host), cycle)
        return Multigrid(pyamg.smoothed_aggregation_solver(host, symmetry="hermitian"), cycle)
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _ic0_rows(n: int) -> Callable[..., int]:
    """Return the factorization loop, compiled where that pays and Numba is installed."""
    import importlib.util

    if n >= 2000 and importlib.util.find_spec("numba") is not None:
        return compiled.kernels().ic0_rows
    return compiled.ic0_rows


NAMED: dict[str, tuple[Callable[..., Preconditioner], tuple[str, ...]]] = {
    "jacobi": (jacobi, ()),
    "ssor": (ssor, ("omega",)),
    "ic0": (ic0, ("shift",)),
    "amg": (amg, ("coarsening", "cycle")),
}


def preconditioner_for(
    spec: Any, operator: Operator, options: dict[str, Any], b: Array
) -> Preconditioner | None:
    """Return what `pcg`'s argument means for this system; see there.

    Raises
    ------
    ArgumentError, ArgumentTypeError, HyperparameterError, ShapeError
    """
    if isinstance(spec, str):
        if spec not in NAMED:
            raise ArgumentError(
                f"preconditioner: wanted one of {', '.join(NAMED)}, got {spec!r}.{nearest(spec, NAMED)}"
            )
        if operator.matrix is None:
            raise ArgumentTypeError(f"preconditioner: {spec!r} reads A's entries, but A is a function")
        build, known = NAMED[spec]
        for name in options:
            if name not in known:
                raise HyperparameterError(
                    f"pcg: {spec!r} has no option {name!r}; it has: {', '.join(known) or 'none'}"
                )
        return build(operator.matrix, **options)
    if options:
        raise HyperparameterError(f"pcg: has no option {', '.join(options)} without a named preconditioner")
    if spec is None:
        return None
    if isinstance(spec, Factored) and spec.factor.shape[0] != b.shape[0]:
        raise ShapeError(
            f"preconditioner: shape {tuple(spec.factor.shape)} does not fit b of {tuple(b.shape)}"
        )
    if isinstance(spec, Preconditioner):
        return spec
    if callable(spec):
        return Applied(spec)
    if scipy.sparse.issparse(spec) or is_array(spec):
        if tuple(spec.shape) != (b.shape[0], b.shape[0]):
            raise ShapeError(f"preconditioner: shape {tuple(spec.shape)} does not fit b of {tuple(b.shape)}")
        return Applied(lambda r: spec @ r)
    raise ArgumentTypeError(
        f"preconditioner: wanted a name, a matrix, a function or an object with apply, got {type(spec)}"
    )
