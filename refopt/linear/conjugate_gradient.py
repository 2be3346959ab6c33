"""Conjugate gradients, plain and preconditioned, for Hermitian positive definite systems."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.arrays import Array, all_finite, namespace
from refopt.core.errors import ArgumentError, NonFiniteError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import LinearResult
from refopt.linear.compiled import advance
from refopt.linear.operators import linear_system, numpy_only, unit_of, vector_norm
from refopt.linear.preconditioners import preconditioner_for
from refopt.linear.vectors import CompiledVectors, Vectors

HESTENES = Source(
    "hestenes-1952-conjugate",
    "M. R. Hestenes, E. Stiefel",
    "Methods of Conjugate Gradients for Solving Linear Systems",
    doi="10.6028/jres.049.044",
    venue="Journal of Research of the National Bureau of Standards 49, 409-436",
)
MEIJERINK = Source(
    "meijerink-1977-iterative",
    "J. A. Meijerink, H. A. van der Vorst",
    "An Iterative Solution Method for Linear Systems of Which the Coefficient Matrix is a Symmetric M-Matrix",
    doi="10.1090/S0025-5718-1977-0438681-4",
    venue="Mathematics of Computation 31, 148-162",
)
# A true residual up to so many times the tolerance is still rounding of the last passes.
GAP = 10.0
PYAMG = Dialect(
    {"recompute_every": 8}, "pyamg 5", "the residual is b - A x in the first pass and every eighth after it"
)


def _iterate(
    A: Any,
    b: Any,
    x0: Any,
    preconditioner: Any,
    options: dict[str, Any],
    rtol: float,
    atol: float,
    maxiter: int | None,
    callback: Callable[[Array], object] | None,
    recompute_every: int | None,
    flexible: bool,
    engine: str,
) -> LinearResult:
    """Check the system and run the array loop or the compiled one."""
    check_number(rtol, "[0, inf]", "rtol")
    check_number(atol, "[0, inf]", "atol")
    if (shape := tuple(getattr(b, "shape", ()))) and 0 in shape:
        return _nothing(A, b)
    if len(shape) == 2 and shape[1] > 1:
        return _each_side(
            lambda side, start: _iterate(
                A, side, start, preconditioner, options, rtol, atol, maxiter, callback, recompute_every, flexible, engine
            ), b, x0,
        )  # fmt: skip
    from_b = isinstance(x0, str)
    if from_b and x0 != "Mb":
        raise ArgumentError(f'x0: wanted an array, or "Mb" for M^-1 b, got {x0!r}')
    operator, b, x = linear_system(A, b, None if from_b else x0)
    if maxiter is None:
        maxiter = 10 * b.shape[0]
    check_number(maxiter, "int [0, inf)", "maxiter")
    if recompute_every is not None:
        check_number(recompute_every, "int [1, inf)", "recompute_every")
    unit = unit_of(b)
    if unit != 1.0:
        # Inner products of such numbers leave the dtype's range: the same system in other units.
        scaled = _iterate(
            A, b / unit, x0 if x0 is None or from_b else x / unit, preconditioner, options, rtol, atol / unit, maxiter,
            None if callback is None else lambda v: callback(v * unit), recompute_every, flexible, engine,
        )  # fmt: skip
        return in_unit(scaled, unit)
    M = preconditioner_for(preconditioner, operator, options, b)
    vectors = CompiledVectors(operator, M) if numpy_only(engine, operator, b) else Vectors(operator, M)
    scale = vector_norm(b)
    if scale == 0:  # as SciPy: zeros, whatever the start
        x = namespace(b).zeros_like(b)
        return LinearResult(x, 0, np.zeros(1), "converged", "b is zero, so x is zero")
    stop = math.inf if math.inf in (rtol, atol) else max(rtol * scale, atol)
    if from_b:
        x = namespace(b).asarray(b if M is None else M.apply(b), copy=True)
    r = b if x0 is None else b - operator.apply(x)
    norm = vector_norm(r)
    if not np.isfinite(norm):
        raise NonFiniteError("x0: the residual b - A x0 overflows")
    if norm <= stop:
        return outcome("converged", x, [norm], stop)
    found = _loop(vectors, b, x, r, norm, stop, maxiter, callback, recompute_every, flexible)
    if operator.matrix is None:  # a function: nobody asked for one product more
        return found
    return _with_true_residual(found, vector_norm(b - operator.apply(found.x)), stop)


def _with_true_residual(result: LinearResult, true: float, stop: float) -> LinearResult:
    """Return a result that says by how much ``b - A x`` parts from the residual that the loop carried on."""
    result = dataclasses.replace(result, true_residual=true)
    if not result.success or true <= GAP * stop:
        return result
    said = (
        f"the recursive residual {result.residuals[-1]:.3g} is at most {stop:.3g}, but b - A x is {true:.3g}: rounding"
        " has parted them; scale or precondition the system, or pass recompute_every"
    )
    return dataclasses.replace(result, status="residual-gap", message=said)


def _nothing(A: Any, b: Any) -> LinearResult:
    """Return the solution of a system without unknowns, as SciPy has it."""
    if tuple(getattr(A, "shape", (0, 0))) != (0, 0) or b.shape[0] != 0:
        raise ShapeError(f"A, b: shapes {tuple(getattr(A, 'shape', ()))} and {tuple(b.shape)} do not fit")
    return LinearResult(b, 0, np.zeros(1), "converged", "the system has no unknowns", true_residual=0.0)


def _each_side(solve: Callable[[Any, Any], LinearResult], b: Array, x0: Any) -> LinearResult:
    """Solve for each column of `b` by itself."""
    xp = namespace(b)
    if x0 is not None and not isinstance(x0, str) and tuple(getattr(x0, "shape", ())) != tuple(b.shape):
        raise ShapeError(f"x0: wanted shape {tuple(b.shape)} like b, got {getattr(x0, 'shape', x0)}")
    found = [solve(b[:, j], x0 if x0 is None or isinstance(x0, str) else x0[:, j]) for j in range(b.shape[1])]
    longest = max(f.iterations for f in found)
    residuals = np.full((longest + 1, len(found)), math.nan)
    for j, f in enumerate(found):
        residuals[: len(f.residuals), j] = f.residuals
    worst = next((j for j, f in enumerate(found) if not f.success), 0)
    return LinearResult(
        xp.stack([f.x for f in found], axis=1), longest, residuals, found[worst].status,
        f"{len(found)} right sides; of number {worst}: {found[worst].message}", found[worst].direction,
        max(f.true_residual for f in found),
    )  # fmt: skip


def in_unit(result: LinearResult, unit: float) -> LinearResult:
    """Return a result of the system whose right side was divided by `unit`."""
    with np.errstate(over="ignore", under="ignore"):
        x, residuals, true = result.x * unit, result.residuals * unit, result.true_residual * unit
    message, status = f"{result.message} (in units of {unit:.3g})", result.status
    if not all_finite(x):
        status, message = "diverged", "the solution is too large for its dtype"
        x = namespace(x).zeros_like(x)
    return dataclasses.replace(
        result, x=x, residuals=residuals, true_residual=true, status=status, message=message
    )


def _loop(
    vectors: Vectors,
    b: Array,
    x: Array,
    r: Array,
    norm: float,
    stop: float,
    maxiter: int,
    callback: Callable[[Array], object] | None,
    recompute_every: int | None,
    flexible: bool,
) -> LinearResult:
    """Run the paper's loop on either engine: ``p`` is the direction, ``q = A p``, ``z = M^-1 r``."""
    norms = [norm]
    x, r, z = vectors.begin(x, r)
    p, rho = z, norm * norm if z is r else vectors.inner(r, z)
    if p is r or vectors.in_place:
        p = namespace(p).asarray(p, copy=True)
    for k in range(maxiter):
        if not (np.isfinite(rho) and rho > 0):
            return outcome("indefinite-preconditioner", x, norms, stop)
        q, curvature = vectors.product(p)
        if not np.isfinite(curvature):
            return outcome("diverged", x, norms, stop)
        if curvature <= 0:
            return outcome("negative-curvature", x, norms, stop, (p, curvature))
        alpha = rho / curvature
        old = namespace(r).asarray(r, copy=True) if flexible else r
        if recompute_every is not None and k % recompute_every == 0:
            r = b - vectors.operator.apply(advance(x, p, alpha))
            norm = vector_norm(r)
        else:
            r, norm = vectors.reduce_residual(r, q, alpha)
        if not np.isfinite(norm) or not np.isfinite(alpha):
            return outcome("diverged", x, norms, stop)
        norms.append(norm)
        if norm <= stop or k + 1 == maxiter:
            x = advance(x, p, alpha)
            if callback is not None:
                callback(x)
            return outcome("converged" if norm <= stop else "iterations", x, norms, stop)
        z = vectors.precondition(r)
        previous, rho = rho, norm * norm if z is r else vectors.inner(r, z)
        # Polak-Ribiere's form subtracts the old residual's share, zero for a fixed M.
        top = rho - vectors.inner(old, z) if flexible else rho
        x, p = vectors.advance_both(x, p, z, alpha, top / previous)
        if callback is not None:
            callback(x)
    return outcome("iterations", x, norms, stop)


