"""Inverse p-th roots by the coupled Newton iteration or by eigendecomposition, with ridge conventions."""

from __future__ import annotations

import numpy as np

from refopt.core.arrays import CHECKING, Array, detached, eye_like, like, namespace
from refopt.core.errors import ArgumentError, ConvergenceError
from refopt.core.registry import Dialect, Source, register
from refopt.matrix.common import (
    check_choice,
    check_count,
    check_hermitian,
    check_like,
    check_number,
    check_psd,
    epsilon,
    frobenius,
    from_eigen,
    largest,
    schur_map,
)
from refopt.matrix.divided_differences import power_kernel
from refopt.matrix.square_root import psd_eigh

ANIL_2020 = Source(
    key="anil-2020-scalable",
    authors="R. Anil, V. Gupta, T. Koren, K. Regan, Y. Singer",
    title="Scalable Second Order Optimization for Deep Learning",
    arxiv="2002.09018",
)
GUO_2006 = Source(
    key="guo-2006-schur",
    authors="C.-H. Guo, N. J. Higham",
    title="A Schur-Newton Method for the Matrix pth Root and its Inverse",
    venue="SIAM Journal on Matrix Analysis and Applications 28(3), 788-804",
)
RULES = ("relative", "absolute")


def power_iteration_estimate(A: Array, steps: int = 100, tol: float = 1e-6) -> Array:
    """Return the Rayleigh quotient after power iteration from a fixed start, shape (..., 1, 1).

    The start is uniform on (-1, 1) from seed 1729 and the stop ``|change| <= tol`` is absolute, as in
    google-research's scalable Shampoo; matrices of a stack stop one by one.
    """
    xp = namespace(A)
    start = np.random.RandomState(1729).uniform(-1.0, 1.0, A.shape[-1])[:, None]
    v = xp.broadcast_to(like(start, A), (*A.shape[:-1], 1))
    value = xp.zeros_like(largest(A))
    active = xp.ones_like(value) > 0
    for _ in range(steps):
        norm = frobenius(v)
        unit = v / xp.where(norm > 0, norm, xp.ones_like(norm))
        product = A @ unit
        conjugate = xp.conj(unit) if xp.isdtype(A.dtype, "complex floating") else unit
        new = xp.sum(conjugate * product, axis=(-2, -1), keepdims=True)
        new = xp.real(new) if xp.isdtype(new.dtype, "complex floating") else new
        moved = xp.abs(new - value) > tol
        value = xp.where(active, new, value)
        v = xp.where(active, product, v)
        active = active & moved
        if CHECKING.on and not bool(xp.any(active)):
            break
    return value


def ridged(A: Array, ridge: float, rule: str, floor: float) -> Array:
    """Return ``D = A + e I``: ``e = ridge max(mu, floor)``, mu near lambda_max, or ``e = ridge``."""
    xp = namespace(A)
    if ridge == 0:
        return A
    if rule == "absolute":
        return A + ridge * eye_like(A)
    mu = power_iteration_estimate(A)
    return A + ridge * xp.where(mu > floor, mu, xp.full_like(mu, floor)) * eye_like(A)


def matrix_power(T: Array, p: int) -> Array:
    """Return ``T^p`` by repeated squaring, exactly p factors for any p."""
    result = None
    while p:
        if p & 1:
            result = T if result is None else result @ T
        p >>= 1
        if p:
            T = T @ T
    return result


def _check(A: Array, p: int, ridge: float, rule: str, floor: float) -> Array:
    check_count(p, "p")
    check_number(ridge, "ridge", least=0.0)
    check_number(floor, "ridge_floor", least=0.0)
    check_choice(rule, "ridge_rule", RULES)
    A = check_hermitian(A)
    # Semidefinite is enough where a ridge makes it definite.
    check_psd(A, strict=ridge == 0)
    D = ridged(A, ridge, rule, floor)
    if ridge and CHECKING.on and bool(namespace(A).any(largest(D) == 0)):
        raise ArgumentError("ridge_floor: wanted a number > 0 for a zero matrix under the relative rule")
    return D


