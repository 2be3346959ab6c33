"""Logarithm, exponential and power of symmetric positive definite matrices, with derivatives."""

from __future__ import annotations

import math

from refopt.core.arrays import CHECKING, Array, namespace
from refopt.core.errors import ArgumentError
from refopt.core.registry import Source, register
from refopt.matrix.common import (
    check_hermitian,
    check_like,
    check_number,
    eigh,
    hermitian_part,
    schur_map,
    spectral,
)
from refopt.matrix.divided_differences import exp_kernel, log_kernel, power_kernel
from refopt.matrix.square_root import psd_eigh

WANG_2025 = Source(
    key="wang-2025-normalize",
    authors="R. Wang, S. Jin, Z. Chen, X. Luo, X.-J. Wu",
    title="Learning to Normalize on the SPD Manifold under Bures-Wasserstein Geometry",
    arxiv="2504.00660",
    venue="CVPR 2025",
)


@register(
    "spd-log",
    kind="matfun",
    source=WANG_2025,
    where="the LogEig layer",
)  # fmt: skip
def spd_log(A: Array) -> Array:
    """Return the principal logarithm of `A`: ``Q diag(ln lambda) Q*``.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive definite.

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        `A` has an eigenvalue that is not positive.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    spd_log_jvp, spd_log_vjp : derivatives, finite at repeated eigenvalues.

    Notes
    -----
    No iteration: defined for every positive definite matrix; the error is about eps times the condition
    number, absolute, along the smallest eigenvalue. Nothing is clamped: a layer that wants eigenvalues cut
    off from below cuts them before.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(np.round(refopt.get("spd-log")(np.diag([1.0, np.e])), 6))
    [[0. 0.]
     [0. 1.]]
    """
    values, vectors = psd_eigh(A, strict=True)
    return spectral(A, (values, vectors), namespace(values).log, log_kernel)


def spd_log_jvp(A: Array, tangent: Array) -> Array:
    """Return the derivative of the logarithm along `tangent`: kernel ``(ln a - ln b) / (a - b)``."""
    values, vectors = psd_eigh(A, strict=True)
    return schur_map(vectors, log_kernel(values), check_like(tangent, "tangent", vectors, "A"))


def spd_log_vjp(A: Array, cotangent: Array) -> Array:
    """Return the reverse derivative of the logarithm, the same self-adjoint map."""
    return spd_log_jvp(A, cotangent)


def _symmetric_eigh(X: Array) -> tuple[Array, Array]:
    X = check_hermitian(X, "X")
    values, vectors = eigh(hermitian_part(X))
    xp = namespace(X)
    limit = math.log(float(xp.finfo(X.dtype).max))
    if CHECKING.on and bool(xp.any(values > limit)):
        raise ArgumentError(
            f"X: the exponential overflows; wanted eigenvalues below {limit:.4g}, got"
            f" {float(xp.max(values)):.4g}"
        )
    return values, vectors


@register(
    "spd-exp",
    kind="matfun",
    source=WANG_2025,
    where="the exponential of a symmetric matrix (ExpEig)",
)  # fmt: skip
def spd_exp(X: Array) -> Array:
    """Return the exponential of a symmetric (Hermitian) matrix: ``Q diag(e^lambda) Q*``.

    Parameters
    ----------
    X : array of shape (..., n, n)
        Hermitian, of any signature.

    Returns
    -------
    array of the shape and dtype of `X`
        Positive definite.

    Raises
    ------
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments, or eigenvalues whose exponential leaves the dtype's range.

    See Also
    --------
    spd_exp_jvp, spd_exp_vjp : derivatives, finite at repeated eigenvalues.

    Notes
    -----
    No iteration. Normwise error a few eps times ``1 + ||X||_2``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(np.round(refopt.get("spd-exp")(np.diag([0.0, 1.0])), 6))
    [[1.       0.      ]
     [0.       2.718282]]
    """
    values, vectors = _symmetric_eigh(X)
    return spectral(X, (values, vectors), namespace(values).exp, exp_kernel)


def spd_exp_jvp(X: Array, tangent: Array) -> Array:
    """Return the derivative of the exponential along `tangent`: kernel ``(e^a - e^b) / (a - b)``."""
    values, vectors = _symmetric_eigh(X)
    return schur_map(vectors, exp_kernel(values), check_like(tangent, "tangent", vectors, "X"))


def spd_exp_vjp(X: Array, cotangent: Array) -> Array:
    """Return the reverse derivative of the exponential, the same self-adjoint map."""
    return spd_exp_jvp(X, cotangent)


@register(
    "spd-power",
    kind="matfun",
    source=WANG_2025,
    where="the power deformation (PowerEig)",
)  # fmt: skip
def spd_power(A: Array, theta: float = 0.5) -> Array:
    """Return the power ``A^theta = Q diag(lambda^theta) Q*`` of a positive definite matrix.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive definite; semidefinite if ``theta >= 0``.
    theta : float
        Any real number.

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        `A` is not positive definite (``theta < 0``) or semidefinite.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    spd_power_jvp, spd_power_vjp : derivatives, finite at repeated eigenvalues.

    Notes
    -----
    No iteration. Error near eps of the norm for ``theta > 0``, ``|theta|`` eps times the condition number
    for ``theta < 0``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("spd-power")(np.diag([4.0, 9.0]), theta=-0.5).round(6))
    [[0.5      0.      ]
     [0.       0.333333]]
    """
    theta = check_number(theta, "theta")
    values, vectors = psd_eigh(A, strict=theta < 0)
    return spectral(A, (values, vectors), lambda v: v**theta, lambda v: power_kernel(v, theta))


def spd_power_jvp(A: Array, tangent: Array, theta: float = 0.5) -> Array:
    """Return the derivative of the power along `tangent`: kernel ``(a^t - b^t) / (a - b)``; A definite."""
    theta = check_number(theta, "theta")
    values, vectors = psd_eigh(A, strict=True)
    return schur_map(vectors, power_kernel(values, theta), check_like(tangent, "tangent", vectors, "A"))


def spd_power_vjp(A: Array, cotangent: Array, theta: float = 0.5) -> Array:
    """Return the reverse derivative of the power, the same self-adjoint map."""
    return spd_power_jvp(A, cotangent, theta)
