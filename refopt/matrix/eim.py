"""Inverses and log-determinants of affine matrix families by empirical interpolation of their powers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from refopt.core.arrays import Array, check_array, check_square, like, namespace, to_numpy
from refopt.core.errors import ArgumentError, ConvergenceError, DtypeError, ShapeError
from refopt.core.registry import Source, register
from refopt.matrix.common import check_count, check_number, epsilon

CASENAVE_2017 = Source(
    key="casenave-2017-nonintrusive",
    authors="F. Casenave, N. Akkari, A. Charles, C. Rey",
    title="Nonintrusive approximation of parametrized limits of matrix power algorithms - application to"
    " matrix inverses and log-determinants",
    arxiv="1710.02488",
)


@dataclass(frozen=True)
class Interpolation:
    """What the greedy chose: nodes (rows of the training set), monomials, and the residual left over.

    Attributes
    ----------
    nodes : array of int, shape (M,)
    exponents : array of int, shape (M, d)
        The monomials at which the weights interpolate.
    every : array of int, shape (P, d)
        All monomials of degree at most K.
    residuals : array of shape (M + 1,)
        The largest entry of the residual table before each choice, and after the last.
    """

    nodes: np.ndarray
    exponents: np.ndarray
    every: np.ndarray
    residuals: np.ndarray


def monomials(d: int, degree: int) -> np.ndarray:
    """Return all exponents p with ``|p| <= degree``, by degree, shape (P, d)."""
    rows = [
        [combination.count(i) for i in range(d)]
        for k in range(degree + 1)
        for combination in itertools.combinations_with_replacement(range(d), k)
    ]
    return np.array(rows, dtype=int).reshape(-1, d)


def evaluate(alpha: Array, exponents: np.ndarray) -> Array:
    """Return ``g(mu, p) = prod_i alpha_i(mu)^p_i``, shape (..., P)."""
    xp = namespace(alpha)
    columns = []
    for p in exponents:
        value = xp.ones_like(alpha[..., 0])
        for i, power in enumerate(p):
            for _ in range(int(power)):
                value = value * alpha[..., i]
        columns.append(value)
    return xp.stack(columns, axis=-1)


def greedy(training: np.ndarray, degree: int, rank: int, tol: float) -> Interpolation:
    """Run the empirical interpolation method on the table g(mu, p) of a training set (T, d).

    At each step the largest entry of the residual names the next node and monomial; ties go to the first
    node, then the first monomial.
    """
    every = monomials(training.shape[1], degree)
    residual = evaluate(training, every)
    floor = 64 * np.finfo(float).eps * np.abs(residual).max()
    nodes, chosen, sizes = [], [], []
    for _ in range(min(rank, *residual.shape)):
        t, p = np.unravel_index(np.argmax(np.abs(residual)), residual.shape)
        size = float(np.abs(residual[t, p]))
        sizes.append(size)
        if size <= max(tol, floor):
            break
        nodes.append(int(t))
        chosen.append(int(p))
        residual = residual - np.outer(residual[:, p] / residual[t, p], residual[t])
    else:
        sizes.append(float(np.abs(residual).max()))
    return Interpolation(np.array(nodes), every[chosen], every, np.array(sizes))


def _prepare(
    terms: Array, training: Array, query: Array, degree: int, rank: int, tol: float
) -> tuple[Array, Array, Array, Interpolation]:
    terms = check_square(terms, "terms", complex_ok=True)
    if terms.ndim != 3:
        raise ShapeError(f"terms: wanted shape (d, n, n), got {tuple(terms.shape)}")
    d = terms.shape[0]
    training = check_array(training, "training", ndim=2)
    query = check_array(query, "query", min_ndim=1)
    for name, value in (("training", training), ("query", query)):
        if value.shape[-1] != d:
            raise ShapeError(f"{name}: wanted {d} coefficients, one a term, got shape {tuple(value.shape)}")
    if query.dtype != training.dtype:
        raise DtypeError(f"query: wanted dtype {training.dtype}, as training, got {query.dtype}")
    if training.shape[0] == 0:
        raise ShapeError("training: wanted at least one point, got none")
    check_count(degree, "degree")
    check_count(rank, "rank")
    check_number(tol, "tol", least=0.0)
    host, asked = to_numpy(training), to_numpy(query).reshape(-1, d)
    low, high = host.min(axis=0), host.max(axis=0)
    slack = 8 * epsilon(query) * np.maximum(np.abs(low), np.abs(high))
    if np.any(asked < low - slack) or np.any(asked > high + slack):
        raise ArgumentError(
            "query: wanted coefficients inside the range of the training set in every component; outside, the"
            " interpolation does not converge"
        )
    found = greedy(host.astype(float), degree, rank, tol)
    if not len(found.nodes):
        raise ArgumentError(
            f"tol: is {tol!r}, above the whole table's largest entry {found.residuals[0]:.3g}"
        )
    return terms, training, query, found


def _node_values(found: Interpolation, training: Array) -> tuple[Array, Array]:
    """Return the nodes' coefficients (M, d) and the matrix g(mu_m, p_l), monomials in rows."""
    xp = namespace(training)
    alpha = xp.take(training, like(found.nodes, training, dtype=xp.int64), axis=0)
    return alpha, xp.matrix_transpose(evaluate(alpha, found.exponents))


