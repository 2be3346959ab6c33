"""The deep conjugate direction method: conjugate directions from any approximate inverse (Kaneda et al. 2023)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from refopt.core.arrays import Array, check_array, is_array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, DtypeError, NonFiniteError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.core.result import LinearResult
from refopt.linear import convolution
from refopt.linear.conjugate_gradient import outcome
from refopt.linear.operators import inner, linear_system, real_part, vector_norm

KANEDA = Source(
    "kaneda-2023-deep",
    "A. Kaneda, O. Akar, J. Chen, V. A. T. Kala, D. Hyde, J. Teran",
    "A Deep Conjugate Direction Method for Iteratively Solving Linear Systems",
    arxiv="2205.10763",
    venue="ICML 2023",
)
Inverse = Callable[[Array], Array]


def poisson_2d(r: Array) -> Array:
    """Apply the trained convolution to a grid of any sides, zeros beside an odd one.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.linear_systems import poisson_2d as laplacian
    >>> b = np.random.default_rng(0).standard_normal((32, 32))
    >>> b /= np.linalg.norm(b)
    >>> d = poisson_2d(b)
    >>> Ad = (laplacian(32) @ d.ravel()).reshape(32, 32)
    >>> bool(np.linalg.norm(b - Ad * (d * b).sum() / (d * Ad).sum()) < 0.1)  # what one application leaves
    True
    """
    xp = namespace(r)
    n, m = r.shape
    if n % 2:
        r = xp.concat([r, xp.zeros_like(r[:1, :])], axis=0)
    if m % 2:
        r = xp.concat([r, xp.zeros_like(r[:, :1])], axis=1)
    return convolution.apply(r)[:n, :m]


INVERSES: dict[str, Inverse] = {"poisson-2d": poisson_2d}


@register("dcdm", kind="solver", source=KANEDA, where="Algorithm 1")
def dcdm(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    inverse: Any = "poisson-2d",
    history: int = 2,
    rtol: float = 1e-4,
    atol: float = 0.0,
    maxiter: int = 100,
    callback: Callable[[Array], object] | None = None,
) -> LinearResult:
    r"""Conjugate directions for a positive definite system, from an approximate inverse that need not be linear.

    With :math:`d = f(r / \|r\|)` pass k computes

    .. math:: d \leftarrow d - \sum_{j = k - h}^{k - 1} \frac{p_j^H A d}{p_j^H A p_j}\, p_j,\qquad
              x \leftarrow x + \frac{d^H r}{d^H A d}\, d,\qquad r = b - A x,\qquad p_k = d,

    all of a pass's coefficients from the same d.

    Parameters
    ----------
    A : array (n, n), SciPy sparse matrix, LinearOperator or callable ``v -> A v``
        Hermitian positive definite, as in `refopt.linear.conjugate_gradient.cg`.
    b : array of n entries in any shape
        Right side. `A` acts on its flattening, `inverse` on its shape: a grid is given as a grid.
    x0 : array like b, optional
        Start; zeros if left out.
    inverse : {"poisson-2d"} or callable
        f, from a residual of norm 1 to a direction, of b's shape; its length does not matter. "poisson-2d": a trained
        convolution for the five-point Laplacian on a grid (a vector is a square grid), of real numbers.
    history : int
        h, the directions that a new one is made conjugate to; 2 as in the paper's experiments.
    rtol, atol : float
        Stop at ``norm(r) <= max(rtol norm(b), atol)``.
    maxiter : int
        Largest number of passes.
    callback : callable, optional
        Called with x after every pass.

    Returns
    -------
    LinearResult
        Its `x` has the shape of b; statuses as `refopt.linear.conjugate_gradient.cg`. Where f gives a direction that depends on
        the last ones the status is ``"iterations"``, and the message says so.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `cg`; also an f that returns another shape or dtype.

    Notes
    -----
    Two products with A a pass: of the direction, and of x, since the residual is formed anew. With f the identity the iterates
    are those of cg, with a fixed positive definite f those of pcg. The energy of the error falls at every pass whatever f is.
    The convolution has the authors' layers in two dimensions, 16 channels, trained on a 32 x 32 grid by
    ``asv_bench/train_dcdm.py`` with the paper's loss.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.linear_systems import poisson_2d
    >>> b = np.random.default_rng(0).standard_normal((32, 32))
    >>> r = dcdm(poisson_2d(32), b)
    >>> r.status, r.iterations < 8  # cg takes 68
    ('converged', True)
    """
    if not is_array(b):
        raise ArgumentTypeError(f"b: wanted an array, got {type(b).__qualname__}")
    b = check_array(b, "b", complex_ok=True, min_ndim=1)
    f, shape = _inverse(inverse, b)
    check_number(history, "int [0, inf)", "history")
    check_number(maxiter, "int [0, inf)", "maxiter")
    for name, value in (("rtol", rtol), ("atol", atol)):
        check_number(value, "[0, inf)", name)
    xp = namespace(b)
    if x0 is not None:
        x0 = xp.reshape(check_array(x0, "x0", shape=tuple(b.shape), complex_ok=True), (-1,))
    operator, right, x = linear_system(A, xp.reshape(b, (-1,)), x0)
    stop = max(rtol * vector_norm(right), atol)
    r = right if x0 is None else right - operator.apply(x)
    norms = [vector_norm(r)]
    if not math.isfinite(norms[0]):
        raise NonFiniteError("x0: the residual b - A x0 overflows")
    status, found, message = "converged" if norms[0] <= stop else "iterations", None, ""
    kept: list[tuple[Array, Array, float]] = []
    while norms[-1] > stop and len(norms) <= maxiter:
        unit = r / norms[-1]
        given = _direction(f, xp.reshape(unit, shape), right)
        d = given
        for p, q, curvature in kept:
            d = d - p * (inner(q, given) / curvature)
        if not vector_norm(d) > 64 * float(xp.finfo(d.dtype).eps) * vector_norm(given):
            message = f"the approximate inverse gave no new direction after {len(norms) - 1} passes"
            break
        q = operator.apply(d)
        curvature = real_part(inner(d, q))
        if curvature <= 0:
            status, found = "negative-curvature", (d, curvature)
            break
        new = x + d * (inner(d, unit) * (norms[-1] / curvature))
        r = right - operator.apply(new)
        norm = vector_norm(r)
        if not math.isfinite(norm):
            status = "diverged"
            break
        x = new
        norms.append(norm)
        kept = [*kept, (d, q, curvature)][max(len(kept) + 1 - history, 0) :]
        if norm <= stop:
            status = "converged"
        if callback is not None:
            callback(xp.reshape(x, b.shape))
    result = outcome(status, xp.reshape(x, b.shape), norms, stop, found)
    return dataclasses.replace(result, true_residual=norms[-1], message=message or result.message)


def _inverse(inverse: Any, b: Array) -> tuple[Inverse, tuple[int, ...]]:
    """Return the approximate inverse and the shape that it takes."""
    if callable(inverse):
        return inverse, tuple(b.shape)
    if inverse not in INVERSES:
        raise ArgumentError(f"inverse: wanted a function or one of {', '.join(INVERSES)}, got {inverse!r}")
    if not namespace(b).isdtype(b.dtype, "real floating"):
        raise DtypeError(f"b: {inverse!r} takes real numbers, got {b.dtype}")
    if b.ndim == 2 and b.shape[1] > 1:
        return INVERSES[inverse], tuple(b.shape)
    side = math.isqrt(math.prod(b.shape))
    if side * side != math.prod(b.shape) or b.ndim > 2:
        raise ShapeError(
            f"b: {inverse!r} takes a grid (n, m), or n^2 entries of a square one, got {tuple(b.shape)}"
        )
    return INVERSES[inverse], (side, side)


def _direction(f: Inverse, unit: Array, b: Array) -> Array:
    """Return ``f(unit)`` as a vector after a check."""
    d = f(unit)
    if not is_array(d):
        raise ArgumentTypeError(f"inverse: wanted a function that returns an array, it returned {type(d)}")
    if tuple(d.shape) != tuple(unit.shape):
        raise ShapeError(f"inverse: maps shape {tuple(unit.shape)} to {tuple(d.shape)}")
    if d.dtype != b.dtype:
        raise DtypeError(f"inverse: maps dtype {b.dtype} to {d.dtype}")
    return namespace(d).reshape(d, (-1,))
