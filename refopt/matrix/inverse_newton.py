"""Inverse and pseudo-inverse by Newton's (Schulz's) iteration: matrix products only."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import CHECKING, Array, check_array, eye_like, like, namespace
from refopt.core.errors import ConvergenceError, ShapeError
from refopt.core.registry import Dialect, Source, register
from refopt.matrix.common import (
    adjoint,
    check_choice,
    check_count,
    check_number,
    epsilon,
    frobenius,
)

FU_2023 = Source(
    key="fu-2023-transformers",
    authors="D. Fu, T. Chen, R. Jia, V. Sharan",
    title="Transformers Learn Higher-Order Optimization Methods for In-Context Learning: A Study with"
    " Linear Models",
    arxiv="2310.17086",
)
BEN_ISRAEL_1965 = Source(
    key="benisrael-1965-iterative",
    authors="A. Ben-Israel",
    title="An iterative method for computing the generalized inverse of an arbitrary matrix",
    venue="Mathematics of Computation 19",
)
MOST_STEPS = 200


def _number(alpha: Any, reference: Array) -> Array:
    check_number(alpha, "alpha")
    return like(alpha, reference)


def _start(A: Array, alpha: Any) -> Array:
    """Return alpha, shape (..., 1, 1), and hold it to the region of convergence."""
    xp = namespace(A)
    if isinstance(alpha, str):
        check_choice(alpha, "alpha", ("norms", "frobenius"))
        if alpha == "frobenius":
            scale = frobenius(A @ adjoint(A))
        else:
            columns = xp.max(xp.sum(xp.abs(A), axis=-2, keepdims=True), axis=-1, keepdims=True)
            rows = xp.max(xp.sum(xp.abs(A), axis=-1, keepdims=True), axis=-2, keepdims=True)
            scale = columns * rows
        return 1 / xp.where(scale > 0, scale, xp.ones_like(scale))
    top = xp.max(xp.linalg.svdvals(A), axis=-1)[..., None, None]
    chosen = check_array(alpha, "alpha") if hasattr(alpha, "dtype") else _number(alpha, top)
    if chosen.ndim not in (0,) and tuple(chosen.shape[-2:]) != (1, 1):
        raise ShapeError("alpha: wanted 'norms', 'frobenius', a number or an array of shape (..., 1, 1)")
    wrong = (chosen <= 0) | (chosen * top**2 >= 2 * (1 - 4 * epsilon(A)))
    if CHECKING.on and bool(xp.any(wrong)):
        raise ConvergenceError(
            "alpha: wanted 0 < alpha < 2 / ||A||_2^2; outside the iteration diverges, and at the upper end"
            " the leading direction is lost"
        )
    return chosen


@register(
    "inverse-newton",
    kind="matfun",
    source=FU_2023,
    where="the iterative Newton's method that it compares transformers with",
    also=(BEN_ISRAEL_1965,),
    dialects={
        "official": Dialect(
            {"steps": 3, "alpha": "frobenius"},
            "DeqingFu/transformers-icl-second-order",
            "the paper states alpha = 2 / ||S S^T||_2, an endpoint at which the leading direction is lost",
        )
    },
)  # fmt: skip
def inverse_newton(
    A: Array,
    steps: int | None = None,
    *,
    alpha: Any = "norms",
    order: int = 2,
    full_rank: bool = True,
) -> Array:
    """Return the inverse, or pseudo-inverse, of `A` by Newton's iteration.

    From ``X_0 = alpha A*``: ``X_{k+1} = X_k (2 I - A X_k)``;
    the residual ``R = I - A X`` squares at each step.

    Parameters
    ----------
    A : array of shape (..., m, n)
        Real or complex, square or not.
    steps : int, optional
        k. By default it runs until converged, see `full_rank`.
    alpha : {"norms", "frobenius"} or number or array of shape (..., 1, 1)
        ``1 / (||A||_1 ||A||_inf)``, ``1 / ||A A*||_F``, or your own in ``(0, 2 / ||A||_2^2)``.
    order : {2, 3}
        3: ``X (13 I - A X (15 I - A X (7 I - A X))) / 4``, whose residual goes as ``R^3 (3 I + R) / 4``.
    full_rank : bool
        True: run until ``I - A X`` (for tall A: ``I - X A``) is at rounding. False: until a step changes X
        by less than ``eps^{1/2}`` of its norm, which takes singular values far below the others for zeros.

    Returns
    -------
    array of shape (..., n, m)

    Raises
    ------
    ConvergenceError
        `alpha` outside its range; a rank-deficient `A` with `full_rank`; not converged after 200 steps.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    pinv_jvp, pinv_vjp : derivatives of the limit.

    Notes
    -----
    Converges to the pseudo-inverse iff ``0 < alpha < 2 / ||A||_2^2``, in about ``2 log2(kappa) + 6`` steps,
    with an error near eps times the condition number. On a rank-deficient matrix rounding in the null space
    doubles at every step past convergence: ``full_rank=False`` stops in time. A zero matrix then gives zero.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> X = refopt.get("inverse-newton")(np.array([[2.0, 0.0], [0.0, 4.0], [0.0, 0.0]]))
    >>> print(np.round(X, 6))
    [[0.5  0.   0.  ]
     [0.   0.25 0.  ]]
    """
    A = check_array(A, "A", min_ndim=2, complex_ok=True)
    if 0 in A.shape[-2:]:
        raise ShapeError(f"A: is empty, shape {tuple(A.shape)}")
    if steps is not None:
        check_count(steps, "steps", least=0)
    check_choice(order, "order", (2, 3))  # type: ignore[arg-type]
    xp = namespace(A)
    # The shorter side carries the products: a wide matrix is inverted as the adjoint of a tall one.
    if A.shape[-2] > A.shape[-1]:
        wide = inverse_newton(adjoint(A), steps, alpha=alpha, order=order, full_rank=full_rank)
        return adjoint(wide)
    eye = eye_like(A, A.shape[-2])
    X = _start(A, alpha) * adjoint(A)
    active = frobenius(X) >= 0
    old = xp.full_like(frobenius(X), math.inf)
    for _ in range(MOST_STEPS if steps is None else steps):
        product = A @ X
        if order == 2:
            new = X @ (2 * eye - product)
        else:
            new = X @ (13 * eye - product @ (15 * eye - product @ (7 * eye - product))) / 4
        if steps is None and full_rank:
            gap = frobenius(product - eye)
            # At rounding once the squared gap is, or where a gap below 1 has stopped being squared.
            moving = (gap > epsilon(A) ** 0.5) & ~((gap < 0.1) & (gap > old / 2))
            old = gap
        else:
            moving = frobenius(new - X) > epsilon(A) ** 0.5 * frobenius(new)
        X = xp.where(active, new, X)
        if steps is None:
            active = active & moving
            if not bool(xp.any(active)):
                return X
            if not bool(xp.all(xp.isfinite(X))):
                break
    if steps is None:
        raise ConvergenceError(
            f"A: not converged in {MOST_STEPS} steps; wanted full rank and a condition number well below"
            " 1 / eps (full_rank=False gives the pseudo-inverse of a rank-deficient one)"
        )
    if CHECKING.on and not bool(xp.all(xp.isfinite(X))):
        raise ConvergenceError(f"steps: rounding in the null space of A grew without limit in {steps} steps")
    return X


def pinv_jvp(A: Array, X: Array, tangent: Array) -> Array:
    """Return the derivative of the pseudo-inverse `X` of `A` along a `tangent` that keeps the rank.

    ``-X E X + X X* E* (I - A X) + (I - X A) E* X* X``; for a regular A the first term alone is not zero.
    """
    E, Xh = tangent, adjoint(X)
    left, right = adjoint(E) - adjoint(E) @ A @ X, adjoint(E) - X @ A @ adjoint(E)
    return -(X @ E @ X) + X @ Xh @ left + right @ Xh @ X


def pinv_vjp(A: Array, X: Array, cotangent: Array) -> Array:
    """Return the reverse derivative of the pseudo-inverse `X` of `A`.

    ``-X* G X* + (I - A X) G* X X* + X* X G* (I - X A)``.
    """
    Gh, Xh = adjoint(cotangent), adjoint(X)
    return -(Xh @ cotangent @ Xh) + (Gh - A @ X @ Gh) @ X @ Xh + Xh @ X @ (Gh - Gh @ X @ A)
