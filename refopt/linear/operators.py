"""What a solver is given: a matrix of any library, a SciPy sparse matrix, or a function ``v -> A v``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np
import scipy.sparse

from refopt.core.arrays import (
    Array,
    check_array,
    check_square,
    check_symmetric,
    detached,
    is_array,
    namespace,
    safe_root,
)  # fmt: skip
from refopt.core.errors import ArgumentError, ArgumentTypeError, DtypeError, NonFiniteError, ShapeError
from refopt.core.files import read_matrix_market
from refopt.core.rng import generator


@dataclass(frozen=True)
class Operator:
    """A square linear map.

    Attributes
    ----------
    apply : callable
        ``v -> A v`` for a vector of shape (n,).
    matrix : array, scipy.sparse.csr_array or None
        The entries, where the caller gave them.
    """

    apply: Callable[[Array], Array]
    matrix: Any = None

    @property
    def sparse(self) -> bool:
        """True if the entries are at hand as a SciPy CSR array."""
        return scipy.sparse.issparse(self.matrix)


def inner(x: Array, y: Array) -> Array:
    """Return ``x^H y`` as a zero-dimensional array; the first argument is conjugated."""
    with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at what comes back
        return namespace(x).vecdot(x, y)


def real_part(value: Array) -> float:
    """Return the real part of a zero-dimensional array as a Python float."""
    return complex(detached(value)).real


def vector_norm(x: Array) -> float:
    """Return the Euclidean norm of a real or complex vector as a Python float, free of over- and underflow."""
    return safe_root(
        lambda unit: real_part(inner(x, x) if unit == 1.0 else inner(x / unit, x / unit)),
        lambda: float(namespace(x).max(namespace(x).abs(x))),
        x.dtype,
        namespace(x),
    )


def unit_of(b: Array) -> float:
    """Return the power of two in which a right side's squares keep to its dtype: 1 unless b is extreme."""
    xp = namespace(b)
    top = float(xp.max(xp.abs(detached(b))))
    reach = math.frexp(float(xp.finfo(b.dtype).max))[1] // 4
    power = math.frexp(top)[1] if top > 0.0 else 0
    return 1.0 if abs(power) <= reach else 2.0 ** (power - 1)


def is_complex(x: Any) -> bool:
    """Tell whether the array or SciPy sparse matrix `x` has a complex dtype."""
    if scipy.sparse.issparse(x):
        return bool(np.issubdtype(x.dtype, np.complexfloating))
    return bool(namespace(x).isdtype(x.dtype, "complex floating"))


def check_sparse(A: Any, name: str, *, symmetric: bool) -> scipy.sparse.csr_array:
    """Return a SciPy sparse matrix as canonical CSR, or raise an error that names `name`."""
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise ShapeError(f"{name}: wanted a non-empty square matrix (n, n), got shape {tuple(A.shape)}")
    if A.dtype not in (np.float32, np.float64, np.complex64, np.complex128):
        raise DtypeError(
            f"{name}: wanted a real floating or complex floating dtype, got {A.dtype}; convert it first,"
            " for example with .astype('float64')"
        )
    csr = scipy.sparse.csr_array(A)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    if not np.all(np.isfinite(csr.data)):
        raise NonFiniteError(f"{name}: contains NaN or infinity")
    if symmetric and csr.nnz:
        scale = float(np.max(np.abs(csr.data)))
        rounding = 64 * float(np.finfo(csr.dtype).eps) * scale
        gap = 0.0 if _seems_symmetric(csr, rounding) else _asymmetry(csr)
        if gap > rounding:
            raise ArgumentError(
                f"{name}: wanted a symmetric (Hermitian) matrix, got one that differs from its transpose by"
                f" {gap:.3g} (largest entry {scale:.3g}); symmetrise it first: (A + A.T) / 2"
            )
    return csr


def _seems_symmetric(csr: scipy.sparse.csr_array, rounding: float) -> bool:
    """Tell whether ``A u = A^H u`` to rounding for a random u > 0.

    Two products cost a quarter of comparing A with its transpose entry by entry. An asymmetry above
    rounding passes only if it cancels in the sum with random weights, which has probability zero.
    """
    u = generator(0, "problem").uniform(0.5, 1.5, csr.shape[0]).astype(csr.data.real.dtype)
    difference = csr @ u - (csr.conj() if is_complex(csr) else csr).T @ u
    longest = int(np.max(np.diff(csr.indptr)))
    return float(np.max(np.abs(difference))) <= rounding * 1.5 * longest


