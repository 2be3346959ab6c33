"""Products of matrices with what is added to them; half the work where the result is Hermitian."""

from __future__ import annotations

import array_api_compat
import numpy as np

from refopt.core.arrays import Array, is_complex, namespace
from refopt.matrix.common import adjoint

# Of torch's products on the CPU: below this order the calls cost more than the half that is saved.
STRIPS, STRIPS_FROM = 4, 256
HALVES_FROM = 128  # the order from which a Hermitian product of NumPy's is formed in halves


def product(A: Array, B: Array, C: Array, beta: float) -> Array:
    """Return ``A B + beta C`` for stacks of matrices, rounded once an entry where the library can (torch)."""
    if array_api_compat.is_torch_array(A) and A.ndim in (2, 3):
        xp = namespace(A)
        return (xp.addmm if A.ndim == 2 else xp.baddbmm)(C, A, B, beta=beta)
    out = A @ B
    out += beta * C
    return out


def gram(A: Array) -> Array:
    """Return ``A A*`` of each matrix of a stack.

    NumPy hands a matrix times its own transpose to BLAS's ``syrk``, so that one product costs little
    more than half of another; of torch, which has none, strips of the lower half are formed and mirrored.

    Parameters
    ----------
    A : array of shape (..., m, n)

    Returns
    -------
    array of shape (..., m, m)
    """
    return _by_strips(A) if _worth_strips(A) else A @ adjoint(A)


def hermitian_product(A: Array, B: Array) -> Array:
    """Return ``A B`` of Hermitian matrices that commute: Hermitian, so that NumPy forms three quarters and mirrors the rest."""
    n = A.shape[-1]
    if not isinstance(A, np.ndarray) or A.ndim != 2 or n < HALVES_FROM:
        return A @ B
    half, out = n // 2, np.empty_like(B)
    np.matmul(A[:half], B[:, :half], out=out[:half, :half])
    np.matmul(A[half:], B, out=out[half:])
    out[:half, half:] = adjoint(out[half:, :half])
    return out


def squared(S: Array, b: float, c: float) -> Array:
    """Return ``b S + c S^2`` of Hermitian matrices, at the price of `gram`."""
    if _worth_strips(S):
        return _by_strips(S, b, c)
    if array_api_compat.is_torch_array(S) and S.ndim in (2, 3):
        xp = namespace(S)
        return (xp.addmm if S.ndim == 2 else xp.baddbmm)(S, S, S, beta=b, alpha=c)
    out = gram(S)
    out *= c
    out += b * S
    return out


def _worth_strips(A: Array) -> bool:
    return bool(
        A.ndim == 2
        and A.shape[0] >= STRIPS_FROM
        and array_api_compat.is_torch_array(A)
        and A.device.type == "cpu"
        and not is_complex(A)
        and not A.requires_grad  # what is written to a given place cannot be differentiated
    )


def _by_strips(A: Array, beta: float = 0.0, alpha: float = 1.0) -> Array:
    """Return ``alpha A A^T + beta A`` from strips of its lower half; A is square unless beta is 0."""
    xp, m = namespace(A), A.shape[0]
    transposed = xp.matrix_transpose(A)
    out = xp.empty((m, m), dtype=A.dtype, device=A.device)
    for k in range(STRIPS):
        low, high = m * k // STRIPS, m * (k + 1) // STRIPS
        strip = out[low:high, :high]
        # What is multiplied by beta = 0 is not read.
        added = A[low:high, :high] if beta else strip
        xp.addmm(added, A[low:high], transposed[:, :high], beta=beta, alpha=alpha, out=strip)
        out[:low, low:high] = xp.matrix_transpose(out[low:high, :low])
    return out
