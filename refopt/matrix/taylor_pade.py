"""Square root and inverse square root by Taylor polynomial (MTP) and Pade approximant (MPA)."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.registry import register
from refopt.matrix.common import check_choice, check_count, check_like, check_psd, frobenius
from refopt.matrix.lyapunov import (
    SONG_2022,
    SONG_2022_INVERSE,
    inverse_root_derivative,
    root_derivative,
)

_OFFICIAL = "KingJamesSong/FastDifferentiableMatSqrt@5506d70"


def taylor_coefficients(degree: int, *, inverse: bool = False) -> tuple[float, ...]:
    """Return the Taylor coefficients of ``(1 - z)^{1/2}`` (`inverse`: ``(1 - z)^{-1/2}``) to z^degree.

    Examples
    --------
    >>> taylor_coefficients(3)
    (1.0, -0.5, -0.125, -0.0625)
    """
    alpha = Fraction(-1 if inverse else 1, 2)
    terms = [Fraction(1)]
    for k in range(degree):
        terms.append(terms[-1] * (k - alpha) / (k + 1))
    return tuple(float(t) for t in terms)


@functools.cache
def pade_coefficients(degree: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return numerator and denominator of the [degree/degree] Pade approximant of ``(1 - z)^{1/2}``.

    With ``x = 1 - z`` and ``N = 2 degree + 1`` they are, up to a common factor,
    ``sum_i binom(N, 2 i) x^i`` and ``sum_i binom(N, 2 i + 1) x^i``; expanded in exact arithmetic.

    Examples
    --------
    >>> p, q = pade_coefficients(1)
    >>> p, q
    ((1.0, -0.75), (1.0, -0.25))
    """
    order = 2 * degree + 1

    def expand(odd: int) -> tuple[float, ...]:
        sums = [
            sum(math.comb(order, 2 * i + odd) * math.comb(i, k) * (-1) ** k for i in range(k, degree + 1))
            for k in range(degree + 1)
        ]
        return tuple(float(Fraction(s, sums[0])) for s in sums)

    return expand(0), expand(1)


def _normalise(A: Array, degree: int, *, strict: bool) -> tuple[Array, Array]:
    """Return ``c = ||A||_F`` of shape (..., 1, 1) and ``P = I - A / c``."""
    check_count(degree, "degree")
    A = check_psd(A, "A", strict=strict)
    xp = namespace(A)
    c = frobenius(A)
    return c, eye_like(A) - A / xp.where(c > 0, c, xp.ones_like(c))


def _polynomials(P: Array, *coefficients: tuple[float, ...]) -> list[Array]:
    """Evaluate polynomials of equal degree at P, by the powers of P."""
    eye = eye_like(P)
    power = P
    totals = [c[0] * eye + c[1] * P for c in coefficients]
    for k in range(2, len(coefficients[0])):
        power = power @ P
        totals = [t + c[k] * power for t, c in zip(totals, coefficients)]
    return totals


@register(
    "sqrtm-taylor",
    kind="matfun",
    source=SONG_2022,
    where="Matrix Taylor Polynomial (MTP)",
    also=(SONG_2022_INVERSE,),
)  # fmt: skip
def sqrtm_taylor(A: Array, degree: int = 10) -> Array:
    """Return the square root of `A` by the truncated Taylor series of ``(1 - z)^{1/2}`` (MTP).

    ``A^{1/2} ~ sqrt(c) (I - sum_{k=1}^K |binom(1/2, k)| P^k)`` with ``c = ||A||_F``, ``P = I - A / c``.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive semidefinite.
    degree : int
        K, at least 1. 10 is what the authors' code sums; the paper's own number was not verified.

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        `A` is indefinite: the series converges for eigenvalues of P in [-1, 1], that is of A in [0, 2 c].
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    sqrtm_taylor_jvp, sqrtm_taylor_vjp : the paper's derivative, a Lyapunov equation in the result.

    Notes
    -----
    Converges as K grows, slowly: K = 10 leaves 2e-2 of the norm at condition number 10 (n = 8). The
    result is never below the root. Do not use it as a reference for the root.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(np.round(refopt.get("sqrtm-taylor")(np.diag([4.0, 3.0]), degree=40), 4))
    [[2.     0.    ]
     [0.     1.7321]]
    """
    c, P = _normalise(A, degree, strict=False)
    return namespace(P).sqrt(c) * _polynomials(P, taylor_coefficients(degree))[0]


