"""The polar factor by odd matrix polynomials: the quintic of Muon and its relatives."""

from __future__ import annotations

from collections.abc import Sequence

from refopt.core.arrays import Array, all_finite, check_array, namespace
from refopt.core.errors import ConvergenceError, ShapeError
from refopt.core.registry import Dialect, Source, register
from refopt.matrix.common import (
    adjoint,
    check_choice,
    check_like,
    check_number,
    epsilon,
    frobenius,
    inner,
    pairs,
    singular_map,
    thin_svd,
)
from refopt.matrix.polar_schedules import Schedule, Triple, choose
from refopt.matrix.products import gram, product, squared

JORDAN = Source(
    key="jordan-2024-muon",
    authors="K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse, J. Bernstein",
    title="Muon: An optimizer for hidden layers in neural networks",
    url="https://kellerjordan.github.io/posts/muon/",
)
POLAR_EXPRESS = Source(
    key="amsel-2025-polar",
    authors="N. Amsel, D. Persson, C. Musco, R. M. Gower",
    title="The Polar Express: Optimal matrix sign methods and their application to the Muon algorithm",
    arxiv="2505.16932",
)
CANS = Source(
    key="grishina-2025-cans",
    authors="E. Grishina, M. Smirnov, M. Rakhuba",
    title="Accelerating Newton-Schulz iteration for orthogonalization via Chebyshev-type polynomials",
    arxiv="2506.10935",
)


def _divisor(A: Array, factor: float, eps: float, eps_rule: str) -> Array:
    """Return what the input is divided by, shape (..., 1, 1)."""
    xp = namespace(A)
    norm = factor * frobenius(A)
    divisor = norm + eps if eps_rule == "add" else xp.where(norm > eps, norm, xp.full_like(norm, eps))
    return xp.where(divisor > 0, divisor, xp.ones_like(divisor))


@register(
    "polar-newton-schulz",
    kind="matfun",
    source=JORDAN,
    where="the function zeropower_via_newtonschulz5",
    also=(POLAR_EXPRESS, CANS),
    dialects={
        "torch": Dialect({"eps_rule": "clamp"}, "torch 2.13", "the norm is clamped at eps, nothing is added"),
        "optax": Dialect({"eps": 1e-8}, "optax 0.2.8"),
    },
)  # fmt: skip
def polar_newton_schulz(
    A: Array,
    steps: int = 5,
    coefficients: str | Schedule | Sequence[Sequence[float]] = "jordan",
    *,
    eps: float = 1e-7,
    eps_rule: str = "add",
) -> Array:
    """Return the (approximate) polar factor of `A` by composed odd quintics.

    With ``A = U diag(sigma) V*`` the result is ``U diag(p(…p(sigma / d))) V*``, where
    ``d = ||A||_F + eps`` and ``p(x) = a x + b x^3 + c x^5``: five steps of Jordan's quintic, in the dtype
    of `A`, are Muon's NS5 (whose published code casts to bfloat16 first: cast `A` to do the same).

    Parameters
    ----------
    A : array of shape (..., m, n)
        Real or complex.
    steps : int
        At least 1.
    coefficients : str, Schedule or sequence of triples
        ``"jordan"`` (one triple; does not converge, see Notes), ``"you"`` (6 steps), ``"leloykun"`` (5),
        ``"cans"`` (5), ``"polar-express"`` (7 and then its limit, with the safety factor 1.01),
        ``"polar-express-raw"`` (without it), ``"cubic"`` and ``"quintic"`` (classical Newton-Schulz),
        ``"modula"``; or triples of your own. Past a schedule's end its last triple repeats.
    eps : float
        At least 0.
    eps_rule : {"add", "clamp"}
        ``d = f ||A||_F + eps`` or ``d = max(f ||A||_F, eps)``; f = 1.01 for ``"polar-express"``, else 1.

    Returns
    -------
    array of the shape and dtype of `A`
        Zero singular values stay zero.

    Raises
    ------
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Unknown schedule, fewer than 1 step, not floating point, NaN or infinity.
    ConvergenceError
        Own coefficients drove the iterates out of the dtype's range.

    See Also
    --------
    polar_newton_schulz_jvp, polar_newton_schulz_vjp : exact derivatives of the truncated iteration.
    polar_jvp, polar_vjp : derivatives of the exact polar factor.
    polar_express_coefficients : makes schedules.

    Notes
    -----
    The division puts every singular value into [0, 1], where all named schedules stay bounded.
    ``"cubic"`` and ``"quintic"`` converge for every ``sigma > 0``, quadratically and cubically at the end
    and by factors 3/2 and 15/8 a step while sigma is small. ``"jordan"`` never converges: its fixed points
    0.868026 and 1.263729 repel, and after 5 steps sigma in [0.01, 1] lies in [0.6818, 1.1344].

    Examples
    --------
    >>> import numpy as np, refopt
    >>> A = np.array([[3.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    >>> X = refopt.get("polar-newton-schulz")(A, steps=12, coefficients="cubic")
    >>> print(np.round(X, 6))
    [[1. 0. 0.]
     [0. 1. 0.]]
    """
    A, triples, divisor, wide = _prepare(A, steps, coefficients, eps, eps_rule)
    X = A / divisor
    X = X if wide else adjoint(X)
    for triple in triples:
        X = _quintic(X, *triple)
    if not all_finite(X):
        raise ConvergenceError(
            "coefficients: the iterates overflow; wanted quintics that keep [0, 1] bounded (the published"
            " schedules do)"
        )
    return X if wide else adjoint(X)


