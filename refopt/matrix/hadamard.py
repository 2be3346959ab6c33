"""Isotropic standardisation by PCA and a Hadamard rotation (PHI-S), and Hadamard matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refopt.core.arrays import CHECKING, Array, check_array, like, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.registry import Dialect, Source, register
from refopt.core.rng import generator
from refopt.matrix.common import check_choice, check_count, eigh, epsilon

RANZINGER_2024 = Source(
    key="ranzinger-2024-phis",
    authors="M. Ranzinger, J. Barker, G. Heinrich, P. Molchanov, B. Catanzaro, A. Tao",
    title="PHI-S: Distribution Balancing for Label-Free Multi-Teacher Distillation",
    arxiv="2410.01680",
)


def _is_prime(q: int) -> bool:
    return q > 1 and all(q % k for k in range(2, math.isqrt(q) + 1))


def _jacobsthal(q: int) -> np.ndarray:
    """Return ``chi(i - j)`` for a prime q: 1 on squares, -1 on others, 0 at 0."""
    chi = -np.ones(q, dtype=int)
    chi[np.unique(np.arange(1, q) ** 2 % q)] = 1
    chi[0] = 0
    i = np.arange(q)
    return chi[(i[:, None] - i) % q]


def _paley(n: int) -> np.ndarray | None:
    """Return a Hadamard matrix of order n by Paley's first or second construction, or None."""
    q = n - 1
    if q % 4 == 3 and _is_prime(q):
        S = np.zeros((n, n), dtype=int)
        S[0, 1:], S[1:, 0], S[1:, 1:] = 1, -1, _jacobsthal(q)
        return S + np.eye(n, dtype=int)
    q = n // 2 - 1
    if n % 4 == 0 and q % 4 == 1 and _is_prime(q):
        S = np.zeros((q + 1, q + 1), dtype=int)
        S[0, 1:], S[1:, 0], S[1:, 1:] = 1, 1, _jacobsthal(q)
        return np.kron(S, [[1, 1], [1, -1]]) + np.kron(np.eye(q + 1, dtype=int), [[1, -1], [-1, -1]])
    return None


def hadamard_matrix(n: int) -> np.ndarray:
    """Return a Hadamard matrix of order `n`: entries ±1, ``H H^T = n I``.

    Sylvester's doubling of the orders 1 and 2 and of Paley's two constructions over prime fields.

    Parameters
    ----------
    n : int
        1, 2, or a multiple of 4 that ``2^i (q + 1)`` or ``2^(i+1) (q + 1)`` reaches, q a prime; up to 128
        all but 52, 92, 100 and 116.

    Returns
    -------
    NumPy array of shape (n, n), int

    Raises
    ------
    ArgumentError
        No Hadamard matrix of this order exists, or these constructions do not reach it.

    Examples
    --------
    >>> H = hadamard_matrix(12)
    >>> bool((H @ H.T == 12 * np.eye(12)).all())
    True
    """
    check_count(n, "n")
    twos = (n & -n).bit_length() - 1
    if n == 1 << twos:
        return _doubled(np.ones((1, 1), dtype=int), twos)
    for i in reversed(range(twos)):  # the smallest core first, as the authors' code searches
        core = _paley(n >> i)
        if core is not None:
            return _doubled(core, i)
    reason = (
        "no Hadamard matrix of this order exists"
        if n % 4
        else "Sylvester's and the prime Paley constructions do not reach it"
    )
    raise ArgumentError(f"n: {n}: {reason}; wanted 1, 2 or a multiple of 4 that they reach")


