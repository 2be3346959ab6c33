"""Square root and inverse square root by the coupled Newton-Schulz iteration."""

from __future__ import annotations

import numpy as np

from refopt.core.arrays import Array, detached, eye_like, namespace
from refopt.core.errors import ConvergenceError
from refopt.core.registry import Dialect, Source, register
from refopt.matrix.common import (
    check_choice,
    check_count,
    check_like,
    check_psd,
    epsilon,
    frobenius,
    inner,
    over_stack,
    trace,
)
from refopt.matrix.products import hermitian_product

MOST_STEPS = 100
# NumPy's stacks of matrices from this order on are taken one by one: each stays in the cache through all of its steps.
ONE_BY_ONE = 64

HIGHAM_1997 = Source(
    key="higham-1997-stable",
    authors="N. J. Higham",
    title="Stable iterations for the matrix square root",
    venue="Numerical Algorithms 15, 227-242",
)
ISQRT = Source(
    key="li-2018-isqrt",
    authors="P. Li, J. Xie, Q. Wang, Z. Gao",
    title="Towards Faster Training of Global Covariance Pooling Networks by Iterative Matrix Square Root"
    " Normalization",
    arxiv="1712.01034",
    venue="CVPR 2018",
)


def _scaled(A: Array, scaling: str, steps: int | None, strict: bool) -> tuple[Array, Array, Array]:
    """Return the checked `A`, ``c`` of shape (..., 1, 1) and ``A / c`` (a zero matrix stays zero)."""
    check_choice(scaling, "scaling", ("frobenius", "trace"))
    if steps is not None:
        check_count(steps, "steps")
    A = check_psd(A, "A", strict=strict)
    xp = namespace(A)
    c = frobenius(A) if scaling == "frobenius" else xp.astype(trace_of(A), frobenius(A).dtype)
    c = xp.where(c > 0, c, xp.ones_like(c))
    return A, c, A / c


def trace_of(A: Array) -> Array:
    """Return the (real) traces of Hermitian matrices, shape (..., 1, 1)."""
    xp = namespace(A)
    total = trace(A)[..., None, None]
    return xp.real(total) if xp.isdtype(total.dtype, "complex floating") else total


def coupled_iteration(
    Y: Array, steps: int | None, *, root: bool = True, inverse: bool = True
) -> tuple[Array, Array]:
    """Return ``Y_N -> (A/c)^{1/2}`` and ``Z_N -> (A/c)^{-1/2}`` from ``Y_0 = A / c``, ``Z_0 = I``.

    The order ``T = (3 I - Z Y) / 2``, ``Y T``, ``T Z`` is the stable one; with ``Y Z`` in T rounding errors
    grow until they take over. One that is not wanted misses its last step.
    """
    if isinstance(Y, np.ndarray) and Y.ndim > 2 and Y.shape[-1] >= ONE_BY_ONE:
        pairs = [
            coupled_iteration(one, steps, root=root, inverse=inverse) for one in Y.reshape(-1, *Y.shape[-2:])
        ]
        roots, inverses = (np.stack(part).reshape(Y.shape) for part in zip(*pairs))
        return roots, inverses
    xp = namespace(Y)
    eye = eye_like(Y)
    Z = xp.broadcast_to(eye, Y.shape)
    most = MOST_STEPS if steps is None else steps
    for k in range(most):
        product = hermitian_product(Z, Y) if k else Y
        gap = float(xp.max(xp.abs(detached(product - eye)))) if steps is None else 1.0
        T = (3 * eye - product) / 2
        # Quadratic: the step that is taken now brings it to rounding.
        last = gap <= epsilon(Y) ** 0.5 or (steps is not None and k == most - 1)
        if root or not last:
            Y = hermitian_product(Y, T)
        if inverse or not last:
            Z = hermitian_product(T, Z) if k else T
        if last:
            return Y, Z
    raise ConvergenceError(
        f"A: Newton-Schulz has not converged after {MOST_STEPS} steps; wanted positive definite matrices"
        " with a condition number well below 1 / eps of the dtype. sqrtm-eigh takes any, and steps=N"
        " returns the N-th iterate"
    )


