"""The Bures-Wasserstein mean (barycenter) of positive definite matrices, and its derivatives."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, check_array, eye_like, namespace
from refopt.core.errors import ArgumentError, ConvergenceError, ShapeError
from refopt.core.registry import Dialect, Source, register
from refopt.matrix.bures import BRECHET_2023, bures_wasserstein_map_jvp, two_roots
from refopt.matrix.common import (
    check_choice,
    check_count,
    check_like,
    check_number,
    check_psd,
    epsilon,
    frobenius,
    hermitian_part,
    pairs,
    schur_map,
)
from refopt.matrix.square_root import psd_eigh, sqrtm_eigh

ALVAREZ_2016 = Source(
    key="alvarez-2016-fixed",
    authors="P. C. Álvarez-Esteban, E. del Barrio, J. A. Cuesta-Albertos, C. Matrán",
    title="A fixed-point approach to barycenters in Wasserstein space",
    arxiv="1511.05355",
)
MOST_STEPS = 1000


def _weights(C: Array, weights: Array | None) -> Array:
    """Return the weights of shape (k, 1, 1)."""
    xp = namespace(C)
    real = frobenius(C).dtype
    if weights is None:
        return xp.astype(xp.ones_like(frobenius(C)), real) / C.shape[-3]
    w = check_array(weights, "weights", ndim=1)
    if w.shape[0] != C.shape[-3]:
        raise ShapeError(f"weights: wanted {C.shape[-3]}, one a matrix, got shape {tuple(w.shape)}")
    if bool(xp.any(w < 0)) or abs(float(xp.sum(w)) - 1) > 64 * C.shape[-3] * epsilon(w):
        raise ArgumentError("weights: wanted nonnegative numbers that sum to 1")
    return w[:, None, None]


def fixed_point_step(S: Array, C: Array, w: Array, iteration: str) -> Array:
    """Return the next iterate of either map."""
    xp = namespace(C)
    if iteration == "pot":
        root = sqrtm_eigh(S)[..., None, :, :]
        return xp.sum(w * sqrtm_eigh(hermitian_part(root @ C @ root)), axis=-3)
    root, inverse = two_roots(S)
    outer = root[..., None, :, :]
    middle = xp.sum(w * sqrtm_eigh(hermitian_part(outer @ C @ outer)), axis=-3)
    return hermitian_part(inverse @ middle @ middle @ inverse)


@register(
    "bures-wasserstein-mean",
    kind="matfun",
    source=ALVAREZ_2016,
    where="the fixed-point iteration for Gaussians",
    also=(BRECHET_2023,),
    dialects={
        "pot": Dialect(
            {"iteration": "pot"}, "POT 0.9.7",
            "S <- sum_i w_i (S^{1/2} C_i S^{1/2})^{1/2} from the mean divided by the number of matrices",
        )
    },
)  # fmt: skip
def bures_wasserstein_mean(
    C: Array,
    weights: Array | None = None,
    *,
    steps: int | None = None,
    start: Array | None = None,
    tol: float | None = None,
    iteration: str = "alvarez-esteban",
) -> Array:
    """Return the Bures-Wasserstein mean of positive definite matrices by a fixed-point iteration.

    ``S <- S^{-1/2} (sum_i w_i (S^{1/2} C_i S^{1/2})^{1/2})^2 S^{-1/2}``; at the mean
    ``sum_i w_i T_{S -> C_i} = I``, and it minimises ``sum_i w_i d^2(S, C_i)``.

    Parameters
    ----------
    C : array of shape (..., k, n, n)
        Hermitian positive definite.
    weights : array of shape (k,), optional
        Nonnegative, sum 1; equal by default.
    steps : int, optional
        Take that many steps; by default until converged.
    start : array of shape (..., n, n), optional
        Positive definite; by default the weighted arithmetic mean (``"pot"``: that over k).
    tol : float, optional
        On ``||change||_F / ||S||_F``; by default 64 eps, or where it stalls below ``eps^{1/2}``.
    iteration : {"alvarez-esteban", "pot"}
        ``"pot"``: ``S <- sum_i w_i (S^{1/2} C_i S^{1/2})^{1/2}``, another map with the same limit, slower.

    Returns
    -------
    array of shape (..., n, n)

    Raises
    ------
    ConvergenceError
        A matrix is not positive definite, or not converged after 1000 steps.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    bures_wasserstein_mean_jvp, bures_wasserstein_mean_vjp : implicit derivatives.

    Notes
    -----
    Converges from every positive definite start, linearly: measured rates 0.1 to 0.4 a step for condition
    numbers 10 to 1e4.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> C = np.stack([np.diag([1.0, 4.0]), np.diag([9.0, 4.0])])
    >>> print(np.round(refopt.get("bures-wasserstein-mean")(C), 6))
    [[4. 0.]
     [0. 4.]]
    """
    check_choice(iteration, "iteration", ("alvarez-esteban", "pot"))
    C = check_psd(C, "C", strict=True)
    if C.ndim < 3:
        raise ShapeError(f"C: wanted shape (..., k, n, n), got {tuple(C.shape)}")
    w = _weights(C, weights)
    xp = namespace(C)
    if start is not None:
        S = check_psd(check_like(start, "start", C, "C"), "start", strict=True)
    else:
        S = xp.sum(w * C, axis=-3) / (C.shape[-3] if iteration == "pot" else 1)
    if steps is not None:
        for _ in range(check_count(steps, "steps", least=0)):
            S = fixed_point_step(S, C, w, iteration)
        return S
    limit = 64 * epsilon(C) if tol is None else check_number(tol, "tol", above=0.0)
    old = math.inf
    for _ in range(MOST_STEPS):
        new = fixed_point_step(S, C, w, iteration)
        change = float(xp.max(frobenius(new - S) / frobenius(new)))
        S = new
        # Linear convergence that has stopped contracting has reached rounding.
        if change <= limit or (tol is None and change <= epsilon(C) ** 0.5 and change > 0.98 * old):
            return S
        old = change
    raise ConvergenceError(
        f"C: the mean has not converged after {MOST_STEPS} steps (relative change {change:.3g})"
    )


def _solve_map(S: Array, C: Array, w: Array, right: Array) -> Array:
    """Solve ``sum_i w_i d_A T_{S -> C_i}[Z] = right`` (self-adjoint) by its matrix, of order n^2."""
    xp = namespace(C)
    n = S.shape[-1]
    basis = xp.reshape(eye_like(S, n * n), (n * n, 1, n, n))
    images = xp.sum(w * bures_wasserstein_map_jvp(S, C, basis), axis=-3)
    matrix = xp.matrix_transpose(xp.reshape(images, (n * n, n * n)))
    return xp.reshape(xp.linalg.solve(matrix, xp.reshape(right, (n * n, 1))), (n, n))


def _point(C: Array, mean: Array, weights: Array | None) -> tuple[Array, Array, Array]:
    C = check_psd(C, "C", strict=True)
    if C.ndim != 3:
        raise ShapeError(f"C: wanted shape (k, n, n), got {tuple(C.shape)}")
    return C, check_psd(check_like(mean, "mean", C, "C"), "mean", strict=True), _weights(C, weights)


def bures_wasserstein_mean_jvp(C: Array, mean: Array, tangent: Array, weights: Array | None = None) -> Array:
    """Return the implicit derivative of the mean along `tangent` (k, n, n), at the converged `mean`.

    Solves ``sum_i w_i d_A T_i[dS] = - sum_i w_i d_B T_i[dC_i]``.
    """
    C, S, w = _point(C, mean, weights)
    xp = namespace(C)
    stack = xp.broadcast_to(S, C.shape)
    right = -xp.sum(w * bures_wasserstein_map_jvp(stack, C, None, tangent), axis=-3)
    return _solve_map(S, C, w, right)


def bures_wasserstein_mean_vjp(
    C: Array, mean: Array, cotangent: Array, weights: Array | None = None
) -> Array:
    """Return the implicit reverse derivative, shape (k, n, n), at the converged `mean`.

    With ``sum_i w_i d_A T_i[Z] = G``: ``- w_i s Lyap_N(s^{-1} Z s^{-1}) s``, s the mean's root and
    ``N = (s C_i s)^{1/2}``.
    """
    C, S, w = _point(C, mean, weights)
    xp = namespace(C)
    Z = _solve_map(S, C, w, cotangent)
    s, inverse = two_roots(S)
    values, vectors = psd_eigh(hermitian_part(s @ C @ s), strict=True)
    left, right = pairs(xp.sqrt(values))
    return -w * (s @ schur_map(vectors, 1 / (left + right), inverse @ Z @ inverse) @ s)
