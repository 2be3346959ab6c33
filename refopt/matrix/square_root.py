"""The matrix square root by eigendecomposition, with its derivatives."""

from __future__ import annotations

from refopt.core.arrays import CHECKING, Array, namespace
from refopt.core.errors import ConvergenceError
from refopt.core.registry import register
from refopt.matrix.common import (
    check_choice,
    check_hermitian,
    check_like,
    eigh,
    epsilon,
    from_eigen,
    hermitian_part,
    over_stack,
    pairs,
    schur_map,
    spectral,
)
from refopt.matrix.lyapunov import SONG_2022, SONG_2022_INVERSE


def psd_eigh(A: Array, name: str = "A", *, strict: bool = False) -> tuple[Array, Array]:
    """Return the eigenpairs of a positive semidefinite (if `strict`: definite) Hermitian `A`.

    Eigenvalues that rounding made negative, by at most ``16 n eps`` of the largest, become zero.
    """
    A = hermitian_part(check_hermitian(A, name))
    values, vectors = eigh(A)
    xp = namespace(A)
    lowest, highest = values[..., 0], xp.max(xp.abs(values), axis=-1)
    slack = 16 * A.shape[-1] * epsilon(A) * highest
    bad = lowest <= 0 if strict else lowest < -slack
    if CHECKING.on and bool(xp.any(bad)):
        kind = "definite (every eigenvalue > 0)" if strict else "semidefinite (every eigenvalue >= 0)"
        raise ConvergenceError(
            f"{name}: wanted positive {kind} matrices, got one with the eigenvalue"
            f" {float(xp.min(lowest)):.3g}; the function is defined only there"
        )
    return xp.where(values > 0, values, xp.zeros_like(values)), vectors


@register(
    "sqrtm-eigh",
    kind="matfun",
    source=SONG_2022,
    where="the eigendecomposition that the paper's methods are compared with",
    also=(SONG_2022_INVERSE,),
)  # fmt: skip
def sqrtm_eigh(A: Array) -> Array:
    """Return the positive semidefinite square root of `A` by eigendecomposition.

    ``A = Q diag(lambda) Q*`` gives ``A^{1/2} = Q diag(sqrt(max(lambda, 0))) Q*``.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive semidefinite; eigenvalues down to ``-16 n eps lambda_max`` count as zero.

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        A matrix has a negative eigenvalue.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Not Hermitian, not square, not floating point, not finite.

    See Also
    --------
    sqrtm_eigh_jvp, sqrtm_eigh_vjp : derivatives, finite at repeated eigenvalues.
    invsqrtm_eigh, invsqrtm_eigh_jvp, invsqrtm_eigh_vjp : the inverse root.

    Notes
    -----
    No iteration. The error is a few eps of the norm at any condition number; the part along the smallest
    eigenvalue is good to eps times the condition number. A large NumPy stack is split over two threads.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> S = refopt.get("sqrtm-eigh")(np.array([[5.0, 4.0], [4.0, 5.0]]))
    >>> print(np.round(S, 6))
    [[2. 1.]
     [1. 2.]]
    """
    return over_stack(_root, A)


def _root(A: Array) -> Array:
    return spectral(A, psd_eigh(A), namespace(A).sqrt, root_kernel)


def root_kernel(values: Array) -> Array:
    """Return the divided differences of the root, ``1 / (sqrt l_i + sqrt l_j)``: infinite where both are zero."""
    left, right = pairs(namespace(values).sqrt(values))
    return 1 / (left + right)


def sqrtm_eigh_jvp(A: Array, tangent: Array, *, at_zero: str = "raise") -> Array:
    """Return the derivative of ``A^{1/2}`` along `tangent`: ``Q (Q* E Q / (sqrt l_i + sqrt l_j)) Q*``.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive definite.
    tangent : array of the shape and dtype of `A`
    at_zero : {"raise", "zero"}
        What a pair of zero eigenvalues gives, where the root is not differentiable: an error, or 0 (POT).

    Raises
    ------
    ConvergenceError
        `A` is singular and `at_zero` is ``"raise"``, or it is indefinite.
    """
    check_choice(at_zero, "at_zero", ("raise", "zero"))
    values, vectors = psd_eigh(A)
    E = check_like(tangent, "tangent", vectors, "A")
    xp = namespace(values)
    left, right = pairs(xp.sqrt(values))
    total = left + right
    if at_zero == "raise" and bool(xp.any(total == 0)):
        raise ConvergenceError(
            "A: singular; the square root has no derivative there (at_zero='zero' takes 0)"
        )
    positive = total > 0
    kernel = xp.where(positive, 1 / xp.where(positive, total, xp.ones_like(total)), xp.zeros_like(total))
    return schur_map(vectors, kernel, E)


def sqrtm_eigh_vjp(A: Array, cotangent: Array, *, at_zero: str = "raise") -> Array:
    """Return the reverse derivative of ``A^{1/2}``; the map is self-adjoint, so it is `sqrtm_eigh_jvp`."""
    return sqrtm_eigh_jvp(A, cotangent, at_zero=at_zero)


def invsqrtm_eigh(A: Array) -> Array:
    """Return ``A^{-1/2}`` of a Hermitian positive definite `A` by eigendecomposition."""
    values, vectors = psd_eigh(A, strict=True)
    return from_eigen(vectors, 1 / namespace(values).sqrt(values))


def invsqrtm_eigh_jvp(A: Array, tangent: Array) -> Array:
    """Return the derivative of ``A^{-1/2}``: kernel ``-1 / (sqrt(l_i l_j) (sqrt l_i + sqrt l_j))``."""
    values, vectors = psd_eigh(A, strict=True)
    E = check_like(tangent, "tangent", vectors, "A")
    left, right = pairs(namespace(values).sqrt(values))
    return schur_map(vectors, -1 / (left * right * (left + right)), E)


def invsqrtm_eigh_vjp(A: Array, cotangent: Array) -> Array:
    """Return the reverse derivative of ``A^{-1/2}``, the same self-adjoint map."""
    return invsqrtm_eigh_jvp(A, cotangent)
