"""An a-posteriori bound of the error of `inverse-eim` and `logdet-eim`."""

from __future__ import annotations

import numpy as np

from refopt.core.arrays import Array, to_numpy
from refopt.core.errors import ArgumentError, ConvergenceError
from refopt.matrix.common import check_choice, check_number
from refopt.matrix.eim import _prepare, assemble, eim_weights, evaluate


def eim_error_bound(
    terms: Array,
    training: Array,
    query: Array,
    *,
    function: str = "inverse",
    identity: Array | None = None,
    c: float = 1.0,
    degree: int = 8,
    rank: int = 40,
    tol: float = 0.0,
) -> np.ndarray:
    """Return an upper bound of the error (spectral norm; absolute value for ``"logdet"``) at each query.

    Write ``I - A / c = sum_i alpha_i E_i`` with ``E_i = identity_i I - A_i / c``. With r the largest error
    of an interpolated monomial at the query, ``e = sum_i ||E_i||``, ``rho`` the norm of ``I - A / c`` at the
    query and rho_m at the nodes, the inverse is off by at most::

        (1/c) (r sum_{k<=K} e^k + rho^(K+1) / (1 - rho) + sum_m |lambda_m| rho_m^(K+1) / (1 - rho_m))

    and log det by n times the same with each power k divided by k (the tails by K + 1), without 1/c.

    Parameters
    ----------
    terms, training, query, degree, rank, tol
        As for `refopt.matrix.eim.inverse_eim`.
    function : {"inverse", "logdet"}
    identity : array of shape (d,), optional
        Numbers with ``sum_i identity_i alpha_i = 1`` at every parameter; (1, 0, …, 0) by default, for a
        first coefficient that is always 1.
    c : float
        Positive.

    Returns
    -------
    NumPy array of shape (...)

    Raises
    ------
    ArgumentError
        `identity` does not give 1 at every training parameter.
    ConvergenceError
        ``||I - A / c||_2 >= 1`` at a query or a node: the Neumann series is not known to converge.
    """
    check_choice(function, "function", ("inverse", "logdet"))
    check_number(c, "c", above=0.0)
    terms, training, query, found = _prepare(terms, training, query, degree, rank, tol)
    host = to_numpy(terms)
    alpha, asked = to_numpy(training).astype(float), to_numpy(query).astype(float)
    d, n = host.shape[0], host.shape[-1]
    shift = np.eye(d)[0] if identity is None else np.asarray(identity, dtype=float)
    if np.abs(alpha @ shift - 1).max() > 1e-6:
        raise ArgumentError("identity: wanted sum_i identity_i alpha_i = 1 at every training parameter")
    eye = np.eye(n)
    e = sum(np.linalg.norm(s * eye - A / c, 2) for s, A in zip(shift, host))
    weights = eim_weights(found, alpha, asked)
    nodes = alpha[found.nodes]
    error = evaluate(asked, found.every) - weights @ evaluate(nodes, found.every)
    r = np.abs(error).max(axis=-1)
    rho = np.linalg.norm(eye - assemble(host, asked) / c, 2, axis=(-2, -1))
    rho_nodes = np.linalg.norm(eye - assemble(host, nodes) / c, 2, axis=(-2, -1))
    if max(rho.max(), rho_nodes.max()) >= 1:
        raise ConvergenceError("c: wanted ||I - A(mu) / c||_2 < 1 at every query and node; choose another c")
    k = np.arange(degree + 1)
    if function == "inverse":
        powers, tail, factor = np.sum(e**k), 1.0, 1 / c
    else:
        powers, tail, factor = np.sum(e ** k[1:] / k[1:]), 1 / (degree + 1), float(n)
        # The constant n ln c is interpolated too.
        r_constant = n * abs(np.log(c)) * np.abs(1 - weights.sum(axis=-1))
    tails = rho ** (degree + 1) / (1 - rho) + np.abs(weights) @ (rho_nodes ** (degree + 1) / (1 - rho_nodes))
    bound = factor * (r * powers + tail * tails)
    return bound + r_constant if function == "logdet" else bound