def eim_weights(found: Interpolation, training: Array, query: Array) -> Array:
    """Return ``lambda_m(mu)``, shape (..., M): ``sum_m lambda_m g(mu_m, p_l) = g(mu, p_l)`` for all l."""
    xp = namespace(training)
    _, G = _node_values(found, training)
    return xp.linalg.solve(G, evaluate(query, found.exponents)[..., None])[..., 0]


def eim_weight_derivatives(found: Interpolation, training: Array, query: Array) -> Array:
    """Return ``d lambda_m / d alpha_i``, shape (..., M, d)."""
    xp = namespace(training)
    _, G = _node_values(found, training)
    columns = []
    for i in range(query.shape[-1]):
        lowered = found.exponents.copy()
        lowered[:, i] = np.maximum(lowered[:, i] - 1, 0)
        columns.append(evaluate(query, lowered) * like(found.exponents[:, i], query))
    return xp.linalg.solve(G, xp.stack(columns, axis=-1))


def assemble(terms: Array, alpha: Array) -> Array:
    """Return ``A(mu) = sum_i alpha_i A_i`` for every row of alpha (..., d)."""
    xp = namespace(terms)
    d, n = terms.shape[0], terms.shape[-1]
    flat = xp.astype(alpha, terms.dtype) @ xp.reshape(terms, (d, n * n))
    return xp.reshape(flat, (*alpha.shape[:-1], n, n))


def _inverses(terms: Array, training: Array, found: Interpolation) -> Array:
    xp = namespace(terms)
    A = assemble(terms, _node_values(found, training)[0])
    singular = xp.linalg.svdvals(A)
    if bool(xp.any(singular[..., -1] <= A.shape[-1] * epsilon(A) * singular[..., 0])):
        raise ConvergenceError(
            "training: A(mu) is singular at a chosen node; wanted a family with rho(I - A(mu) / c) < 1 for"
            " one c"
        )
    return xp.linalg.inv(A)


def _logdets(terms: Array, training: Array, found: Interpolation) -> Array:
    xp = namespace(terms)
    sign, logdet = xp.linalg.slogdet(assemble(terms, _node_values(found, training)[0]))
    if bool(xp.any(xp.abs(sign - 1) > 0.5)):
        raise ConvergenceError(
            "training: det A(mu) is not positive at a chosen node; wanted a family with"
            " rho(I - A(mu) / c) < 1 for one c > 0"
        )
    return logdet


def _combine(weights: Array, matrices: Array) -> Array:
    """Return ``sum_m weights[..., m] matrices[m]``."""
    xp = namespace(matrices)
    M, n = matrices.shape[0], matrices.shape[-1]
    flat = xp.astype(weights, matrices.dtype) @ xp.reshape(matrices, (M, n * n))
    return xp.reshape(flat, (*weights.shape[:-1], n, n))


@register(
    "inverse-eim",
    kind="matfun",
    source=CASENAVE_2017,
    where="the abstract's approximation of inverses; the paper's text was not at hand",
)  # fmt: skip
def inverse_eim(
    terms: Array, training: Array, query: Array, *, degree: int = 8, rank: int = 40, tol: float = 0.0
) -> Array:
    """Return approximate inverses of ``A(mu) = sum_i alpha_i(mu) A_i`` from inverses at few parameters.

    Powers of A up to K combine fixed matrices with the monomials ``g(mu, p) = prod_i alpha_i^p_i``,
    ``|p| <= K``. Empirical interpolation of g over the training set chooses nodes mu_m and monomials p_l; the
    weights solve ``sum_m lambda_m(mu) g(mu_m, p_l) = g(mu, p_l)``. They carry over to the limit of the
    Neumann series: ``A(mu)^{-1} ~ sum_m lambda_m(mu) A(mu_m)^{-1}``.

    Parameters
    ----------
    terms : array of shape (d, n, n)
        A_i.
    training : array of shape (T, d)
        ``alpha(mu)`` at the training parameters.
    query : array of shape (..., d)
        ``alpha(mu)`` where the inverse is wanted, within the training set's range.
    degree : int
        K, at least 1. Larger at equal `rank` is not better.
    rank : int
        Largest number of nodes M.
    tol : float
        The greedy stops once the residual is at most this.

    Returns
    -------
    array of shape (..., n, n)

    Raises
    ------
    ConvergenceError
        A(mu) is singular at a node.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments; a query outside the training set's range.

    See Also
    --------
    inverse_eim_jvp, inverse_eim_vjp : derivatives in the query.
    eim_error_bound : an upper bound of the error at each query.

    Notes
    -----
    Converges as degree and rank grow where ``rho(I - A(mu) / c) < 1`` on the parameter set for one c. Our
    reconstruction from the paper's abstract: the set of monomials, the maximum norm of the greedy, its ties
    (first node, then first monomial) and the bound are choices of this implementation.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> terms = np.stack([np.eye(2), np.diag([0.3, -0.2])])
    >>> t = np.linspace(-1, 1, 21)
    >>> training = np.stack([np.ones(21), t], axis=1)
    >>> X = refopt.get("inverse-eim")(terms, training, np.array([1.0, 0.35]), degree=8, rank=9)
    >>> print(np.round(X, 4))
    [[0.905  0.    ]
     [0.     1.0753]]
    """
    terms, training, query, found = _prepare(terms, training, query, degree, rank, tol)
    return _combine(eim_weights(found, training, query), _inverses(terms, training, found))


