"""Low-rank matrix completion by alternating minimisation, exact or with sketched regressions (Gu et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.arrays import Array, all_finite, check_array, like, namespace, norm
from refopt.core.errors import ArgumentError, ArgumentTypeError, NonFiniteError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.linear.iterative_sketching import draw_sketch

GU = Source(
    "gu-2024-low",
    "Y. Gu, Z. Song, J. Yin, L. Zhang",
    "Low Rank Matrix Completion via Robust Alternating Minimization in Nearly Linear Time",
    arxiv="2302.11068",
    venue="ICLR 2024",
)
UPDATES = ("exact", "sketched")
SKETCHES = ("gaussian", "count")


@dataclass(frozen=True)
class CompletionResult:
    """A completed matrix by its factors.

    Attributes
    ----------
    U : array of shape (n, k)
    V : array of shape (m, k)
        With orthonormal columns; ``U @ V.T`` is the completion.
    residuals : array of shape (rounds + 1,)
        ``norm(P(U V^T - M)) / norm(P(M))`` on the observed entries after each round (NumPy); first 1, that of zero.
    iterations : int
        Rounds.
    status : str
        ``"converged"``, ``"iterations"`` or ``"diverged"``.
    message : str
    """

    U: Array
    V: Array
    residuals: np.ndarray
    iterations: int
    status: str
    message: str

    @property
    def success(self) -> bool:
        """True if the tolerance was met."""
        return self.status == "converged"


def exact_rows(M: Array, mask: Array, V: Array) -> Array:
    """Return for each row i the minimiser of ``sum_j mask_ij (M_ij - u . V_j)^2``, that of least norm if there are several."""
    xp = namespace(M)
    stack = mask[:, :, None] * V[None, :, :]
    return xp.matmul(xp.linalg.pinv(stack), (mask * M)[:, :, None])[:, :, 0]


def sketched_rows(M: Array, mask: Array, V: Array, S: Array, passes: int) -> Array:
    r"""Return approximate minimisers, by iterations preconditioned with a sketch.

    For each regression ``min |A z - b|``: with QR(SA) = Q R, from the sketched solution
    :math:`R^{-1} Q^T S b` on, :math:`z \leftarrow z + R^{-1} R^{-T} A^T (b - A z)`.

    Parameters
    ----------
    M, mask : array of shape (n, m)
    V : array of shape (m, k)
    S : array of shape (s, m)
        One sketch for all rows.
    passes : int
    """
    xp = namespace(M)
    A, b = mask[:, :, None] * V[None, :, :], (mask * M)[:, :, None]
    Q, R = xp.linalg.qr(xp.matmul(S, A))
    # Fewer entries than unknowns leave R singular: the pseudo-inverse keeps to what the entries see.
    inverse = xp.linalg.pinv(R)
    z = xp.matmul(inverse, xp.matmul(xp.matrix_transpose(Q), xp.matmul(S, b)))
    both = xp.matmul(inverse, xp.matrix_transpose(inverse))
    for _ in range(passes):
        z = z + xp.matmul(both, xp.matmul(xp.matrix_transpose(A), b - xp.matmul(A, z)))
    return z[:, :, 0]


@register(
    "altmin",
    kind="solver",
    source=GU,
    where="alternating minimisation with a high-accuracy regression solver",
)
def altmin(
    M: Any,
    mask: Any,
    rank: int,
    *,
    updates: str = "exact",
    incoherence: float | None = None,
    split: bool = False,
    sketch: str = "gaussian",
    sketch_size: int | None = None,
    passes: int = 20,
    tol: float = 1e-8,
    maxiter: int = 100,
    seed: int = 0,
) -> CompletionResult:
    r"""Complete a matrix of low rank from some of its entries.

    From the top left singular vectors of the observed :math:`P_\Omega(M)`, rounds of

    .. math:: V \leftarrow \arg\min_V \|P_\Omega(M - U V^T)\|_F,\quad V \leftarrow QR(V),\quad
              U \leftarrow \arg\min_U \|P_\Omega(M - U V^T)\|_F,\quad U \leftarrow QR(U),

    the last U not orthonormalised.

    Parameters
    ----------
    M : array of shape (n, m)
        Entries outside of the mask are not read.
    mask : array of shape (n, m)
        1 where an entry was observed, else 0.
    rank : int
        The paper's k, from 1 to min(n, m).
    updates : {"exact", "sketched"}
        "exact": the minimum, O(k^2) an entry (that of least norm where a row has fewer than k entries). "sketched": iterations
        preconditioned by the QR factorisation of a sketch, O(k) an entry and pass.
    incoherence : float, optional
        The paper's mu: entries of the first U above :math:`2\mu\sqrt{k / n}` are set to 0. Left out: none is.
    split : bool
        Use another part of the observed entries in the start and in every half round, 2 `maxiter` + 1 parts, as the proofs do.
    sketch : {"gaussian", "count"}
        Normal entries, or one sign a column in a random row: cheaper, and only for regressions of many entries, since two of few
        entries in one row lose one of them.
    sketch_size : int, optional
        Rows of the sketch, at least k; 100 (k + 1) if left out, the k / 0.1^2 of a sketch within a tenth.
    passes : int
        Of a sketched regression.
    tol : float
        Stop at a relative residual on the observed entries of at most this.
    maxiter : int
        Largest number of rounds.
    seed : int
        Of the sketches and of the parts.

    Returns
    -------
    CompletionResult

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        Shapes that do not fit; a mask of other numbers than 0 and 1, or empty; numbers out of range.

    Notes
    -----
    A regression's passes contract by :math:`\max|1 - \sigma_i^2|`, :math:`\sigma_i` the singular values of :math:`A R^{-1}`: within a
    tenth of 1 for a sketch as large as the paper's. A sketch that is too small makes them grow, and the run ends as diverged.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> M, mask = np.outer(rng.random(20) + 1, rng.random(15) + 1), (rng.random((20, 15)) < 0.5) * 1.0
    >>> r = altmin(M * mask, mask, rank=1)
    >>> r.status, bool(np.allclose(r.U @ r.V.T, M, rtol=1e-6))
    ('converged', True)
    """
    M, mask = check_array(M, "M", ndim=2, finite=False), check_array(mask, "mask", ndim=2)
    xp = namespace(M)
    if namespace(mask) is not xp:
        raise ArgumentTypeError(f"mask: wanted an array of the library of M, got {type(mask)}")
    if tuple(mask.shape) != tuple(M.shape):
        raise ShapeError(f"M, mask: shapes {tuple(M.shape)} and {tuple(mask.shape)} do not fit")
    if 0 in M.shape or not bool(xp.all((mask == 0) | (mask == 1))) or not bool(xp.any(mask == 1)):
        raise ArgumentError("mask: wanted zeros and ones, at least one of them 1")
    M = xp.where(mask == 1, M, xp.zeros_like(M))
    if not all_finite(M):
        raise NonFiniteError("M: an observed entry is NaN or infinity")
    mask = xp.astype(mask, M.dtype)
    check_number(rank, f"int [1, {min(M.shape)}]", "rank")
    if updates not in UPDATES:
        raise ArgumentError(f"updates: wanted one of {', '.join(UPDATES)}, got {updates!r}")
    if incoherence is not None:
        check_number(incoherence, "(0, inf)", "incoherence")
    if sketch not in SKETCHES:
        raise ArgumentError(f"sketch: wanted one of {', '.join(SKETCHES)}, got {sketch!r}")
    size = 100 * (rank + 1) if sketch_size is None else sketch_size
    check_number(size, f"int [{rank}, inf)", "sketch_size")
    for name, value in (("passes", passes), ("maxiter", maxiter)):
        check_number(value, "int [0, inf)", name)
    check_number(tol, "[0, inf)", "tol")
    rng = generator(seed, "method")
    part = rng.integers(0, 2 * maxiter + 1, M.shape) if split else None

    def observed(k: int) -> Array:
        """Return the mask of part k."""
        return mask if part is None else mask * like(part == k, mask)

    def regress(M: Array, mask: Array, V: Array) -> Array:
        if updates == "exact":
            return exact_rows(M, mask, V)
        n = V.shape[0]
        S = draw_sketch(sketch, size, 0, np.full(n, 1 / n), rng).T
        return sketched_rows(M, mask, V, like(S / math.sqrt(size) if sketch == "gaussian" else S, M), passes)

    U, V = _start(M, observed(0), rank, incoherence), xp.zeros_like(M[0, :, None] + M[:1, :rank])
    whole = norm(M)
    residuals, status = [1.0], "iterations"
    while len(residuals) <= maxiter:
        k = len(residuals)
        with np.errstate(over="ignore", invalid="ignore"):
            new_V = regress(M.T, observed(k).T, xp.linalg.qr(U)[0])
            if all_finite(new_V):
                new_V = xp.linalg.qr(new_V)[0]
                new_U = regress(M, observed(maxiter + k), new_V)
        if not (all_finite(new_V) and all_finite(new_U)):
            status = "diverged"
            break
        U, V = new_U, new_V
        left = norm(mask * (xp.matmul(U, V.T) - M))
        residuals.append(left / whole if whole > 0 else 0.0)
        if residuals[-1] <= tol:
            status = "converged"
            break
    message = (
        f"relative residual {residuals[-1]:.3g} on the observed entries after {len(residuals) - 1} rounds"
    )
    if status == "diverged":
        message += "; the regressions grew without bound: raise sketch_size"
    return CompletionResult(U, V, np.asarray(residuals), len(residuals) - 1, status, message)


def _start(M: Array, mask: Array, rank: int, incoherence: float | None) -> Array:
    """Return the top left singular vectors of what is observed, cut where they are too large for an incoherent matrix."""
    xp = namespace(M)
    U = xp.linalg.svd(mask * M, full_matrices=False)[0][:, :rank]
    if incoherence is None:
        return U
    bound = 2.0 * incoherence * math.sqrt(rank / M.shape[0])
    return xp.where(xp.abs(U) > bound, xp.zeros_like(U), U)