def _asymmetry(csr: scipy.sparse.csr_array) -> float:
    """Return the largest entry of ``|A - A^H|`` for a canonical CSR array."""
    other = scipy.sparse.csr_array((csr.conj() if is_complex(csr) else csr).T)
    if np.array_equal(csr.indptr, other.indptr) and np.array_equal(csr.indices, other.indices):
        return float(np.max(np.abs(csr.data - other.data)))
    return float(abs(csr - other).max())


def _checked(apply: Callable[[Array], Array], b: Array) -> Callable[[Array], Array]:
    """Wrap a caller's function so that a wrong shape or dtype is named where it arises."""

    def call(v: Array) -> Array:
        out = apply(v)
        if not is_array(out):
            raise ArgumentTypeError(f"A: wanted a function that returns an array, it returned {type(out)}")
        if tuple(out.shape) != tuple(v.shape):
            raise ShapeError(
                f"A: maps shape {tuple(v.shape)} to {tuple(out.shape)}; wanted a square operator"
            )
        if out.dtype != v.dtype:
            raise DtypeError(f"A: maps dtype {v.dtype} to {out.dtype}; wanted the dtype of b and x0 kept")
        return out

    return call


def linear_system(
    A: Any, b: Any, x0: Any = None, *, symmetric: bool = True, entries: bool = False
) -> tuple[Operator, Array, Array]:
    """Check a system ``A x = b`` and return the operator, the right side and the start.

    Parameters
    ----------
    A : array, SciPy sparse matrix, LinearOperator, callable, or path of a Matrix Market file
        Square; `symmetric` asks that it equals its conjugate transpose (entries only: a function
        cannot be asked). `entries` refuses a function.
    b : array of shape (n,) or (n, 1)
    x0 : array of shape (n,), optional
        Zeros if left out.

    Of different precisions the widest is that of the solution; integers of NumPy are float64, as SciPy has it.

    Raises
    ------
    ArgumentError, ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
    """
    if isinstance(A, (str, os.PathLike)):
        A = read_matrix_market(A, "A")
    A, b, x0 = _from_integers(A), _from_integers(b), _from_integers(x0)
    b = check_array(b, "b", complex_ok=True)
    if b.ndim == 2 and b.shape[1] == 1:
        b = namespace(b).reshape(b, (-1,))
    b = check_array(b, "b", ndim=1, complex_ok=True)
    n = b.shape[0]
    if n == 0:
        raise ShapeError("b: is empty, wanted shape (n,) with n >= 1")
    if _torch_sparse(A):
        A = _product(A, b)
    if scipy.sparse.issparse(A):
        if not isinstance(b, np.ndarray):
            raise ArgumentTypeError(f"b: a SciPy sparse matrix needs a NumPy right side, got {type(b)}")
        matrix = check_sparse(A, "A", symmetric=symmetric)
        dtype = _widest(matrix.dtype, b, x0)
        matrix = matrix.astype(dtype, copy=False)
        operator = Operator(lambda v: matrix @ v, matrix)
    elif is_array(A) or isinstance(A, (list, tuple)):
        check = check_symmetric if symmetric else check_square
        matrix = check(A, "A", ndim=2, complex_ok=True)
        try:
            xp = namespace(matrix, b)
        except TypeError:
            raise ArgumentTypeError(
                f"A, b: wanted arrays of one library, got {type(A)} and {type(b)}"
            ) from None
        dtype = _widest(matrix.dtype, b, x0)
        matrix = xp.astype(matrix, dtype, copy=False)
        operator = Operator(lambda v: xp.matmul(matrix, v), matrix)
    elif callable(A) or hasattr(A, "matvec"):
        if entries:
            raise ArgumentTypeError("A: this method reads the entries; wanted a matrix, got a function")
        shape = getattr(A, "shape", (n, n))
        if tuple(shape) != (n, n):
            raise ShapeError(f"A: wanted a square operator of shape {(n, n)}, got {tuple(shape)}")
        operator = Operator(_checked(A.matvec if hasattr(A, "matvec") else A, b))
        dtype = getattr(A, "dtype", None)
        # A complex operator has a complex solution; its precision is the right side's, as a real one's is.
        if not isinstance(dtype, np.dtype) or dtype.kind != "c":
            dtype = b.dtype
        elif isinstance(b, np.ndarray):
            dtype = np.result_type(dtype, b.dtype)
    else:
        raise ArgumentTypeError(
            f"A: wanted an array, a SciPy sparse matrix or a function v -> A v, got {type(A).__qualname__}"
        )
    if operator.matrix is not None and operator.matrix.shape[0] != n:
        raise ShapeError(f"A, b: shapes {tuple(operator.matrix.shape)} and {(n,)} do not fit")
    b = _as_dtype(b, dtype, "b")
    xp = namespace(b)
    if x0 is None:
        return operator, b, xp.zeros_like(b)
    x0 = check_array(x0, "x0", shape=(n,), complex_ok=True)
    if namespace(x0) is not xp:
        raise ArgumentTypeError(f"x0: wanted an array of the library of b, got {type(x0)}")
    return operator, b, xp.asarray(_as_dtype(x0, b.dtype, "x0"), copy=True)