def _quintic(X: Array, a: float, b: float, c: float) -> Array:
    """Return ``a X + (b S + c S^2) X`` with ``S = X X*``."""
    return product(squared(gram(X), b, c), X, X, a)


def _prepare(
    A: Array, steps: int, coefficients: str | Schedule | Sequence[Sequence[float]], eps: float, eps_rule: str
) -> tuple[Array, tuple[Triple, ...], Array, bool]:
    A = check_array(A, "A", min_ndim=2, complex_ok=True)
    if A.shape[-1] == 0 or A.shape[-2] == 0:
        raise ShapeError(f"A: is empty, shape {tuple(A.shape)}")
    check_number(eps, "eps", least=0.0)
    check_choice(eps_rule, "eps_rule", ("add", "clamp"))
    triples, factor = choose(coefficients, steps)
    return A, triples, _divisor(A, factor, eps, eps_rule), A.shape[-2] <= A.shape[-1]


def _polynomial_derivative(X: Array, E: Array, triples: Sequence[Triple]) -> Array:
    """Return the derivative of the composed quintics at X along E; it is self-adjoint in E."""
    for a, b, c in triples:
        S = X @ adjoint(X)
        dS = E @ adjoint(X) + X @ adjoint(E)
        P, dP = b * S + c * (S @ S), b * dS + c * (dS @ S + S @ dS)
        X, E = a * X + P @ X, a * E + dP @ X + P @ E
    return E


def _divide_derivative(A: Array, E: Array, divisor: Array, factor: float, free: Array) -> Array:
    """Return the derivative of ``A / divisor`` along E (self-adjoint in E); `free` where d depends on A."""
    xp = namespace(A)
    norm = frobenius(A)
    unit = A / xp.where(norm > 0, norm, xp.ones_like(norm))
    along = inner(unit, E)[..., None, None]
    zero = xp.zeros_like(along)
    return E / divisor - (A / divisor) * xp.where(free, factor * along / divisor, zero)


def _derivative(
    A: Array,
    E: Array,
    steps: int,
    coefficients: str | Schedule | Sequence[Sequence[float]],
    eps: float,
    eps_rule: str,
    name: str,
    reverse: bool,
) -> Array:
    A, triples, divisor, wide = _prepare(A, steps, coefficients, eps, eps_rule)
    E = check_like(E, name, A, "A")
    factor = choose(coefficients, steps)[1]
    norm = factor * frobenius(A)
    free = norm > 0 if eps_rule == "add" else norm > eps

    def polynomial(direction: Array) -> Array:
        if wide:
            return _polynomial_derivative(A / divisor, direction, triples)
        return adjoint(_polynomial_derivative(adjoint(A / divisor), adjoint(direction), triples))

    # Both maps are self-adjoint, so the reverse derivative is the same two maps in the other order.
    if reverse:
        return _divide_derivative(A, polynomial(E), divisor, factor, free)
    return polynomial(_divide_derivative(A, E, divisor, factor, free))


def polar_newton_schulz_jvp(
    A: Array,
    tangent: Array,
    steps: int = 5,
    coefficients: str | Schedule | Sequence[Sequence[float]] = "jordan",
    *,
    eps: float = 1e-7,
    eps_rule: str = "add",
) -> Array:
    """Return the exact derivative of `polar_newton_schulz`, its truncation included, along `tangent`."""
    return _derivative(A, tangent, steps, coefficients, eps, eps_rule, "tangent", False)


def polar_newton_schulz_vjp(
    A: Array,
    cotangent: Array,
    steps: int = 5,
    coefficients: str | Schedule | Sequence[Sequence[float]] = "jordan",
    *,
    eps: float = 1e-7,
    eps_rule: str = "add",
) -> Array:
    """Return the exact reverse derivative of `polar_newton_schulz`, its truncation included."""
    return _derivative(A, cotangent, steps, coefficients, eps, eps_rule, "cotangent", True)


def polar_jvp(A: Array, tangent: Array) -> Array:
    """Return the derivative of the exact polar factor ``U V*`` of a full-rank `A` along `tangent`.

    Raises
    ------
    ConvergenceError
        `A` is rank deficient: the polar factor is not differentiable there.
    """
    A = check_array(A, "A", min_ndim=2, complex_ok=True)
    E = check_like(tangent, "tangent", A, "A")
    xp = namespace(A)
    U, sigma, V = thin_svd(A)
    if bool(xp.any(sigma[..., -1] <= max(A.shape[-2:]) * epsilon(A) * sigma[..., 0])):
        raise ConvergenceError("A: wanted full rank; the polar factor has no derivative at a singular matrix")
    left, right = pairs(sigma)
    plus = 2 / (left + right)
    return singular_map(U, sigma, V, E, xp.zeros_like(plus), plus, 1 / sigma)


def polar_vjp(A: Array, cotangent: Array) -> Array:
    """Return the reverse derivative of the exact polar factor: the derivative map is self-adjoint."""
    return polar_jvp(A, cotangent)