@register(
    "sqrtm-pade",
    kind="matfun",
    source=SONG_2022,
    where="Matrix Pade Approximant (MPA)",
    also=(SONG_2022_INVERSE,),
)  # fmt: skip
def sqrtm_pade(A: Array, degree: int = 5) -> Array:
    """Return the square root of `A` by the diagonal Pade approximant of ``(1 - z)^{1/2}`` (MPA).

    ``A^{1/2} ~ sqrt(c) q(P)^{-1} p(P)`` with ``c = ||A||_F``, ``P = I - A / c`` and p/q the [m/m]
    approximant.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive semidefinite.
    degree : int
        m, at least 1.

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        `A` is indefinite: the approximants converge on eigenvalues of A in (0, inf).
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    sqrtm_pade_jvp, sqrtm_pade_vjp : the paper's derivative, a Lyapunov equation in the result.

    Notes
    -----
    The relative error on an eigenvalue ``x = lambda / c`` is exactly ``2 rho^N / (1 - rho^N)``, N = 2 m + 1,
    ``rho = (1 - sqrt x) / (1 + sqrt x)``: above the root, 1e-3 of the norm at condition number 10 (n = 8,
    m = 5), 7e-2 at 1e3. At a zero eigenvalue it is ``sqrt(c) / N``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(np.round(refopt.get("sqrtm-pade")(np.diag([4.0, 3.0])), 6))
    [[2.       0.      ]
     [0.       1.732051]]
    """
    c, P = _normalise(A, degree, strict=False)
    xp = namespace(P)
    p, q = _polynomials(P, *pade_coefficients(degree))
    return xp.sqrt(c) * xp.linalg.solve(q, p)


@register(
    "invsqrtm-taylor",
    kind="matfun",
    source=SONG_2022_INVERSE,
    where="Matrix Taylor Polynomial for the inverse square root",
    also=(SONG_2022,),
)  # fmt: skip
def invsqrtm_taylor(A: Array, degree: int = 10, *, form: str = "series") -> Array:
    """Return the inverse square root of `A` by the truncated Taylor series of ``(1 - z)^{-1/2}``.

    ``A^{-1/2} ~ (I + sum_{k=1}^K |binom(-1/2, k)| P^k) / sqrt(c)`` with ``c = ||A||_F``, ``P = I - A / c``.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive definite.
    degree : int
        K, at least 1.
    form : {"series", "inverse-root"}
        ``"inverse-root"`` inverts the polynomial of `sqrtm_taylor` instead, which is nearer at equal degree.

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        `A` is not positive definite: the series converges for eigenvalues of A in (0, 2 c).
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    invsqrtm_taylor_jvp, invsqrtm_taylor_vjp : the paper's derivative, a Lyapunov equation in the result.

    Notes
    -----
    Converges as K grows, very slowly: K = 10 leaves 14 % of the norm at condition number 10 (n = 8); the
    result is never above the inverse root. The authors' repository holds no code for it.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(np.round(refopt.get("invsqrtm-taylor")(np.diag([4.0, 3.0]), degree=40), 4))
    [[0.5    0.    ]
     [0.     0.5774]]
    """
    check_choice(form, "form", ("series", "inverse-root"))
    c, P = _normalise(A, degree, strict=True)
    xp = namespace(P)
    if form == "series":
        return _polynomials(P, taylor_coefficients(degree, inverse=True))[0] / xp.sqrt(c)
    return xp.linalg.inv(_polynomials(P, taylor_coefficients(degree))[0]) / xp.sqrt(c)


