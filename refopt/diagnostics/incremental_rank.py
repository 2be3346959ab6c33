"""Incremental learning of ranks by gradient descent from a small start (Jin et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize

from refopt.core.errors import CapabilityError, NonFiniteError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.problem import require
from refopt.core.registry import Source, register
from refopt.core.rng import generator

JIN = Source("jin-2023-understanding", "J. Jin, Z. Li, K. Lyu, S. S. Du, J. D. Lee",
    "Understanding Incremental Learning of Gradient Descent: A Fine-grained Analysis of Matrix Sensing",
    arxiv="2301.11500")  # fmt: skip


@dataclass(frozen=True)
class Ranks:
    """How near a run of gradient descent came to the best fit of each rank, and when.

    Attributes
    ----------
    distances : array of shape (s,)
        ``min_t ||U_t U_tᵀ - Z*_s||_F`` for the ranks 1, 2, ..., s.
    times : array of int, shape (s,)
        The step t at which that is attained.
    fits : array of shape (s, n, n)
        The best fits Z*_s.
    """

    distances: np.ndarray
    times: np.ndarray
    fits: np.ndarray


@register("incremental-rank", kind="diagnostic", source=JIN, where="the best rank-s fits Z*_s and the main theorem",
    needs=("value", "grad"))  # fmt: skip
def incremental_rank(
    problem: Any,
    alpha: float = 1e-3,
    lr: float = 0.2,
    steps: int = 1000,
    ranks: int | None = None,
    seed: int = 0,
) -> Ranks:
    """Incremental rank: gradient descent from a small start passes the best fits of rank 1, 2, ... one by one.

    From ``U_0 = α Ū``, with a fixed Ū of norm 1, gradient descent ``U_{t+1} = U_t - μ ∇f(U_t)`` on a matrix-sensing
    objective f comes near each Z*_s, the minimiser of f over positive semidefinite matrices of rank s, before it
    learns the next rank: the least distance to each tends to zero with α, and its times grow with s.

    Parameters
    ----------
    problem : object
        A symmetric sensing problem: ``value`` and ``grad`` of U, of shape (n, search_rank), and its ``truth``
        (n, n), whose leading eigenpairs start the fits: refopt.problem("matrix-sensing").
    alpha : float, range (0, inf), default 1e-3
        α, the spectral norm of the start.
    lr : float, range (0, inf), default 0.2
        μ; stable below about the inverse of the truth's largest eigenvalue.
    steps : int, range [1, inf), default 1000
        Steps of gradient descent.
    ranks : int, optional
        Fits of rank 1 to this; the truth's own rank, or U's columns, if left out.
    seed : int, range [0, 2**64), default 0
        Of the direction Ū, normal numbers.

    Returns
    -------
    Ranks

    Raises
    ------
    CapabilityError
        The problem has no ``truth``, ``value`` or ``grad``.
    ArgumentError, ShapeError
        A setting out of its range; more ranks than columns of U.
    NonFiniteError
        Gradient descent diverges at this rate.

    Notes
    -----
    With all entries observed Z*_s is the truth's truncated eigendecomposition; with fewer measurements it is not, and
    is found by L-BFGS from there, in the s columns that are not zero. Eigenvalues that are equal are learned together.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("matrix-sensing", n=10, rank=2, operator="identity", condition_number=4.0, search_rank=10)
    >>> found = refopt.get("incremental-rank")(p, alpha=1e-6)
    >>> print(found.distances < 1e-3, found.times[0] < found.times[1])
    [ True  True] True
    """
    require(problem, ("value", "grad"), "incremental-rank")
    if not hasattr(problem, "truth"):
        raise CapabilityError(f"incremental-rank: {type(problem).__qualname__} has no truth, an array (n, n)")
    for value, name, allowed in (
        (alpha, "alpha", "(0, inf)"),
        (lr, "lr", "(0, inf)"),
        (steps, "steps", "int [1, inf)"),
    ):
        check_number(value, allowed, name)
    truth = np.asarray(problem.truth, dtype=np.float64)
    columns = problem.start(0).shape[1]
    most = min(int(np.linalg.matrix_rank(truth)), columns) if ranks is None else ranks
    check_number(most, "int [1, inf)", "ranks")
    if most > columns:
        raise ShapeError(f"ranks: wanted at most the {columns} columns of U, got {most}")
    fits = np.stack([best_fit(problem, truth, columns, s) for s in range(1, most + 1)])
    direction = generator(seed, "start").standard_normal((truth.shape[0], columns))
    U = alpha * direction / np.linalg.norm(direction, 2)
    distances, times = np.full(most, np.inf), np.zeros(most, dtype=int)
    for t in range(steps + 1):
        now = np.sqrt(np.sum((U @ U.T - fits) ** 2, axis=(1, 2)))
        if not np.all(np.isfinite(now)):
            raise NonFiniteError(
                f"lr: gradient descent diverges at {lr!r}, in step {t}; wanted a smaller one"
            )
        nearer = now < distances
        distances, times = np.where(nearer, now, distances), np.where(nearer, t, times)
        U = U - lr * problem.grad(U)
    return Ranks(distances, times, fits)


def best_fit(problem: Any, truth: np.ndarray, columns: int, rank: int) -> np.ndarray:
    """Return Z*_s: L-BFGS on the s columns, from the truth's leading eigenpairs."""
    values, vectors = np.linalg.eigh(truth)
    n = truth.shape[0]
    leading = vectors[:, -rank:] * np.sqrt(np.maximum(values[-rank:], 0.0))

    def whole(flat: np.ndarray) -> np.ndarray:
        return np.concatenate([flat.reshape(n, rank), np.zeros((n, columns - rank))], axis=1)

    found = scipy.optimize.minimize(
        lambda flat: float(problem.value(whole(flat))), leading.ravel(), method="L-BFGS-B",
        jac=lambda flat: problem.grad(whole(flat))[:, :rank].ravel(),
        options={"maxiter": 5000, "maxfun": 20000, "gtol": 1e-12, "ftol": 0.0},
    )  # fmt: skip
    U = found.x.reshape(n, rank)
    return U @ U.T
