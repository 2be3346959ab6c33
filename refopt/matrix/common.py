"""What the matrix functions share: adjoints, identities, norms, checks and the closed eigenbasis maps."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from refopt.core.arrays import (
    CHECKING,
    Array,
    all_finite,
    check_array,
    check_square,
    check_symmetric,
    eye_like,
    is_array,
    is_complex,
    namespace,
)
from refopt.core.errors import ArgumentError, ArgumentTypeError, ConvergenceError, DtypeError, ShapeError
from refopt.core.torch_spectral import spectral_function

WORKERS = 2
# The epsilon above which a dtype has too few digits to add up squares in: float16's is 1e-3.
HALF = 5e-4


@functools.cache
def _blas_controller() -> Any:
    """Return threadpoolctl's handle on the loaded BLAS, or None where that package is not installed."""
    try:
        import threadpoolctl  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        return None
    return threadpoolctl.ThreadpoolController()


def single_threaded_blas() -> contextlib.AbstractContextManager[Any]:
    """Keep BLAS from starting threads of its own while a stack of small matrices is split over ours."""
    controller = _blas_controller()
    return contextlib.nullcontext() if controller is None else controller.limit(limits=1)


def adjoint(A: Array) -> Array:
    """Return the conjugate transpose of each matrix of a stack."""
    xp = namespace(A)
    transposed = xp.matrix_transpose(A)
    return xp.conj(transposed) if is_complex(A) else transposed


def hermitian_part(A: Array) -> Array:
    """Return ``(A + A*) / 2``."""
    return (A + adjoint(A)) / 2


def frobenius(A: Array) -> Array:
    """Return the Frobenius norms of a stack, shape (..., 1, 1), free of overflow at any scale."""
    xp = namespace(A)
    if epsilon(A) > HALF:
        return xp.astype(frobenius(xp.astype(A, xp.float32)), A.dtype)
    scale = largest(A)
    safe = xp.where(scale > 0, scale, xp.ones_like(scale))
    scaled = xp.abs(A / safe) if is_complex(A) else A / safe
    return safe * xp.sqrt(xp.sum(scaled * scaled, axis=(-2, -1), keepdims=True))


def largest(A: Array) -> Array:
    """Return the largest absolute entry of each matrix, shape (..., 1, 1)."""
    xp = namespace(A)
    if is_complex(A):
        return xp.max(xp.abs(A), axis=(-2, -1), keepdims=True)
    # Two readings are cheaper than an array of absolute values.
    high, low = (f(A, axis=(-2, -1), keepdims=True) for f in (xp.max, xp.min))
    return xp.maximum(high, -low)


def trace(A: Array) -> Array:
    """Return the traces of a stack, shape (...)."""
    return namespace(A).linalg.trace(A)


def inner(A: Array, B: Array) -> Array:
    """Return the real inner products ``Re tr(A* B)`` of two stacks, shape (...)."""
    xp = namespace(A, B)
    product = xp.conj(A) * B if is_complex(A) else A * B
    total = xp.sum(product, axis=(-2, -1))
    return xp.real(total) if is_complex(total) else total


def epsilon(A: Array) -> float:
    """Return the machine epsilon of the (real part of the) dtype."""
    return float(namespace(A).finfo(A.dtype).eps)


def check_count(value: Any, name: str, least: int = 1) -> int:
    """Return `value` if it is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentTypeError(f"{name}: wanted an int, got {type(value).__qualname__}")
    if value < least:
        raise ArgumentError(f"{name}: wanted at least {least}, got {value}")
    return int(value)


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`."""
    if is_array(value) or value not in choices:
        raise ArgumentError(f"{name}: wanted one of {', '.join(map(repr, choices))}, got {value!r}")
    return str(value)