@register(
    "invsqrtm-pade",
    kind="matfun",
    source=SONG_2022_INVERSE,
    where="Matrix Pade Approximant for the inverse square root",
    also=(SONG_2022,),
)  # fmt: skip
def invsqrtm_pade(A: Array, degree: int = 5) -> Array:
    """Return the inverse square root of `A` by its diagonal Pade approximant.

    ``A^{-1/2} ~ p(P)^{-1} q(P) / sqrt(c)`` with p, q, P and c of `sqrtm_pade`, whose exact inverse it is.

    Parameters
    ----------
    A : array of shape (..., n, n)
        Hermitian positive definite.
    degree : int
        m, at least 1.

    Returns
    -------
    array of the shape and dtype of `A`

    Raises
    ------
    ConvergenceError
        `A` is not positive definite: the approximants converge on eigenvalues of A in (0, inf).
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments.

    See Also
    --------
    invsqrtm_pade_jvp, invsqrtm_pade_vjp : the paper's derivative, a Lyapunov equation in the result.

    Notes
    -----
    The relative error on an eigenvalue ``x = lambda / c`` is exactly ``-2 rho^N / (1 + rho^N)``, N = 2 m + 1,
    ``rho = (1 - sqrt x) / (1 + sqrt x)``: below the inverse root, 0.3 % of the norm at condition number 10
    and 59 % at 1e3 (n = 8, m = 5).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(np.round(refopt.get("invsqrtm-pade")(np.diag([4.0, 3.0])), 6))
    [[0.5     0.     ]
     [0.      0.57735]]
    """
    c, P = _normalise(A, degree, strict=True)
    xp = namespace(P)
    p, q = _polynomials(P, *pade_coefficients(degree))
    return xp.linalg.solve(p, q) / xp.sqrt(c)


def sqrtm_taylor_vjp(A: Array, cotangent: Array, degree: int = 10, *, steps: int | None = None) -> Array:
    """Return the implicit reverse derivative: S X + X S = G with S the Taylor root, by the sign iteration.

    `steps` as in `lyapunov_sign`; the code takes 8. Implicit: not the derivative of the polynomial.
    """
    return root_derivative(
        sqrtm_taylor(A, degree), check_like(cotangent, "cotangent", A, "A"), steps=steps,
        scale=namespace(A).sqrt(frobenius(A)),
    )  # fmt: skip


def sqrtm_pade_vjp(A: Array, cotangent: Array, degree: int = 5, *, steps: int | None = None) -> Array:
    """Return the implicit reverse derivative: S X + X S = G with S the Pade root, by the sign iteration.

    `steps` as in `lyapunov_sign`; the code takes 8. Implicit: not the derivative of the approximant.
    """
    return root_derivative(
        sqrtm_pade(A, degree), check_like(cotangent, "cotangent", A, "A"), steps=steps,
        scale=namespace(A).sqrt(frobenius(A)),
    )  # fmt: skip


def invsqrtm_taylor_vjp(
    A: Array, cotangent: Array, degree: int = 10, *, steps: int | None = None, form: str = "series"
) -> Array:
    """Return the implicit reverse derivative: R X + X R = -R^2 G R^2 with R the Taylor inverse root."""
    root = invsqrtm_taylor(A, degree, form=form)
    return inverse_root_derivative(
        root, check_like(cotangent, "cotangent", A, "A"), steps=steps, scale="frobenius"
    )


def invsqrtm_pade_vjp(
    A: Array, cotangent: Array, degree: int = 5, *, steps: int | None = None, scale: str = "matrix"
) -> Array:
    """Return the implicit reverse derivative: R X + X R = -R^2 G R^2 with R the Pade inverse root.

    `scale` ``"matrix"`` divides each R by its own Frobenius norm; ``"batch"`` divides all by the norm of the
    whole stack, as the authors' code does: with a fixed number of steps the result then depends on what else
    is in the batch.
    """
    check_choice(scale, "scale", ("matrix", "batch"))
    root = invsqrtm_pade(A, degree)
    xp = namespace(root)
    norm = frobenius(root)
    if scale == "batch":
        norm = xp.broadcast_to(xp.sqrt(xp.sum(norm**2)), norm.shape)
    return inverse_root_derivative(root, check_like(cotangent, "cotangent", A, "A"), steps=steps, scale=norm)


# The implicit maps are self-adjoint: forward and reverse derivative are one.
sqrtm_taylor_jvp = sqrtm_taylor_vjp
sqrtm_pade_jvp = sqrtm_pade_vjp
invsqrtm_taylor_jvp = invsqrtm_taylor_vjp
invsqrtm_pade_jvp = invsqrtm_pade_vjp
