"""Sliced Wasserstein distances between samples of positive definite matrices (Bonet et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.arrays import check_symmetric, lengths, like, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.matrix.spd import spd_log, spd_log_vjp
from refopt.transport.problem import check_mass, check_totals
from refopt.transport.slices import DiscrepancyResult, unit_vectors, wasserstein_line

BONET = Source(
    "bonet-2023-sliced",
    "C. Bonet, B. Malézieux, A. Rakotomamonjy, L. Drumetz, T. Moreau, M. Kowalski, N. Courty",
    "Sliced-Wasserstein on Symmetric Positive Definite Matrices for M/EEG Signals",
    arxiv="2303.05798",
    venue="ICML 2023",
)


def spectral(rng: np.random.Generator, count: int, d: int) -> np.ndarray:
    """Return directions ``P diag(theta) P^T``: theta uniform on the sphere, P uniform among orthogonal matrices."""
    theta = unit_vectors(rng, count, d)
    # The signs of its columns make Q uniform; they cancel in the product.
    P = np.linalg.qr(rng.standard_normal((count, d, d)))[0]
    return np.einsum("kia,ka,kja->kij", P, theta, P)


def normed(rng: np.random.Generator, count: int, d: int) -> np.ndarray:
    """Return Gaussian matrices of Frobenius norm 1, not symmetric."""
    A = rng.standard_normal((count, d, d))
    return A / lengths(A, axis=(1, 2), keepdims=True)


LAWS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {"spdsw": spectral, "logsw": normed}


@register(
    "spd-sliced-wasserstein",
    kind="transport",
    source=BONET,
    where="Definition of SPDSW; LogSW",
)
def spd_sliced_wasserstein(
    X: Any,
    Y: Any,
    *,
    a: Any = None,
    b: Any = None,
    p: float = 2.0,
    law: str = "spdsw",
    slices: int = 200,
    seed: int = 0,
) -> DiscrepancyResult:
    r"""Sliced Wasserstein distance between weighted samples of symmetric positive definite matrices.

    .. math:: \mathrm{SPDSW}_p^p = \frac1L \sum_{\ell=1}^L W_p^p\big(\langle A_\ell, \log X_i\rangle, \langle A_\ell, \log Y_j\rangle\big),
              \qquad A = P \operatorname{diag}(\theta) P^T,

    :math:`\theta` uniform on the sphere, P uniform among the orthogonal matrices: the coordinates are those along
    log-Euclidean geodesics through the identity.

    Parameters
    ----------
    X : array of shape (n, d, d)
    Y : array of shape (m, d, d)
        Symmetric positive definite.
    a, b : array of shape (n,) and (m,), optional
        Masses of equal total; uniform if left out.
    p : float
        Exponent, at least 1.
    law : {"spdsw", "logsw"}
        Of the directions. "logsw": Gaussian matrices of Frobenius norm 1, the Euclidean sliced distance of the logarithms.
    slices : int
        L, the number of directions.
    seed : int
        Of the directions.

    Returns
    -------
    DiscrepancyResult
        With ``value``, the p-th power, and its gradients in both samples (symmetric matrices).

    Raises
    ------
    ConvergenceError
        A matrix that is not positive definite.
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        Wrong shapes or dtypes, a matrix that is not symmetric, unequal masses, p, law or slices out of range.

    Notes
    -----
    One eigendecomposition a matrix, and for each slice two sorts. :math:`\mathrm{SPDSW}_2^2 \le \frac1d W_2^2` of the
    log-Euclidean distance. The distance of X to Y is that of their inverses.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[[1.0]], [[np.e]]])
    >>> r = spd_sliced_wasserstein(X, np.e * X, slices=3)  # in one dimension every direction is the logarithm
    >>> round(float(r.value), 12)
    1.0
    """
    X, Y = (check_symmetric(v, name) for v, name in ((X, "X"), (Y, "Y")))
    if X.ndim != 3 or Y.ndim != 3 or X.shape[1] != Y.shape[1] or 0 in (X.shape[0], Y.shape[0]):
        raise ShapeError(
            f"X, Y: wanted shapes (n, d, d) and (m, d, d), got {tuple(X.shape)} and {tuple(Y.shape)}"
        )
    xp = namespace(X)
    if namespace(Y) is not xp:
        raise ArgumentTypeError(f"X, Y: wanted arrays of one library, got {type(X)} and {type(Y)}")
    if X.dtype != Y.dtype:
        raise DtypeError(f"X, Y: wanted one dtype, got {X.dtype} and {Y.dtype}")
    a, b = check_mass(a, "a", X, X.shape[0]), check_mass(b, "b", X, Y.shape[0])
    check_totals(a, b)
    check_number(p, "[1, inf)", "p")
    check_number(slices, "int [1, inf)", "slices")
    if law not in LAWS:
        raise ArgumentError(f"law: wanted one of {', '.join(LAWS)}, got {law!r}")
    logs = spd_log(X), spd_log(Y)
    A = like(LAWS[law](generator(seed, "method"), slices, X.shape[1]), X)
    value, pulls = xp.zeros_like(X[0, 0, 0]), [xp.zeros_like(X), xp.zeros_like(Y)]
    for k in range(slices):
        direction = A[k, ...]
        s, t = (xp.sum(direction * log, axis=(1, 2)) for log in logs)
        part, *slopes = wasserstein_line(xp, s, t, a, b, float(p))
        value = value + part / slices
        pulls = [pull + slope[:, None, None] * direction / slices for pull, slope in zip(pulls, slopes)]
    # The logarithm moves within the symmetric matrices.
    pulls = [(pull + xp.matrix_transpose(pull)) / 2 for pull in pulls]
    return DiscrepancyResult(value, spd_log_vjp(X, pulls[0]), spd_log_vjp(Y, pulls[1]))