def check_number(value: Any, name: str, *, above: float = -np.inf, least: float = -np.inf) -> float:
    """Return `value` as a float if it is a finite real number, ``> above`` and ``>= least``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentTypeError(f"{name}: wanted a real number, got {type(value).__qualname__}")
    try:
        value = float(value)
    except OverflowError:
        raise ArgumentError(
            f"{name}: wanted a number that a float holds, got one of {value.bit_length()} bits"
        ) from None
    if not math.isfinite(value) or value <= above or value < least:
        bound = f" > {above:g}" if np.isfinite(above) else f" >= {least:g}" if np.isfinite(least) else ""
        raise ArgumentError(f"{name}: wanted a finite number{bound}, got {value!r}")
    return value


def check_like(value: Any, name: str, reference: Array, reference_name: str) -> Array:
    """Return `value` as an array of the dtype of `reference`, and of its trailing two dimensions."""
    value = check_array(value, name, complex_ok=True, min_ndim=2)
    if namespace(value) is not namespace(reference):
        raise ArgumentTypeError(
            f"{name}: wanted an array of {namespace(reference).__name__}, as {reference_name}, got one of"
            f" {namespace(value).__name__}"
        )
    if tuple(value.shape[-2:]) != tuple(reference.shape[-2:]):
        raise ShapeError(
            f"{name}: wanted matrices of shape {tuple(reference.shape[-2:])}, as {reference_name},"
            f" got {tuple(value.shape)}"
        )
    if value.dtype != reference.dtype:
        raise DtypeError(f"{name}: wanted dtype {reference.dtype}, as {reference_name}, got {value.dtype}")
    return value


def check_hermitian(A: Any, name: str = "A") -> Array:
    """Return `A` (..., n, n) as a floating-point array equal to its adjoint to rounding."""
    A = check_square(A, name, complex_ok=True)
    if 0 in A.shape:
        raise ShapeError(f"{name}: is empty, shape {tuple(A.shape)}")
    return check_symmetric(A, name, complex_ok=True)


def _factorises(A: Array) -> bool:
    xp = namespace(A)
    try:
        return all_finite(xp.linalg.cholesky(A))
    except Exception as error:  # each library has its own class for a failed factorisation
        if "LinAlg" in type(error).__name__:
            return False
        raise


def check_psd(A: Any, name: str = "A", *, strict: bool = False) -> Array:
    """Return the Hermitian, positive semidefinite `A` (positive definite if `strict`).

    Definiteness is read off a Cholesky factorisation, of ``A + n eps ||A|| I`` where semidefinite
    matrices are allowed, which costs a small part of any of the functions that ask.

    Raises
    ------
    ConvergenceError
        A matrix of the stack has a negative (if `strict`: or zero) eigenvalue.
    """
    A = check_hermitian(A, name)
    if not CHECKING.on:
        return A
    scale = largest(A)
    xp = namespace(A)
    # Scaled so that neither tiny nor huge matrices leave the range; a zero matrix stays zero.
    scaled = A / xp.where(scale > 0, scale, xp.ones_like(scale))
    n = A.shape[-1]
    ridge = 0.0 if strict else 16 * n * epsilon(A)
    if not _factorises(scaled + ridge * eye_like(A)):
        kind = "definite" if strict else "semidefinite"
        raise ConvergenceError(
            f"{name}: wanted positive {kind} matrices (every eigenvalue {'> 0' if strict else '>= 0'}), got"
            " one that is not; the function is defined, and its iteration converges, only there"
        )
    return A


def over_stack(function: Callable[[Array], Array], A: Array) -> Array:
    """Apply a function of matrices to a stack; a large NumPy stack goes in pieces through two threads.

    LAPACK works on one matrix at a time and releases the interpreter lock; a piece stays in cache from the
    checks to the last product. Each matrix meets the same calls either way.
    """
    if type(A) is not np.ndarray or A.ndim < 3 or A.size < 1 << 16 or 0 in A.shape:
        return function(A)
    stack = A.reshape(-1, *A.shape[-2:])
    pieces = min(stack.shape[0], WORKERS * max(1, A.size >> 17))
    with single_threaded_blas(), ThreadPoolExecutor(WORKERS) as pool:
        parts = list(pool.map(function, np.array_split(stack, pieces)))
    return np.concatenate(parts).reshape(A.shape)


def eigh(A: Array) -> tuple[Array, Array]:
    """Return eigenvalues and eigenvectors of the Hermitian stack `A`."""
    values, vectors = namespace(A).linalg.eigh(A)
    return values, vectors


def from_eigen(vectors: Array, values: Array) -> Array:
    """Return ``Q diag(values) Q*``."""
    return (vectors * values[..., None, :]) @ adjoint(vectors)


def spectral(
    A: Array,
    eigenpairs: tuple[Array, Array],
    function: Callable[[Array], Array],
    kernel: Callable[[Array], Array],
) -> Array:
    """Return ``Q f(L) Q*`` of the Hermitian `A` with the given eigenpairs.

    `kernel` gives f's divided differences; where torch records a graph, the gradient is made of them, so that equal eigenvalues
    do it no harm.
    """
    values, vectors = eigenpairs
    if getattr(A, "requires_grad", False):
        import torch

        if torch.is_grad_enabled():
            return spectral_function().apply(
                hermitian_part(A), values.detach(), vectors.detach(), function, kernel
            )
    return from_eigen(vectors, function(values))


def schur_map(vectors: Array, kernel: Array, E: Array) -> Array:
    """Return ``Q (K ∘ (Q* E Q)) Q*``: every derivative in an eigenbasis has this form."""
    return vectors @ (kernel * (adjoint(vectors) @ E @ vectors)) @ adjoint(vectors)


def pairs(values: Array) -> tuple[Array, Array]:
    """Return ``a_i`` as a column and ``a_j`` as a row, to build a kernel ``K_ij``."""
    xp = namespace(values)
    return xp.expand_dims(values, axis=-1), xp.expand_dims(values, axis=-2)


def elementwise(function: Callable[[Array], Array], A: Array) -> Array:
    """Apply `function` to the eigenvalues of `A`."""
    values, vectors = eigh(A)
    return from_eigen(vectors, function(values))


def singular_map(
    U: Array, sigma: Array, V: Array, E: Array, minus: Array, plus: Array, ratio: Array
) -> Array:
    """Return the derivative in direction `E` of ``U f(Sigma) V*``, f an odd function of singular values.

    Parameters
    ----------
    U, sigma, V : array
        Thin SVD ``A = U diag(sigma) V*``.
    E : array
        The direction, of `A`'s shape.
    minus, plus : array of shape (..., r, r)
        ``(f_i - f_j) / (sigma_i - sigma_j)`` and ``(f_i + f_j) / (sigma_i + sigma_j)``.
    ratio : array of shape (..., r)
        ``f_i / sigma_i``.
    """
    xp = namespace(U)
    M = adjoint(U) @ E @ V
    core = minus * (M + adjoint(M)) / 2 + plus * (M - adjoint(M)) / 2
    row = xp.expand_dims(ratio, axis=-2)
    beyond_left = E @ V - U @ M
    beyond_right = adjoint(U) @ E - M @ adjoint(V)
    return U @ core @ adjoint(V) + (beyond_left * row) @ adjoint(V) + (U * row) @ beyond_right


def thin_svd(A: Array) -> tuple[Array, Array, Array]:
    """Return ``U, sigma, V`` of the thin SVD ``A = U diag(sigma) V*``."""
    U, sigma, Vh = namespace(A).linalg.svd(A, full_matrices=False)
    return U, sigma, adjoint(Vh)