def _torch_sparse(A: Any) -> bool:
    return array_api_compat.is_torch_array(A) and str(A.layout) != "torch.strided"


def _product(A: Any, b: Array) -> Callable[[Array], Array]:
    """Return a sparse torch matrix as a function: torch has no symmetry check and few reductions for it."""
    n = b.shape[0]
    if tuple(A.shape) != (n, n):
        raise ShapeError(f"A, b: shapes {tuple(A.shape)} and {(n,)} do not fit")
    if namespace(b) is not namespace(A):
        raise ArgumentTypeError(f"A, b: wanted arrays of one library, got {type(A)} and {type(b)}")
    matrix = A.to(b.dtype)
    return lambda v: matrix @ v


def _from_integers(value: Any) -> Any:
    """Return NumPy's and SciPy's integers as float64."""
    if isinstance(value, np.ndarray) or scipy.sparse.issparse(value):
        return value.astype(np.float64) if value.dtype.kind in "iub" else value
    return value


def _widest(dtype: Any, b: Array, x0: Any) -> Any:
    """Return the dtype that holds a matrix's, the right side's and the start's numbers."""
    xp = namespace(b)
    found = xp.result_type(dtype, b.dtype)
    return xp.result_type(found, x0.dtype) if is_array(x0) and namespace(x0) is xp else found


def _as_dtype(v: Array, dtype: Any, name: str) -> Array:
    """Return `v` in `dtype`, which must be no narrower."""
    xp = namespace(v)
    if v.dtype == dtype:
        return v
    if xp.result_type(v.dtype, dtype) == dtype:
        return xp.astype(v, dtype)
    raise DtypeError(f"{name}: has dtype {v.dtype}, but the system's is {dtype}; convert one of them first")


def numpy_only(engine: str, operator: Operator, b: Array) -> bool:
    """Decide whether the compiled loop runs; raise if it was asked for and cannot.

    ``"auto"`` takes it for a SciPy sparse matrix of at least 10000 unknowns where Numba is installed.
    """
    if engine not in ("auto", "array", "numba"):
        raise ArgumentError(f"engine: wanted one of 'auto', 'array', 'numba', got {engine!r}")
    if engine == "array":
        return False
    if engine == "auto":
        import importlib.util

        return bool(
            operator.sparse and b.shape[0] >= 10_000 and importlib.util.find_spec("numba") is not None
        )
    if operator.matrix is None or not array_api_compat.is_numpy_array(b):
        raise ArgumentError("engine: 'numba' needs a SciPy sparse matrix or a NumPy matrix, not a function")
    return True


def csr_parts(matrix: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``data, indices, indptr`` of a matrix for a compiled loop."""
    csr = as_csr(matrix)
    return csr.data, csr.indices, csr.indptr


def as_csr(matrix: Any) -> Any:
    """Return a NumPy or SciPy sparse matrix in CSR."""
    return scipy.sparse.csr_array(matrix)