@register(
    "inverse-pth-root",
    kind="matfun",
    source=ANIL_2020,
    where="the coupled Newton iteration for the inverse p-th root",
    also=(GUO_2006,),
    dialects={
        "official": Dialect(
            {"ridge": 1e-6, "ridge_rule": "relative", "ridge_floor": 1e-6, "tol": 1e-6},
            "google-research scalable_shampoo (optax version)",
        ),
        "precondition": Dialect(
            {"ridge": 1e-6, "ridge_rule": "relative", "ridge_floor": 1e-25, "tol": 1e-6},
            "google-research/precondition",
            "without its retries with larger ridges",
        ),
        "meta-newton": Dialect(
            {"ridge": 1e-12, "ridge_rule": "absolute", "tol": 1e-6},
            "facebookresearch/optimizers CoupledNewton",
            "the ridge is the optimizer's epsilon; the reference has no divergence test",
        ),
        "meta-eigen": Dialect(
            {"ridge": 1e-12, "ridge_rule": "absolute", "method": "eigh"},
            "facebookresearch/optimizers EigenConfig",
            "the ridge is the optimizer's epsilon; without its shift of negative eigenvalues",
        ),
    },
)  # fmt: skip
def inverse_pth_root(
    A: Array,
    p: int = 4,
    *,
    method: str = "newton",
    ridge: float = 0.0,
    ridge_rule: str = "relative",
    ridge_floor: float = 1e-6,
    tol: float | None = None,
    max_steps: int = 100,
) -> Array:
    """Return ``(A + e I)^{-1/p}`` by the coupled Newton iteration, or by eigendecomposition.

    With ``D = A + e I``, ``z = (1 + p) / (2 ||D||_F)``, ``M_0 = z D`` and ``H_0 = z^{1/p} I``::

        T = ((p + 1) I - M_k) / p,    M_{k+1} = T^p M_k,    H_{k+1} = H_k T

    until ``max |M - I| <= tol``; then H is the root.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive definite; semidefinite with a ridge.
    p : int
        At least 1.
    method : {"newton", "eigh"}
        ``"eigh"``: ``Q diag(lambda^{-1/p}) Q*`` of D.
    ridge : float
        At least 0. e is ``ridge max(mu, ridge_floor)`` by the relative rule, mu being a power iteration's
        estimate of the largest eigenvalue; or `ridge` itself by the absolute one.
    ridge_rule : {"relative", "absolute"}
    ridge_floor : float
        At least 0.
    tol : float, optional
        By default ``n eps`` of the dtype.
    max_steps : int

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        `A` is not positive definite (with a ridge: semidefinite), or the iteration stopped with
        ``max |M - I| >= 0.1``, which Shampoo's code takes as failure too.
    ArgumentError, ArgumentTypeError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    inverse_pth_root_jvp, inverse_pth_root_vjp : derivatives, finite at repeated eigenvalues.

    Notes
    -----
    Converges for eigenvalues of M_0 in (0, p + 1), which z ensures for positive definite D; small ones grow
    by ``((p + 1) / p)^p`` a step, then convergence is quadratic. A matrix whose error grows by more than 1.2
    keeps its previous iterate; matrices of a stack stop one by one. The error of H is about eps times the
    condition number of D, which ``max |M - I|`` does not show: in float32 at 1e6 and p = 4 it is 5e-4.

    References
    ----------
    R. Anil et al. (2020), arXiv:2002.09018. C.-H. Guo, N. J. Higham (2006), SIAM J. Matrix Anal. Appl. 28(3).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> root = refopt.get("inverse-pth-root")
    >>> print(np.round(root(np.diag([16.0, 1.0]), 4), 6))
    [[0.5 0. ]
     [0.  1. ]]
    """
    check_choice(method, "method", ("newton", "eigh"))
    check_count(max_steps, "max_steps")
    D = _check(A, p, ridge, ridge_rule, ridge_floor)
    if method == "eigh":
        values, vectors = psd_eigh(D, strict=True)
        return from_eigen(vectors, values ** (-1.0 / p))
    if tol is not None:
        check_number(tol, "tol", above=0.0)
    return newton_root(D, p, D.shape[-1] * epsilon(D) if tol is None else tol, max_steps)


def newton_root(D: Array, p: int, tol: float, max_steps: int) -> Array:
    """Run the coupled iteration on positive definite `D`."""
    xp = namespace(D)
    eye = eye_like(D)
    z = (1 + p) / (2 * frobenius(D))
    M = z * D
    H = z ** (1.0 / p) * xp.broadcast_to(eye, D.shape)
    error = largest(M - eye)
    active = error > tol
    for _ in range(max_steps):
        # What is not active stays as it is: stopping early is only quicker.
        if CHECKING.on and not bool(xp.any(active)):
            break
        T = ((p + 1) * eye - M) / p
        next_M, next_H = matrix_power(T, p) @ M, H @ T
        next_error = largest(next_M - eye)
        better = active & (next_error < 1.2 * error)
        M, H = xp.where(better, next_M, M), xp.where(better, next_H, H)
        error = xp.where(better, next_error, error)
        active = better & (error > tol)
    if CHECKING.on and not (worst := float(xp.max(detached(error)))) < 0.1:
        raise ConvergenceError(
            f"A: the coupled Newton iteration for p = {p} stopped with max |M - I| = {worst:.3g}; wanted a"
            " smaller condition number (a ridge), or method='eigh'"
        )
    return H


def inverse_pth_root_jvp(
    A: Array,
    tangent: Array,
    p: int = 4,
    *,
    ridge: float = 0.0,
    ridge_rule: str = "relative",
    ridge_floor: float = 1e-6,
) -> Array:
    """Return the derivative of ``D^{-1/p}`` along `tangent`, the ridge e taken as a constant.

    Daleckii-Krein with the divided differences of ``x^{-1/p}`` in D's eigenbasis. Arguments and errors as
    for `inverse_pth_root`.
    """
    D = _check(A, p, ridge, ridge_rule, ridge_floor)
    E = check_like(tangent, "tangent", D, "A")
    values, vectors = psd_eigh(D, strict=True)
    return schur_map(vectors, power_kernel(values, -1.0 / p), E)


def inverse_pth_root_vjp(
    A: Array,
    cotangent: Array,
    p: int = 4,
    *,
    ridge: float = 0.0,
    ridge_rule: str = "relative",
    ridge_floor: float = 1e-6,
) -> Array:
    """Return the reverse derivative of ``D^{-1/p}``, the same self-adjoint map."""
    return inverse_pth_root_jvp(A, cotangent, p, ridge=ridge, ridge_rule=ridge_rule, ridge_floor=ridge_floor)
