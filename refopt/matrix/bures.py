"""Bures-Wasserstein distance of positive semidefinite matrices: map, gradients, the smoothed factor form."""

from __future__ import annotations

from refopt.core.arrays import Array, check_array, eye_like, namespace
from refopt.core.errors import ShapeError
from refopt.core.registry import Source, register
from refopt.matrix.common import (
    adjoint,
    check_like,
    check_number,
    frobenius,
    from_eigen,
    hermitian_part,
    inner,
    pairs,
    schur_map,
    trace,
)
from refopt.matrix.square_root import psd_eigh, sqrtm_eigh

BRECHET_2023 = Source(
    key="brechet-2023-critical",
    authors="P. Bréchet, K. Papagiannouli, J. An, G. Montúfar",
    title="Critical Points and Convergence Analysis of Generative Deep Linear Networks Trained with"
    " Bures-Wasserstein Loss",
    arxiv="2303.03027",
    venue="ICML 2023",
)
BHATIA_2019 = Source(
    key="bhatia-2019-bures",
    authors="R. Bhatia, T. Jain, Y. Lim",
    title="On the Bures-Wasserstein distance between positive definite matrices",
    venue="Expositiones Mathematicae 37(2), 165-191",
)


def two_roots(A: Array, name: str = "A") -> tuple[Array, Array]:
    """Return ``A^{1/2}`` and ``A^{-1/2}`` of a positive definite `A`."""
    values, vectors = psd_eigh(A, name, strict=True)
    root = namespace(values).sqrt(values)
    return from_eigen(vectors, root), from_eigen(vectors, 1 / root)


@register(
    "bures-wasserstein-distance",
    kind="matfun",
    source=BRECHET_2023,
    where="the Bures-Wasserstein loss",
    also=(BHATIA_2019,),
)  # fmt: skip
def bures_wasserstein_distance(A: Array, B: Array, *, squared: bool = False) -> Array:
    """Return the Bures-Wasserstein distance of positive semidefinite `A` and `B`.

    ``d^2 = tr A + tr B - 2 tr (A^{1/2} B A^{1/2})^{1/2}``, which is the minimum over unitary U of
    ``||A^{1/2} - B^{1/2} U||_F^2``; computed as the latter, with U from an SVD, so that
    ``A ~ B`` loses no digits to cancellation.

    Parameters
    ----------
    A, B : array of shape (..., n, n)
        Hermitian positive semidefinite.
    squared : bool
        Return d^2 instead.

    Returns
    -------
    array of shape (...)

    Raises
    ------
    ConvergenceError
        `A` or `B` has a negative eigenvalue.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    bures_wasserstein_jvp, bures_wasserstein_vjp : derivatives of d^2.
    bures_wasserstein_map, bures_wasserstein_map_jvp : the transport map and its derivatives.
    bures_wasserstein_factored, bures_wasserstein_factored_grad : as a loss of a factor, smoothed.

    Notes
    -----
    Defined for all positive semidefinite pairs; the gradient in A needs A definite. The Wasserstein-2
    distance of the centred Gaussians with these covariances.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> distance = refopt.get("bures-wasserstein-distance")
    >>> print(round(float(distance(np.diag([4.0, 1.0]), np.diag([1.0, 1.0]))), 6))
    1.0
    """
    R = sqrtm_eigh(A)
    S = _psd_root(check_like(B, "B", R, "A"))
    xp = namespace(R, S)
    P, _, Qh = xp.linalg.svd(R @ S)
    difference = frobenius(R - S @ adjoint(P @ Qh))[..., 0, 0]
    return difference**2 if squared else difference


def _psd_root(B: Array) -> Array:
    values, vectors = psd_eigh(B, "B")
    return from_eigen(vectors, namespace(values).sqrt(values))


def bures_wasserstein_map(A: Array, B: Array) -> Array:
    """Return the optimal map T from A to B, ``T A T = B``.

    ``T = A^{-1/2} (A^{1/2} B A^{1/2})^{1/2} A^{-1/2}``.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive definite.
    B : array of shape (..., n, n)
        Hermitian positive semidefinite.

    Examples
    --------
    >>> import numpy as np
    >>> print(bures_wasserstein_map(np.diag([4.0, 1.0]), np.diag([1.0, 9.0])))
    [[0.5 0. ]
     [0.  3. ]]
    """
    root, inverse = two_roots(A)
    B = check_like(B, "B", root, "A")
    return inverse @ _psd_root(hermitian_part(root @ B @ root)) @ inverse