def outcome(
    status: str, x: Array, norms: list[float], stop: float, found: tuple[Array, float] | None = None
) -> LinearResult:
    """Put the outcome into words."""
    k, last = len(norms) - 1, norms[-1]
    direction = None
    if status == "converged":
        message = f"residual {last:.3g} is at most {stop:.3g} after {k} passes"
    elif status == "iterations":
        message = f"residual {last:.3g} is above {stop:.3g} after {k} passes; raise maxiter or precondition"
    elif status == "negative-curvature":
        assert found is not None
        direction, curvature = found
        message = (
            f"A is not positive definite: p^H A p = {curvature:.3g} for p = direction after {k} passes; x is"
            " the last iterate"
        )
    elif status == "indefinite-preconditioner":
        message = f"the preconditioner is not positive definite: r^H M^-1 r <= 0 after {k} passes"
    else:
        message = f"a value overflowed after {k} passes; x is the last finite iterate"
    return LinearResult(x, k, np.asarray(norms), status, message, direction)


@register(
    "cg",
    kind="solver",
    source=HESTENES,
    where="section 3, equations (3:1)",
    dialects={"pyamg": PYAMG},
)
def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    callback: Callable[[Array], object] | None = None,
    recompute_every: int | None = None,
    engine: str = "auto",
) -> LinearResult:
    r"""Conjugate gradients for a Hermitian positive definite system ``A x = b``.

    From :math:`r_0 = b - A x_0,\ p_0 = r_0`, pass k computes

    .. math:: \alpha = \frac{r^H r}{p^H A p},\quad x \leftarrow x + \alpha p,\quad
              r' = r - \alpha A p,\quad p \leftarrow r' + \frac{r'^H r'}{r^H r} p.

    Parameters
    ----------
    A : array (n, n), SciPy sparse matrix, LinearOperator or callable ``v -> A v``
        Hermitian positive definite. Entries are checked to be Hermitian; a function cannot be.
    b : array of shape (n,), (n, 1) or (n, k)
        Right side, real or complex, float32 or float64 (or their complex kin); k of them are solved one by one.
    x0 : array like b or "Mb", optional
        Start; zeros if left out. "Mb": the preconditioner's ``M^-1 b``, as in SciPy.
    rtol, atol : float
        Stop at ``norm(r) <= max(rtol norm(b), atol)``, as SciPy's cg; both at least 0, infinity stops at once. The norm
        is that of the recursive residual, which parts from ``b - A x`` near rounding times the condition.
    maxiter : int, optional
        Largest number of passes; 10 n if left out.
    callback : callable, optional
        Called with x after every pass.
    recompute_every : int, optional
        Replace the recursive residual by ``b - A x`` in the first pass and every so many after it, as
        PyAMG does (None: never, as SciPy).
    engine : {"auto", "array", "numba"}
        ``"numba"`` is one compiled loop over CSR, equal to rounding; ``"auto"`` takes it for a SciPy
        sparse matrix of at least 10000 unknowns where Numba is installed.

    Returns
    -------
    LinearResult
        Its status is ``"converged"``, ``"iterations"``, ``"negative-curvature"`` (with the `direction`
        p of :math:`p^H A p \le 0`), ``"diverged"``, or ``"residual-gap"``: the recursive residual met the tolerance, and
        ``norm(b - A x)``, the result's `true_residual`, is more than ten times as large; of an A that is a function
        neither is known.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        A is not square or not Hermitian, the shapes or dtypes do not fit, an entry is not finite.
    MissingExtraError
        ``engine="numba"`` without Numba.

    Notes
    -----
    The answer carries no graph of torch's or JAX's. By hand: a gradient g of x is ``A^{-1} g`` of b, one more solve, and with it ``-(A^{-1} g) x^H`` of A.

    One product with A, two inner products and three updates a pass. For b = 0 the answer is 0
    whatever the start, as in SciPy.

    References
    ----------
    Hestenes, Stiefel (1952), Methods of Conjugate Gradients for Solving Linear Systems,
    doi:10.6028/jres.049.044. Saad (2003), Iterative Methods for Sparse Linear Systems, section 6.7.

    Examples
    --------
    >>> import numpy as np
    >>> r = cg(np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0]), rtol=1e-12)
    >>> r.status, r.iterations, np.round(r.x, 6)
    ('converged', 2, array([0.090909, 0.636364]))
    >>> cg(np.diag([1.0, -1.0]), np.array([1.0, 2.0])).status
    'negative-curvature'
    """
    return _iterate(A, b, x0, None, {}, rtol, atol, maxiter, callback, recompute_every, False, engine)


