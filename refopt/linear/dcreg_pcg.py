"""Registration with directions that the data hardly fix: found by Schur complements, preconditioned alone (DCReg)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.arrays import check_array, check_symmetric, like, namespace, to_numpy
from refopt.core.errors import ArgumentTypeError, DtypeError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.core.result import LinearResult
from refopt.linear.conjugate_gradient import pcg

HU = Source(
    "hu-2025-dcreg",
    "X. Hu, B. Chen, J. Jia, K. Wu, F. Tan, S. L. Waslander",
    "DCReg: Decoupled Characterization for Efficient Degenerate LiDAR Registration",
    arxiv="2509.06285",
)
LEAST = 1e-12  # an eigenvalue below this counts as it: what is divided by it is degenerate in any case
FLOOR = 1e-9  # of a raised eigenvalue


@dataclass(frozen=True)
class Block:
    """What is known of the rotation's or the translation's three directions, once the other three are eliminated.

    Attributes
    ----------
    eigenvalues : array of shape (3,)
        Of the Schur complement, in the order of the axes x, y, z that their directions are matched with.
    directions : array of shape (3, 3)
        Columns: unit eigenvectors, each with a component of at least 0 on its axis.
    degenerate : array of shape (3,) of bool
    condition : float
        Largest over smallest eigenvalue.
    """

    eigenvalues: np.ndarray
    directions: np.ndarray
    degenerate: np.ndarray
    condition: float

    @property
    def contributions(self) -> np.ndarray:
        """The share of each axis (rows) in each direction (columns); columns sum to 1."""
        return self.directions**2


@dataclass(frozen=True)
class RegistrationResult(LinearResult):
    """A `LinearResult` with the report of degeneracy beside it.

    Attributes
    ----------
    rotation, translation : Block or None
        None where the other block is singular: then all directions count as degenerate and the answer is that of least norm.
    """

    rotation: Block | None = None
    translation: Block | None = None

    @property
    def degenerate(self) -> np.ndarray:
        """Which of the six directions are degenerate, rotation first."""
        parts = [
            np.ones(3, dtype=bool) if b is None else b.degenerate for b in (self.rotation, self.translation)
        ]
        return np.concatenate(parts)


def characterise(S: np.ndarray, threshold: float) -> Block:
    """Decompose a Schur complement and match its directions with the axes.

    Greedy: x, then y, then z takes the direction, of those left, with the largest component on it.

    Examples
    --------
    >>> b = characterise(np.diag([1.0, 50.0, 100.0]), threshold=10.0)
    >>> b.degenerate.tolist(), b.condition
    ([True, False, False], 100.0)
    """
    values, vectors = np.linalg.eigh(S)
    order: list[int] = []
    for axis in range(3):
        left = [k for k in range(3) if k not in order]
        order.append(max(left, key=lambda k: abs(vectors[axis, k])))
    values, vectors = values[order], vectors[:, order]
    vectors = vectors * np.where(np.diag(vectors) < 0, -1.0, 1.0)
    ratios = float(values.max()) / np.maximum(values, LEAST)
    return Block(values, vectors, ratios > threshold, float(ratios.max()))


def clamped_inverse(block: Block, target: float) -> np.ndarray:
    """Return the inverse of a Schur complement whose degenerate eigenvalues are set to the largest over `target`."""
    raised = max(float(block.eigenvalues.max()) / target, FLOOR)
    values = np.where(block.degenerate, raised, block.eigenvalues)
    return (block.directions / values) @ block.directions.T


@register(
    "dcreg-pcg",
    kind="solver",
    source=HU,
    where="Schur decoupling, axis alignment and targeted preconditioning",
)
def dcreg_pcg(
    H: Any,
    b: Any,
    *,
    threshold: float = 10.0,
    target: float = 10.0,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    maxiter: int = 10,
) -> RegistrationResult:
    r"""Solve the 6 x 6 normal equations of a registration, and say which motions the data hardly fix.

    With :math:`H = J^T J`, rotation first,

    .. math:: S_R = H_{RR} - H_{Rt} H_{tt}^{-1} H_{tR},\qquad S_t = H_{tt} - H_{tR} H_{RR}^{-1} H_{Rt},

    a direction is degenerate where :math:`\lambda_{max} / \lambda_i` of its block is above the threshold; then
    :math:`P = \operatorname{diag}(V_R \tilde\Lambda_R^{-1} V_R^T,\; V_t \tilde\Lambda_t^{-1} V_t^T)` with
    :math:`\tilde\lambda_i = \lambda_{max} / \kappa` for degenerate directions alone preconditions conjugate gradients.

    Parameters
    ----------
    H : array of shape (6, 6)
        Symmetric positive definite; rows and columns 0 to 2 are the rotation's.
    b : array of shape (6,)
        Right side, :math:`-J^T e`.
    threshold : float
        Above 1, of the ratio of eigenvalues.
    target : float
        :math:`\kappa \ge 1`; above `threshold` it lowers some eigenvalues, since it is assigned.
    rtol, atol : float
        Stop at ``norm(r) <= max(rtol norm(b), atol)``.
    maxiter : int
        Largest number of passes; at least 6 are allowed, as in the authors' code: six are exact.

    Returns
    -------
    RegistrationResult
        Where the passes do not meet the tolerance, the answer is that of least squares and least norm, and its message says so.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        Wrong shapes or dtypes; H not symmetric; numbers out of range.

    Notes
    -----
    The objective is not changed: at convergence the answer is that of the plain system, and kappa matters only where the passes
    stop early. Without clamping P has the condition number of block Jacobi; its use is that it names the directions. The
    paper orthogonalises the matched directions again; eigenvectors are orthogonal, and the authors' code leaves it out. Three by
    three blocks are decomposed in float64 on the host.

    Examples
    --------
    >>> H = np.diag([4.0, 5.0, 6.0, 100.0, 90.0, 1.0])  # a corridor: nothing holds the motion along z
    >>> r = dcreg_pcg(H, np.ones(6))
    >>> r.degenerate.tolist(), round(r.translation.condition, 6)
    ([False, False, False, False, False, True], 100.0)
    """
    H = check_symmetric(H, "H", ndim=2)
    b = check_array(b, "b", shape=(6,))
    if tuple(H.shape) != (6, 6):
        raise ShapeError(f"H: wanted shape (6, 6), rotation first, got {tuple(H.shape)}")
    if namespace(b) is not namespace(H):
        raise ArgumentTypeError(f"H, b: wanted arrays of one library, got {type(H)} and {type(b)}")
    if H.dtype != b.dtype:
        raise DtypeError(f"H, b: wanted one dtype, got {H.dtype} and {b.dtype}")
    for name, value in (("threshold", threshold), ("target", target)):
        check_number(value, "[1, inf)", name)
    check_number(maxiter, "int [0, inf)", "maxiter")
    host = to_numpy(H).astype(np.float64)
    host = (host + host.T) / 2
    R, t, X = host[:3, :3], host[3:, 3:], host[:3, 3:]
    blocks: tuple[Block | None, Block | None] = (None, None)
    if min(_smallest(R), _smallest(t)) > 0:
        schur = (R - X @ np.linalg.solve(t, X.T), t - X.T @ np.linalg.solve(R, X))
        blocks = (characterise(schur[0], threshold), characterise(schur[1], threshold))
    if blocks[0] is None or blocks[1] is None:
        return _least(H, b, None, blocks, "a block is singular to rounding")
    P = np.zeros((6, 6))
    P[:3, :3], P[3:, 3:] = (clamped_inverse(block, target) for block in blocks if block is not None)
    found = pcg(H, b, preconditioner=like(P, H), rtol=rtol, atol=atol, maxiter=max(maxiter, 6))
    if not found.success:
        return _least(H, b, found, blocks, found.message)
    return RegistrationResult(**vars(found), rotation=blocks[0], translation=blocks[1])


def _smallest(S: np.ndarray) -> float:
    """Return the smallest eigenvalue less what rounding may have made of 0."""
    values = np.linalg.eigvalsh(S)
    return float(values[0] - 6 * np.finfo(np.float64).eps * values[-1])


def _least(
    H: Any, b: Any, found: LinearResult | None, blocks: tuple[Block | None, Block | None], why: str
) -> RegistrationResult:
    """Return the solution of least squares and least norm."""
    xp = namespace(b)
    x = xp.matmul(xp.linalg.pinv(H), b)
    left = float(xp.linalg.vector_norm(b - xp.matmul(H, x)))
    norms = (
        np.array([float(xp.linalg.vector_norm(b)), left])
        if found is None
        else np.append(found.residuals, left)
    )
    whole = left <= 1e3 * float(xp.finfo(b.dtype).eps) * float(xp.linalg.vector_norm(b))
    status, words = ("converged", "") if whole else ("residual-gap", ", which leaves part of b unexplained")
    return RegistrationResult(
        x, norms.size - 1, norms, status, f"{why}; solved by least squares of least norm{words}",
        None, left, blocks[0], blocks[1],
    )  # fmt: skip