def _doubled(H: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        H = np.kron([[1, 1], [1, -1]], H)
    return H


def random_rotation(n: int, seed: int) -> np.ndarray:
    """Return the orthogonal factor of a random matrix of signs: entries only near ±n^{-1/2}."""
    signs = generator(seed, "method").integers(0, 2, size=(n, n)) * 2.0 - 1.0
    Q, R = np.linalg.qr(signs)
    return (Q * np.where(np.diag(R) < 0, -1.0, 1.0)).T


@dataclass(frozen=True)
class Standardization:
    """The affine map ``y = W (x - mean)`` and its inverse ``x = W^{-1} y + mean``.

    Attributes
    ----------
    mean : array of shape (C,)
    matrix, inverse : array of shape (C, C)
        W and its inverse, ``phi`` times an orthogonal matrix.
    phi : array of shape ()
        The one scale.
    """

    mean: Array
    matrix: Array
    inverse: Array
    phi: Array

    def apply(self, X: Array) -> Array:
        """Standardise the rows of X (..., N, C)."""
        return (X - self.mean) @ namespace(X).matrix_transpose(self.matrix)

    def undo(self, Y: Array) -> Array:
        """Return the rows that `apply` maps to Y."""
        return Y @ namespace(Y).matrix_transpose(self.inverse) + self.mean


def fit_hadamard(X: Array, *, fallback: str = "error", seed: int = 0) -> Standardization:
    """Estimate the PHI-S map from the rows of `X`; arguments as for `hadamard_standardize`."""
    X = check_array(X, "X", ndim=2)
    check_choice(fallback, "fallback", ("error", "random"))
    N, C = X.shape
    if N < 2 or C < 1:
        raise ShapeError(f"X: wanted at least 2 rows and 1 column, got shape {tuple(X.shape)}")
    xp = namespace(X)
    mean = xp.mean(X, axis=0)
    centred = X - mean
    covariance = xp.matrix_transpose(centred) @ centred / (N - 1)
    values, U = eigh((covariance + xp.matrix_transpose(covariance)) / 2)
    variance = xp.mean(xp.where(values > 0, values, xp.zeros_like(values)))
    # Rounding of the mean leaves a constant column a variance of eps^2 of its square.
    size = xp.max(xp.abs(X))
    if CHECKING.on and not bool(variance > (4 * epsilon(X) * size) ** 2):
        raise ArgumentError("X: every row is the same (zero variance); wanted rows that differ")
    phi = xp.sqrt(variance)
    try:
        rotation = hadamard_matrix(C) / math.sqrt(C)
    except ArgumentError as error:
        if fallback == "error":
            raise ArgumentError(
                f"X: no Hadamard rotation for {C} columns ({error}); fallback='random' takes a random one,"
                " with which the channels' variances are equal only approximately"
            ) from None
        rotation = random_rotation(C, seed)
    H = like(rotation, X)
    R = H @ xp.matrix_transpose(U)
    return Standardization(mean, R / phi, phi * xp.matrix_transpose(R), phi)


@register(
    "hadamard-standardize",
    kind="matfun",
    source=RANZINGER_2024,
    where="PHI-S: PCA-Hadamard isotropic standardisation",
    dialects={
        "official": Dialect(
            {"fallback": "random"}, "NVlabs/RADIO examples/common/phi_s.py",
            "a random rotation where no Hadamard matrix is found (its random numbers are torch's)",
        )
    },
)  # fmt: skip
def hadamard_standardize(X: Array, *, fallback: str = "error", seed: int = 0) -> Array:
    """Return the rows of `X` standardised so that every channel has variance 1, by one scale and a rotation.

    With mean mu, unbiased covariance ``Sigma = U diag(l) U^T``, ``phi = (mean l)^{1/2}`` and a Hadamard
    matrix H scaled to ``H H^T = I``: ``y = phi^{-1} H U^T (x - mu)``.

    Parameters
    ----------
    X : array of shape (N, C)
        Real; N at least 2.
    fallback : {"error", "random"}
        What to do where no Hadamard matrix of order C is reached: an error, or the orthogonal factor of a
        random sign matrix, with which variances are equal only approximately.
    seed : int
        Of the random rotation.

    Returns
    -------
    array of shape (N, C)

    Raises
    ------
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        No Hadamard matrix of order C; all rows alike; bad arguments.

    See Also
    --------
    fit_hadamard : the map itself, to apply to other rows and to undo.
    hadamard_standardize_jvp, hadamard_standardize_vjp : derivatives with the map held fixed.

    Notes
    -----
    Not whitening: the covariance keeps its eigenvalues' ratios. Works for rank-deficient covariances.
    Eigenvectors are defined up to sign (and rotation at ties), and so is the result.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> X = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 1.0], [10.0, 1.0]])
    >>> Y = refopt.get("hadamard-standardize")(X)
    >>> print(np.var(Y, axis=0, ddof=1).round(6))
    [1. 1.]
    """
    X = check_array(X, "X", ndim=2)
    return fit_hadamard(X, fallback=fallback, seed=seed).apply(X)


def hadamard_standardize_jvp(X: Array, tangent: Array, *, fallback: str = "error", seed: int = 0) -> Array:
    """Return ``tangent W^T``: the derivative with mean and W held fixed, as the authors' code has it."""
    fitted = fit_hadamard(X, fallback=fallback, seed=seed)
    return check_array(tangent, "tangent", shape=tuple(X.shape)) @ namespace(X).matrix_transpose(
        fitted.matrix
    )


def hadamard_standardize_vjp(X: Array, cotangent: Array, *, fallback: str = "error", seed: int = 0) -> Array:
    """Return ``cotangent W``: the reverse derivative with mean and W held fixed."""
    fitted = fit_hadamard(X, fallback=fallback, seed=seed)
    return check_array(cotangent, "cotangent", shape=tuple(X.shape)) @ fitted.matrix
