"""Sketch and project: randomised iterations for a square system of any sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.arrays import Array, like, namespace, to_numpy
from refopt.core.cost import Cost
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import LinearResult
from refopt.core.rng import generator
from refopt.linear.operators import inner, is_complex, linear_system, vector_norm

HONG = Source(
    "hong-2023-constrained",
    "I. Hong, S. Na, M. W. Mahoney, M. Kolar",
    "Constrained Optimization via Exact Augmented Lagrangian and Randomized Iterative Sketching",
    arxiv="2305.18379",
)
GOWER = Source(
    "gower-2015-randomized",
    "R. M. Gower, P. Richtárik",
    "Randomized Iterative Methods for Linear Systems",
    arxiv="1506.03296",
)
SKETCHES = ("gaussian", "kaczmarz", "kaczmarz-norms", "kaczmarz-cyclic", "count")


def draw_sketch(
    sketch: str, size: int, step: int, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return one sketch S of shape (n, size).

    Parameters
    ----------
    sketch : {"gaussian", "kaczmarz", "kaczmarz-norms", "kaczmarz-cyclic", "count"}
        Independent normal entries; unit vectors drawn uniformly, by `weights`, or in turn; one sign
        a row in a uniform column.
    size : int
    step : int
        Counted from 0, for the cyclic order.
    weights : array of shape (n,)
        Probabilities of the rows.
    rng : numpy.random.Generator

    Examples
    --------
    >>> S = draw_sketch("count", 2, 0, np.full(5, 0.2), np.random.default_rng(0))
    >>> np.abs(S).sum(axis=1).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    n = weights.size
    if sketch == "gaussian":
        return rng.standard_normal((n, size))
    S = np.zeros((n, size))
    if sketch == "count":
        S[np.arange(n), rng.integers(0, size, n)] = rng.integers(0, 2, n) * 2.0 - 1
        return S
    if sketch == "kaczmarz-cyclic":
        rows = (step * size + np.arange(size)) % n
    else:
        rows = rng.choice(n, size, replace=False, p=weights if sketch == "kaczmarz-norms" else None)
    S[rows, np.arange(size)] = 1
    return S


def _twenty_passes(n: int, size: int) -> Callable[[], LinearResult]:
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((n, n)), rng.standard_normal(n)
    return lambda: iterative_sketching(A, b, sketch_size=size, rtol=0.0, maxiter=20)


@register(
    "iterative-sketching",
    kind="solver",
    source=HONG,
    where="the randomized iterative sketching solver",
    costs=(
        Cost("n", 2.0, "O(n^2 s) a pass", lambda n: _twenty_passes(n, 4), (400, 800, 1600, 3200)),
        Cost("sketch size", 1.0, "O(n^2 s) a pass", lambda s: _twenty_passes(1000, s), (4, 8, 16, 32, 64)),
    ),
    also=(GOWER,),
    dialects={
        "official": Dialect(
            {"sketch": "kaczmarz"},
            "IlgeeHong/AdaSketch-Newton",
            "unverified by a run (Julia): rows drawn uniformly",
        )
    },
)
def iterative_sketching(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    sketch: str = "gaussian",
    sketch_size: int = 1,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int = 100_000,
    seed: int = 0,
    callback: Callable[[Array], object] | None = None,
) -> LinearResult:
    r"""Sketch-and-project for a square consistent system, definite or not.

    Each pass draws a sketch S and projects the iterate onto the sketched system,

    .. math:: z \leftarrow z - K^H S (S^T K K^H S)^\dagger S^T (K z - b).

    Parameters
    ----------
    A : array (n, n) or SciPy sparse matrix
        The paper's K; need not be symmetric or definite.
    b : array of shape (n,)
        Right side.
    x0 : array of shape (n,), optional
        Start; zeros if left out.
    sketch : {"gaussian", "kaczmarz", "kaczmarz-norms", "kaczmarz-cyclic", "count"}
        See `draw_sketch`; "kaczmarz-norms" draws rows by their squared norms (Strohmer and Vershynin).
    sketch_size : int
        Columns of S, from 1 to n.
    rtol, atol : float
        Stop at ``norm(b - A x) <= max(rtol norm(b), atol)``.
    maxiter : int
        Largest number of passes.
    seed : int
        Of the sketches.
    callback : callable, optional
        Called with x after every pass.

    Returns
    -------
    LinearResult
        With status ``"converged"`` or ``"iterations"``.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `refopt.linear.conjugate_gradient.cg` (but for symmetry); an unknown sketch.

    Notes
    -----
    The authors' code starts with the residual's sign reversed, so its first pass goes away from the
    solution; that is not followed here.

    Examples
    --------
    >>> A = np.array([[1.0, 2.0], [2.0, -1.0]])
    >>> np.round(iterative_sketching(A, np.array([5.0, 0.0]), sketch="kaczmarz-cyclic").x, 6).tolist()
    [1.0, 2.0]
    """
    operator, b, x = linear_system(A, b, x0, symmetric=False, entries=True)
    K = operator.matrix
    n = b.shape[0]
    if sketch not in SKETCHES:
        raise ArgumentError(f"sketch: wanted one of {', '.join(SKETCHES)}, got {sketch!r}")
    check_number(sketch_size, f"int [1, {n}]", "sketch_size")
    check_number(rtol, "[0, inf)", "rtol")
    check_number(atol, "[0, inf)", "atol")
    check_number(maxiter, "int [0, inf)", "maxiter")
    xp, rng = namespace(b), generator(seed, "method")
    host = K if operator.sparse else to_numpy(K)
    squares = np.asarray(abs(host).power(2).sum(axis=1) if operator.sparse else (np.abs(host) ** 2).sum(1))
    total = float(squares.sum())
    if total == 0:
        raise ArgumentError("A: is zero")
    weights = squares / total
    adjoint = K.T if operator.sparse else xp.matrix_transpose(K)
    if is_complex(K):
        adjoint = adjoint.conj() if operator.sparse else xp.conj(adjoint)
    r = operator.apply(x) - b
    norms = [vector_norm(r)]
    stop = max(rtol * vector_norm(b), atol)
    while norms[-1] > stop and len(norms) <= maxiter:
        S = like(draw_sketch(sketch, sketch_size, len(norms) - 1, weights, rng), b)
        M = adjoint @ S if operator.sparse else xp.matmul(adjoint, S)  # K^H S
        sketched = xp.matmul(S.T, r)
        if sketch_size == 1:
            square = inner(M[:, 0], M[:, 0])
            move = M[:, 0] * (sketched[0] / square) if complex(square).real > 0 else 0 * x
        else:
            # M (M^H M)^+ is the adjoint of M's pseudo-inverse.
            inverse = xp.matrix_transpose(xp.linalg.pinv(M))
            move = xp.matmul(xp.conj(inverse) if is_complex(M) else inverse, sketched)
        x = x - move
        r = operator.apply(x) - b
        norms.append(vector_norm(r))
        if callback is not None:
            callback(x)
    status = "converged" if norms[-1] <= stop else "iterations"
    message = f"residual {norms[-1]:.3g} after {len(norms) - 1} passes (wanted {stop:.3g})"
    if status == "iterations":
        message += "; raise maxiter or sketch_size"
    return LinearResult(x, len(norms) - 1, np.asarray(norms), status, message)