@register(
    "pcg",
    kind="solver",
    source=MEIJERINK,
    where="the method ICCG(0)",
    also=(HESTENES,),
    dialects={"pyamg": PYAMG},
)
def pcg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    preconditioner: Any = "jacobi",
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    callback: Callable[[Array], object] | None = None,
    recompute_every: int | None = None,
    flexible: bool = False,
    engine: str = "auto",
    **options: Any,
) -> LinearResult:
    r"""Preconditioned conjugate gradients for a Hermitian positive definite system.

    With :math:`z = M^{-1} r`, pass k of `cg` becomes

    .. math:: \alpha = \frac{r^H z}{p^H A p},\quad x \leftarrow x + \alpha p,\quad
              r' = r - \alpha A p,\quad p \leftarrow z' + \frac{r'^H z'}{r^H z} p.

    Parameters
    ----------
    A, b, x0, rtol, atol, maxiter, callback, recompute_every, engine
        As in `cg`; the stop is on ``norm(r)``, not on ``norm(z)``.
    preconditioner : {"jacobi", "ssor", "ic0", "amg"}, Preconditioner, callable, matrix or None
        A name needs A's entries and takes its own options; "amg" is multigrid by PyAMG, whose passes do not grow with a grid; an object has ``apply(r)`` returning
        :math:`M^{-1} r` (`refopt.linear.preconditioners`); a callable is that function itself, a matrix (dense,
        sparse or a LinearOperator) that map. A hierarchy of PyAMG gives one: ``ml.aspreconditioner()``.
    flexible : bool
        Polak and Ribiere's :math:`(r' - r)^H z' / r^H z`, for an M that changes between passes.
    **options
        Of the named preconditioner: ``omega`` for ``"ssor"``, ``shift`` for ``"ic0"``, ``coarsening`` and ``cycle`` for ``"amg"``.

    Returns
    -------
    LinearResult
        As `cg`'s, with one more status, ``"indefinite-preconditioner"``.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `cg`; also an unknown preconditioner or option.
    ConvergenceError
        IC(0) met a pivot that is not positive and `shift` does not allow a retry.
    MissingExtraError
        ``"amg"`` without PyAMG, ``engine="numba"`` without Numba.

    Notes
    -----
    SciPy's argument M is the inverse, MATLAB's is M itself; here `apply` is the inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from refopt.problems.linear_systems import poisson_2d
    >>> A, b = poisson_2d(20), np.ones(400)
    >>> cg(A, b).iterations, pcg(A, b, preconditioner="ic0").iterations
    (29, 14)
    """
    return _iterate(
        A, b, x0, preconditioner, options, rtol, atol, maxiter, callback, recompute_every, flexible, engine
    )