def inverse_eim_jvp(
    terms: Array, training: Array, query: Array, tangent: Array, *, degree: int = 8, rank: int = 40,
    tol: float = 0.0,
) -> Array:  # fmt: skip
    """Return the derivative along `tangent` (..., d) of the query: the weights' times the nodes' inverses."""
    terms, training, query, found = _prepare(terms, training, query, degree, rank, tol)
    slope = (eim_weight_derivatives(found, training, query) @ tangent[..., None])[..., 0]
    return _combine(slope, _inverses(terms, training, found))


def inverse_eim_vjp(
    terms: Array, training: Array, query: Array, cotangent: Array, *, degree: int = 8, rank: int = 40,
    tol: float = 0.0,
) -> Array:  # fmt: skip
    """Return the reverse derivative in the query, shape (..., d), for a cotangent (..., n, n)."""
    terms, training, query, found = _prepare(terms, training, query, degree, rank, tol)
    xp = namespace(terms)
    product = xp.conj(_inverses(terms, training, found)) * cotangent[..., None, :, :]
    along = xp.sum(product, axis=(-2, -1))
    along = xp.real(along) if xp.isdtype(along.dtype, "complex floating") else along
    slopes = eim_weight_derivatives(found, training, query)
    return xp.sum(slopes * along[..., None], axis=-2)


@register(
    "logdet-eim",
    kind="matfun",
    source=CASENAVE_2017,
    where="the abstract's approximation of log-determinants; the paper's text was not at hand",
)  # fmt: skip
def logdet_eim(
    terms: Array, training: Array, query: Array, *, degree: int = 8, rank: int = 40, tol: float = 0.0
) -> Array:
    """Return approximate ``log det A(mu)`` of an affine family from log-determinants at few parameters.

    ``log det A(mu) ~ sum_m lambda_m(mu) log det A(mu_m)`` with the weights of `inverse_eim`, by
    ``log det A = n ln c - sum_k tr((I - A / c)^k) / k``.

    Parameters
    ----------
    terms : array of shape (d, n, n)
        A_i.
    training : array of shape (T, d)
        ``alpha(mu)`` at the training parameters.
    query : array of shape (..., d)
        ``alpha(mu)`` where it is wanted, within the training set's range.
    degree : int
        K, at least 1.
    rank : int
        Largest number of nodes M.
    tol : float
        The greedy stops once the residual is at most this.

    Returns
    -------
    array of shape (...)

    Raises
    ------
    ConvergenceError
        det A(mu) is not positive at a node.
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        Bad arguments; a query outside the training set's range.

    See Also
    --------
    logdet_eim_jvp, logdet_eim_vjp : derivatives in the query.
    eim_error_bound : an upper bound of the error at each query.

    Notes
    -----
    Converges as `inverse_eim` does, of which its notes hold too.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> terms = np.stack([np.eye(2), np.diag([0.3, -0.2])])
    >>> t = np.linspace(-1, 1, 21)
    >>> training = np.stack([np.ones(21), t], axis=1)
    >>> value = refopt.get("logdet-eim")(terms, training, np.array([1.0, 0.5]), degree=8, rank=9)
    >>> print(round(float(value), 4), round(float(np.log(1.15 * 0.9)), 4))
    0.0344 0.0344
    """
    terms, training, query, found = _prepare(terms, training, query, degree, rank, tol)
    return eim_weights(found, training, query) @ _logdets(terms, training, found)


def logdet_eim_jvp(
    terms: Array, training: Array, query: Array, tangent: Array, *, degree: int = 8, rank: int = 40,
    tol: float = 0.0,
) -> Array:  # fmt: skip
    """Return the derivative along `tangent` (..., d) of the query, shape (...)."""
    gradient = logdet_eim_vjp(terms, training, query, degree=degree, rank=rank, tol=tol)
    return namespace(gradient).sum(gradient * tangent, axis=-1)


def logdet_eim_vjp(
    terms: Array, training: Array, query: Array, cotangent: Array = 1.0, *, degree: int = 8, rank: int = 40,
    tol: float = 0.0,
) -> Array:  # fmt: skip
    """Return `cotangent` (shape (...)) times the gradient in the query, shape (..., d)."""
    terms, training, query, found = _prepare(terms, training, query, degree, rank, tol)
    xp = namespace(training)
    slopes = eim_weight_derivatives(found, training, query)
    weight = cotangent[..., None] if hasattr(cotangent, "ndim") else cotangent
    return weight * (xp.matrix_transpose(slopes) @ _logdets(terms, training, found))