def bures_wasserstein_map_jvp(
    A: Array, B: Array, tangent_A: Array | None = None, tangent_B: Array | None = None
) -> Array:
    """Return the derivative of the map T from positive definite A to B, along either or both tangents.

    In A: ``-R N^{-1} X N^{-1} R`` with ``R = B^{1/2}``, ``N = (R A R)^{1/2}``, ``N X + X N = R dA R``.
    In B: ``s^{-1} X s^{-1}`` with ``s = A^{1/2}``, ``N = (s B s)^{1/2}``, ``N X + X N = s dB s``.
    """
    xp = namespace(A, B)
    total = xp.zeros_like(A)
    if tangent_A is not None:
        R, _ = two_roots(B, "B")
        values, vectors = psd_eigh(hermitian_part(R @ A @ R), strict=True)
        left, right = pairs(xp.sqrt(values))
        # N^{-1} X N^{-1} in N's eigenbasis divides by the product too.
        X = schur_map(vectors, 1 / ((left + right) * left * right), R @ tangent_A @ R)
        total = total - R @ X @ R
    if tangent_B is not None:
        s, inverse = two_roots(A)
        values, vectors = psd_eigh(hermitian_part(s @ B @ s), strict=True)
        left, right = pairs(xp.sqrt(values))
        total = total + inverse @ schur_map(vectors, 1 / (left + right), s @ tangent_B @ s) @ inverse
    return total


def bures_wasserstein_vjp(A: Array, B: Array, cotangent: Array = 1.0) -> tuple[Array, Array]:
    """Return `cotangent` times the gradients of d^2 in positive definite A and B: ``I - T``, each way."""
    weight = cotangent[..., None, None] if hasattr(cotangent, "ndim") else cotangent
    eye = eye_like(check_array(A, "A", complex_ok=True, min_ndim=2))
    return weight * (eye - bures_wasserstein_map(A, B)), weight * (eye - bures_wasserstein_map(B, A))


def bures_wasserstein_jvp(A: Array, B: Array, tangent_A: Array, tangent_B: Array) -> Array:
    """Return the derivative of d^2 along both tangents: ``<I - T_AB, dA> + <I - T_BA, dB>``."""
    gradient_A, gradient_B = bures_wasserstein_vjp(A, B)
    return inner(gradient_A, tangent_A) + inner(gradient_B, tangent_B)


def _factors(W: Array, target: Array, tau: float) -> tuple[Array, Array]:
    W = check_array(W, "W", min_ndim=2)
    check_number(tau, "tau", least=0.0)
    root = sqrtm_eigh(target)
    if W.shape[-2] != root.shape[-1]:
        raise ShapeError(f"W: wanted {root.shape[-1]} rows, as target, got shape {tuple(W.shape)}")
    return W, root


def bures_wasserstein_factored(W: Array, target: Array, tau: float = 0.0) -> Array:
    """Return d^2 of ``W W^T + tau I`` and `target`: the loss of a generative deep linear network.

    ``tau = 0``: ``||W||_F^2 + tr S - 2 ||S^{1/2} W||_*``; ``tau > 0`` is the smooth perturbation.

    Parameters
    ----------
    W : array of shape (..., n, k)
        The product of the network's layers.
    target : array of shape (..., n, n)
        S, Hermitian positive semidefinite.
    tau : float
        At least 0.
    """
    W, root = _factors(W, target, tau)
    xp = namespace(W)
    constant = trace(target)
    if tau == 0:
        return xp.sum(W * W, axis=(-2, -1)) + constant - 2 * xp.sum(xp.linalg.svdvals(root @ W), axis=-1)
    covariance = W @ xp.matrix_transpose(W) + tau * eye_like(root)
    values, _ = psd_eigh(hermitian_part(root @ covariance @ root))
    return trace(covariance) + constant - 2 * xp.sum(xp.sqrt(values), axis=-1)


def bures_wasserstein_factored_grad(W: Array, target: Array, tau: float = 0.0) -> Array:
    """Return the gradient in W: ``2 (W - R [R W W^T R + tau S]^{-1/2} R W)``, R the root of the target.

    ``tau = 0``: ``2 (W - R U V^T)`` with ``R W = U Sigma V^T``; where R W has zero singular values this is
    one of the subgradients.
    """
    W, root = _factors(W, target, tau)
    xp = namespace(W)
    if tau == 0:
        U, _, Vh = xp.linalg.svd(root @ W, full_matrices=False)
        return 2 * (W - root @ U @ Vh)
    RW = root @ W
    # A singular target: the bracket's null space is the target's, where R W is zero too.
    values, vectors = psd_eigh(hermitian_part(RW @ xp.matrix_transpose(RW) + tau * (root @ root)))
    cut = values > values[..., -1:] * 1e-14
    inverse = xp.where(cut, 1 / xp.sqrt(xp.where(cut, values, xp.ones_like(values))), xp.zeros_like(values))
    return 2 * (W - root @ from_eigen(vectors, inverse) @ RW)
