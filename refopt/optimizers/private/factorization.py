"""Factorizations of prefix sums for private training (Choquette-Choo et al. 2023)."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from refopt.core.errors import ArgumentError, ConvergenceError
from refopt.core.hyper import check_number


def patterns(n: int, k: int) -> np.ndarray:
    """Return the sign vectors of who takes part k times in n steps, n/k apart, one a row, up to their sign."""
    check_number(n, "int [1, inf)", "n")
    check_number(k, "int [1, inf)", "k")
    if n % k:
        raise ArgumentError(f"k: wanted a divisor of the {n} steps, got {k}")
    rows = []
    for first, signs in itertools.product(range(n // k), itertools.product((1.0, -1.0), repeat=k - 1)):
        row = np.zeros(n)
        row[first :: n // k] = (1.0, *signs)
        rows.append(row)
    return np.array(rows)


@functools.cache
def optimal(n: int, k: int = 1, rtol: float = 1e-6) -> np.ndarray:
    """Return the lower triangular C of sensitivity 1 with the least error of the prefix sums.

    ``X = CᵀC`` minimises ``tr(AᵀA X⁻¹)``, A the lower triangle of ones, under ``uᵀXu ≤ 1`` for all `patterns` u. With
    weights v of them and ``U = Σ v_u u uᵀ``: ``X = U^{-1/2}(U^{1/2}AᵀA U^{1/2})^{1/2}U^{-1/2}``, ``v_u ← v_u uᵀXu``,
    until the dual value ``2 tr(U X) - Σ v`` is within `rtol` of the primal one.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        k does not divide n.
    ConvergenceError
        More than 100 000 passes.

    Examples
    --------
    >>> C = optimal(8)
    >>> round(float(np.linalg.norm(np.tril(np.ones((8, 8))) @ np.linalg.inv(C)) ** 2), 4)
    17.8662
    """
    u = patterns(n, k)
    A = np.tril(np.ones((n, n)))
    gram, v = A.T @ A, np.ones(len(u))
    for _ in range(100_000):
        root, inverse = _roots((u.T * v) @ u)
        X = inverse @ _roots(root @ gram @ root)[0] @ inverse
        used = np.einsum("ij,jk,ik->i", u, X, u)
        dual = 2.0 * float(v @ used) - float(np.sum(v))
        top = float(np.max(used))
        if float(np.trace(np.linalg.solve(X, gram))) * top <= dual * (1.0 + rtol):
            flipped = np.linalg.cholesky(X[::-1, ::-1] / top)
            return np.ascontiguousarray(flipped.T[::-1, ::-1])
        v = v * used
    raise ConvergenceError(f"the factorization of {n} steps did not come within {rtol} of the optimum")


def _roots(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the square root of a positive definite matrix, and that of its inverse."""
    values, vectors = np.linalg.eigh(M)
    roots = np.sqrt(np.maximum(values, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


@functools.cache
def noise_matrix(mechanism: str, n: int, k: int) -> np.ndarray:
    """Return N, of n rows: at step t ``Σ_j N_tj z_j`` of independent normal z is added, for a unit sensitivity.

    ``optimal``: C⁻¹. ``identity``: √k I, independent noise, of sensitivity √k. ``fft``: the differences of
    ``Re F*diag(√v)(z_1 + i z_2)``, v the transform of n ones and n zeros, times the bound √k max_i ‖C[:, pattern i]‖ of
    its sensitivity, ``C = diag(√v) F``.
    """
    if mechanism == "optimal":
        return np.linalg.inv(optimal(n, k))
    if mechanism == "identity":
        return float(k) ** 0.5 * np.eye(n)
    root = np.sqrt(np.fft.fft(np.r_[np.ones(n), np.zeros(n)]).astype(complex))
    F = np.fft.fft(np.eye(2 * n), norm="ortho")
    C = root[:, None] * F[:, :n]
    bound = max(float(np.linalg.norm(C[:, i :: n // k], 2)) for i in range(n // k)) * float(k) ** 0.5
    back = (F.conj() * root[None, :])[:n]
    prefix = bound * np.concatenate([back.real, -back.imag], axis=1)
    return np.diff(prefix, axis=0, prepend=0.0)
