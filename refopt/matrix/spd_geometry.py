"""Geometries of the SPD manifold: distances, exponential and logarithmic maps, geodesics, barycenters."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.errors import ArgumentError, ConvergenceError
from refopt.core.registry import Source, register
from refopt.matrix.bures import bures_wasserstein_distance, bures_wasserstein_map, two_roots
from refopt.matrix.bures_mean import _weights, bures_wasserstein_mean
from refopt.matrix.common import (
    adjoint,
    check_choice,
    check_like,
    check_number,
    check_psd,
    eigh,
    epsilon,
    frobenius,
    hermitian_part,
    inner,
)
from refopt.matrix.lyapunov import lyapunov_eigh
from refopt.matrix.spd import WANG_2025, spd_exp, spd_log, spd_log_jvp, spd_power, spd_power_vjp

METRICS = ("affine-invariant", "log-euclidean", "bures-wasserstein")
MOST_STEPS = 500

HAN_2021 = Source(
    key="han-2021-riemannian",
    authors="A. Han, B. Mishra, P. Jawanpuria, J. Gao",
    title="On Riemannian Optimization over Positive Definite Matrices with the Bures-Wasserstein Geometry",
    venue="NeurIPS 2021",
)
PENNEC_2006 = Source(
    key="pennec-2006-riemannian",
    authors="X. Pennec, P. Fillard, N. Ayache",
    title="A Riemannian Framework for Tensor Computing",
    venue="International Journal of Computer Vision 66(1), 41-66",
)


def _deform(A: Array, name: str, theta: float, inverse_root: Array | None) -> Array:
    """Return ``M^{-1/2} A^theta M^{-1/2}``."""
    A = check_psd(A, name, strict=True)
    if theta != 1:
        A = spd_power(A, theta)
    if inverse_root is not None:
        A = hermitian_part(inverse_root @ A @ inverse_root)
    return A


def _pair(
    A: Array, B: Array, metric: str, theta: float, M: Array | None
) -> tuple[Array, Array, Array | None]:
    check_choice(metric, "metric", METRICS)
    if check_number(theta, "theta") == 0:
        raise ArgumentError("theta: wanted a number other than 0 (its limit is the log-Euclidean metric)")
    if M is not None and metric != "bures-wasserstein":
        raise ArgumentError("M: only the Bures-Wasserstein metric has this parameter")
    A = check_psd(A, "A", strict=True)
    B = check_like(B, "B", A, "A")
    inverse = None if M is None else two_roots(check_like(M, "M", A, "A"), "M")[1]
    return _deform(A, "A", theta, inverse), _deform(B, "B", theta, inverse), inverse


def _generalised_eigenvalues(A: Array, B: Array) -> Array:
    """Return the eigenvalues of ``A^{-1} B``, by the Cholesky factor of A."""
    xp = namespace(A)
    L = xp.linalg.cholesky(A)
    half = xp.linalg.solve(L, B)
    return eigh(hermitian_part(xp.linalg.solve(L, adjoint(half))))[0]


@register(
    "spd-distance",
    kind="matfun",
    source=WANG_2025,
    where="the (theta, M) deformed Bures-Wasserstein distance",
    also=(HAN_2021, PENNEC_2006),
)  # fmt: skip
def spd_distance(
    A: Array,
    B: Array,
    metric: str = "affine-invariant",
    *,
    theta: float = 1.0,
    M: Array | None = None,
    squared: bool = False,
) -> Array:
    """Return the distance of two SPD matrices in one of the usual geometries.

    ``"affine-invariant"``: ``(sum ln^2 lambda_i(A^{-1} B))^{1/2}``; ``"log-euclidean"``:
    ``||log A - log B||_F``; ``"bures-wasserstein"``: see `bures_wasserstein_distance`, with M the generalised
    one, ``d(M^{-1/2} A M^{-1/2}, M^{-1/2} B M^{-1/2})``. theta deforms any of them:
    ``d(A^theta, B^theta) / |theta|``.

    Parameters
    ----------
    A, B : array of shape (..., n, n)
        Hermitian positive definite.
    metric : {"affine-invariant", "log-euclidean", "bures-wasserstein"}
    theta : float
        Not 0.
    M : array of shape (..., n, n), optional
        Hermitian positive definite; Bures-Wasserstein only, identity by default.
    squared : bool
        Return the square instead.

    Returns
    -------
    array of shape (...)

    Raises
    ------
    ConvergenceError
        A matrix is not positive definite.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    spd_distance_jvp, spd_distance_vjp : derivatives of the squared distance.
    spd_log_map, spd_exp_map, spd_inner, spd_geodesic, spd_mean : the geometry around it.

    Notes
    -----
    Defined for every pair. The affine-invariant distance is good to eps times the condition number, the
    Bures-Wasserstein one to eps of the norm.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> distance = refopt.get("spd-distance")
    >>> print(round(float(distance(np.eye(2), np.diag([np.e, 1.0]))), 6))
    1.0
    """
    A, B, _ = _pair(A, B, metric, theta, M)
    xp = namespace(A)
    if metric == "bures-wasserstein":
        value = bures_wasserstein_distance(A, B)
    elif metric == "log-euclidean":
        value = frobenius(spd_log(A) - spd_log(B))[..., 0, 0]
    else:
        value = xp.sqrt(xp.sum(xp.log(_generalised_eigenvalues(A, B)) ** 2, axis=-1))
    value = value / abs(theta)
    return value**2 if squared else value


def _gradient(A: Array, B: Array, metric: str, theta: float, inverse: Array | None, original: Array) -> Array:
    """Return the gradient of ``d^2`` in the first matrix, given the deformed pair."""
    if metric == "bures-wasserstein":
        gradient = eye_like(A) - bures_wasserstein_map(A, B)
    elif metric == "log-euclidean":
        gradient = 2 * spd_log_jvp(A, spd_log(A) - spd_log(B))
    else:
        _, back = two_roots(A)
        gradient = -2 * back @ spd_log(hermitian_part(back @ B @ back)) @ back
    if inverse is not None:
        gradient = inverse @ gradient @ inverse
    if theta != 1:
        gradient = spd_power_vjp(original, gradient, theta)
    return gradient / theta**2


def spd_distance_vjp(
    A: Array,
    B: Array,
    metric: str = "affine-invariant",
    cotangent: Array = 1.0,
    *,
    theta: float = 1.0,
    M: Array | None = None,
) -> tuple[Array, Array]:
    """Return `cotangent` times the Euclidean gradients of the squared distance in A and in B."""
    deformed_A, deformed_B, inverse = _pair(A, B, metric, theta, M)
    weight = cotangent[..., None, None] if hasattr(cotangent, "ndim") else cotangent
    return (
        weight * _gradient(deformed_A, deformed_B, metric, theta, inverse, A),
        weight * _gradient(deformed_B, deformed_A, metric, theta, inverse, B),
    )


def spd_distance_jvp(
    A: Array,
    B: Array,
    tangent_A: Array,
    tangent_B: Array,
    metric: str = "affine-invariant",
    *,
    theta: float = 1.0,
    M: Array | None = None,
) -> Array:
    """Return the derivative of the squared distance along both tangents."""
    gradient_A, gradient_B = spd_distance_vjp(A, B, metric, theta=theta, M=M)
    return inner(gradient_A, tangent_A) + inner(gradient_B, tangent_B)


def _base(B: Array, metric: str) -> Array:
    check_choice(metric, "metric", ("affine-invariant", "bures-wasserstein"))
    return check_psd(B, "B", strict=True)


def spd_log_map(B: Array, X: Array, metric: str = "affine-invariant") -> Array:
    """Return the tangent vector at B that leads to X.

    Affine-invariant: ``B^{1/2} log(B^{-1/2} X B^{-1/2}) B^{1/2}``. Bures-Wasserstein:
    ``(B X)^{1/2} + (X B)^{1/2} - 2 B = T B + B T - 2 B`` with T the optimal map.
    """
    B = _base(B, metric)
    if metric == "bures-wasserstein":
        T = bures_wasserstein_map(B, check_psd(X, "X", strict=True))
        return T @ B + B @ T - 2 * B
    root, inverse = two_roots(B)
    return root @ spd_log(hermitian_part(inverse @ check_like(X, "X", B, "B") @ inverse)) @ root


def spd_exp_map(B: Array, V: Array, metric: str = "affine-invariant") -> Array:
    """Return the end of the geodesic from B with the velocity V.

    Affine-invariant: ``B^{1/2} exp(B^{-1/2} V B^{-1/2}) B^{1/2}``. Bures-Wasserstein:
    ``(I + S) B (I + S)`` with ``B S + S B = V``.

    Raises
    ------
    ConvergenceError
        Bures-Wasserstein: ``I + S`` is not positive definite. The manifold is incomplete there: past it the
        map folds, and its logarithm would return another vector than V.
    """
    B = _base(B, metric)
    V = check_like(V, "V", B, "B")
    if metric == "bures-wasserstein":
        factor = eye_like(B) + hermitian_part(lyapunov_eigh(B, V))
        if bool(namespace(B).any(eigh(factor)[0] <= 0)):
            raise ConvergenceError(
                "V: too long: I + S is not positive definite, so the Bures-Wasserstein geodesic along V has"
                " left the manifold before its end; wanted a shorter V"
            )
        return hermitian_part(factor @ B @ factor)
    root, inverse = two_roots(B)
    return root @ spd_exp(hermitian_part(inverse @ V @ inverse)) @ root


def spd_inner(B: Array, U: Array, V: Array, metric: str = "affine-invariant") -> Array:
    """Return the metric tensor at B: ``tr(B^{-1} U B^{-1} V)``, or ``tr(U Lyap_B(V)) / 2``."""
    B = _base(B, metric)
    if metric == "bures-wasserstein":
        return inner(U, lyapunov_eigh(B, V)) / 2
    _, inverse = two_roots(B)
    return inner(inverse @ U @ inverse, inverse @ V @ inverse)


def spd_geodesic(A: Array, B: Array, t: float, metric: str = "affine-invariant") -> Array:
    """Return the point at `t` in [0, 1] of the geodesic from A to B."""
    check_number(t, "t")
    return spd_exp_map(A, t * spd_log_map(A, B, metric), metric)


def spd_mean(
    C: Array, weights: Array | None = None, metric: str = "affine-invariant", *, tol: float | None = None
) -> Array:
    """Return the Fréchet mean of SPD matrices (..., k, n, n): the minimiser of ``sum_i w_i d^2(S, C_i)``.

    Affine-invariant: ``S <- S^{1/2} exp(sum_i w_i log(S^{-1/2} C_i S^{-1/2})) S^{1/2}`` from the
    log-Euclidean mean, until the sum of logarithms is below `tol` (default ``64 n eps``), or stalls below
    ``eps^{1/2}``; log-Euclidean: ``exp(sum_i w_i log C_i)``; Bures-Wasserstein: `bures_wasserstein_mean`.

    Raises
    ------
    ConvergenceError
        A matrix is not positive definite, or not converged after 500 steps.

    Examples
    --------
    >>> import numpy as np
    >>> print(np.round(spd_mean(np.stack([np.diag([1.0, 4.0]), np.diag([4.0, 4.0])])), 6))
    [[2. 0.]
     [0. 4.]]
    """
    check_choice(metric, "metric", METRICS)
    if metric == "bures-wasserstein":
        return bures_wasserstein_mean(C, weights, tol=tol)
    C = check_psd(C, "C", strict=True)
    w = _weights(C, weights)
    xp = namespace(C)
    S = spd_exp(hermitian_part(xp.sum(w * spd_log(C), axis=-3)))
    if metric == "log-euclidean":
        return S
    limit = 64 * C.shape[-1] * epsilon(C) if tol is None else check_number(tol, "tol", above=0.0)
    old = math.inf
    step = 1.0
    for _ in range(MOST_STEPS):
        root, inverse = two_roots(S)
        outer = inverse[..., None, :, :]
        V = hermitian_part(xp.sum(w * spd_log(hermitian_part(outer @ C @ outer)), axis=-3))
        size = float(xp.max(frobenius(V)))
        if size <= limit or (tol is None and size <= epsilon(C) ** 0.5 and size > 0.98 * old):
            return S
        step = step / 2 if size > old else step  # widely spread matrices: the full step overshoots
        S = hermitian_part(root @ spd_exp(step * V) @ root)
        old = size
    raise ConvergenceError(
        f"C: the mean has not converged after {MOST_STEPS} steps (gradient norm {size:.3g})"
    )