@register(
    "sqrtm-newton-schulz",
    kind="matfun",
    source=ISQRT,
    where="the coupled iteration of its Newton-Schulz layer",
    also=(HIGHAM_1997,),
    dialects={
        "official": Dialect(
            {"steps": 5, "scaling": "trace"},
            "the iSQRT-COV layer in KingJamesSong/FastDifferentiableMatSqrt",
        )
    },
)  # fmt: skip
def sqrtm_newton_schulz(A: Array, steps: int | None = None, *, scaling: str = "frobenius") -> Array:
    """Return the square root of `A` by the coupled Newton-Schulz iteration: matrix products only.

    From ``Y_0 = A / c``, ``Z_0 = I``: ``T = (3 I - Z_k Y_k) / 2``, ``Y_{k+1} = Y_k T``, ``Z_{k+1} = T Z_k``;
    then ``sqrt(c) Y_N -> A^{1/2}``.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian; positive definite, or semidefinite where `steps` is given.
    steps : int, optional
        N. By default it runs until ``Z Y = I`` to rounding (at most 100 steps).
    scaling : {"frobenius", "trace"}
        c: ``||A||_F`` or ``tr A`` (iSQRT-COV).

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        `A` is indefinite, or not converged: the message says what to do.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    invsqrtm_newton_schulz : the other sequence.
    sqrtm_newton_schulz_jvp, sqrtm_newton_schulz_vjp : exact derivatives of the truncated iteration.
    root_derivative : derivative of the limit, given the root (a Lyapunov equation by the sign iteration).

    Notes
    -----
    Converges iff every eigenvalue of ``A / c`` lies in (0, 3), which both scalings ensure for positive
    definite A. About ``ln(sqrt(c / lambda_min)) / ln 1.5 + 4`` steps; the attainable error of the root is
    near ``eps sqrt(kappa)``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> S = refopt.get("sqrtm-newton-schulz")(np.array([[5.0, 4.0], [4.0, 5.0]]))
    >>> print(np.round(S, 6))
    [[2. 1.]
     [1. 2.]]
    """
    A, c, X = _scaled(A, scaling, steps, strict=steps is None)
    return namespace(A).sqrt(c) * over_stack(lambda Y: coupled_iteration(Y, steps, inverse=False)[0], X)


@register(
    "invsqrtm-newton-schulz",
    kind="matfun",
    source=HIGHAM_1997,
    where="the coupled Newton-Schulz iteration, sequence Z",
    also=(ISQRT,),
)  # fmt: skip
def invsqrtm_newton_schulz(A: Array, steps: int | None = None, *, scaling: str = "frobenius") -> Array:
    """Return the inverse square root of `A` by the coupled Newton-Schulz iteration.

    The iteration of `sqrtm_newton_schulz`; ``Z_N / sqrt(c) -> A^{-1/2}``.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive definite.
    steps : int, optional
        N. By default it runs until ``Z Y = I`` to rounding (at most 100 steps).
    scaling : {"frobenius", "trace"}
        c: ``||A||_F`` or ``tr A``.

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        `A` is not positive definite (Z would grow by 3/2 a step without limit), or not converged.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    inverse_root_derivative : derivative of the limit, given the inverse root.
    invsqrtm_eigh_jvp, invsqrtm_eigh_vjp : exact derivatives from A.

    Notes
    -----
    Converges for eigenvalues of ``A / c`` in (0, 3). At equal N its relative error is that of the root on
    the smallest eigenvalues, so ``kappa^{1/2}`` larger in norm.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(np.round(refopt.get("invsqrtm-newton-schulz")(np.diag([4.0, 0.25])), 6))
    [[0.5 0. ]
     [0.  2. ]]
    """
    A, c, X = _scaled(A, scaling, steps, strict=True)
    return over_stack(lambda Y: coupled_iteration(Y, steps, root=False)[1], X) / namespace(A).sqrt(c)


def _unrolled(A: Array, E: Array, steps: int, scaling: str, name: str, reverse: bool) -> Array:
    """Differentiate ``sqrt(c) f_N(A / c)``, c included; L, the derivative of f_N, is self-adjoint."""
    check_count(steps, "steps")
    A, c, X = _scaled(A, scaling, steps, strict=False)
    E = check_like(E, name, A, "A")
    xp = namespace(A)
    eye = eye_like(A)

    def polynomial(direction: Array) -> tuple[Array, Array]:
        Y, dY = X, direction
        Z, dZ = xp.broadcast_to(eye, Y.shape), xp.zeros_like(Y)
        for _ in range(steps):
            T, dT = (3 * eye - Z @ Y) / 2, -(dZ @ Y + Z @ dY) / 2
            Y, Z, dY, dZ = Y @ T, T @ Z, dY @ T + Y @ dT, dT @ Z + T @ dZ
        return Y, dY

    gradient_of_c = A / c if scaling == "frobenius" else xp.broadcast_to(eye, A.shape)
    if reverse:
        Y, dY = polynomial(E)
        along = inner(Y, E)[..., None, None] / (2 * xp.sqrt(c)) - inner(X, dY)[..., None, None] / xp.sqrt(c)
        return dY / xp.sqrt(c) + along * gradient_of_c
    dc = inner(gradient_of_c, E)[..., None, None]
    Y, dY = polynomial((E - X * dc) / c)
    return xp.sqrt(c) * dY + Y * dc / (2 * xp.sqrt(c))


def sqrtm_newton_schulz_jvp(A: Array, tangent: Array, steps: int = 5, *, scaling: str = "frobenius") -> Array:
    """Return the exact derivative of the N-th iterate, the scaling's included (unrolled, not implicit)."""
    return _unrolled(A, tangent, steps, scaling, "tangent", False)


def sqrtm_newton_schulz_vjp(
    A: Array, cotangent: Array, steps: int = 5, *, scaling: str = "frobenius"
) -> Array:
    """Return the exact reverse derivative of the N-th iterate (unrolled, not implicit)."""
    return _unrolled(A, cotangent, steps, scaling, "cotangent", True)
