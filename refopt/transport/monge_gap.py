"""The Monge gap: how far a map is from an optimal one between its inputs and its outputs (Uscidda and Cuturi 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.errors import ArgumentTypeError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register
from refopt.core.result import TransportResult
from refopt.transport.exact_ot import exact_ot
from refopt.transport.problem import PointCloud
from refopt.transport.sinkhorn_divergence import pull_back
from refopt.transport.sinkhorn_log import sinkhorn_log

USCIDDA = Source(
    "uscidda-2023-monge",
    "T. Uscidda, M. Cuturi",
    "The Monge Gap: A Regularizer to Learn All Transport Maps",
    arxiv="2302.04953",
    venue="ICML 2023",
)


@dataclass(frozen=True)
class MongeGapResult(TransportResult):
    """A `TransportResult` of the inputs to the outputs with the gap as its value.

    Attributes
    ----------
    value : array of shape ()
        The gap.
    gradient : array of shape (n, d)
        Its derivative in the outputs.
    """

    gradient: Array = None


@register(
    "monge-gap",
    kind="transport",
    source=USCIDDA,
    where="Definition 1 and its entropic estimate",
    dialects={
        "ott": Dialect(
            {"reg": 0.05, "relative": True}, "ott-jax 0.6 monge_gap_from_samples", "its default reg, by the batch"
        )
    },
)  # fmt: skip
def monge_gap(
    x: Any,
    y: Any,
    reg: float,
    *,
    relative: bool = False,
    cost: str | tuple[Callable[..., Array], Callable[..., Array]] = "sqeuclidean",
    tol: float | None = None,
    maxiter: int = 10_000,
) -> MongeGapResult:
    r"""Monge gap of a map T from samples :math:`x_i` and their images :math:`y_i = T(x_i)`, with its gradient.

    .. math:: M_\varepsilon = \frac1n\sum_i c(x_i, y_i) - \min_P \Big\{\langle P, C\rangle + \varepsilon\sum P\log P\Big\},
              \qquad C_{ij} = c(x_i, y_j),

    over the plans with uniform marginals 1 / n.

    Parameters
    ----------
    x : array of shape (n, d)
        Inputs.
    y : array of shape (n, d)
        Outputs, in the same order.
    reg : float
        :math:`\varepsilon \ge 0` in units of the cost. 0 is the gap of the definition, by an assignment (SciPy's, on the host).
    relative : bool
        `reg` is in units of the costs' standard deviation over the batch, through which nothing is differentiated.
    cost : {"sqeuclidean", "euclidean"} or pair of callables
        :math:`\|x - y\|^2`, or its root; or any cost by a pair ``c(x, y) -> (n, m)`` and ``pull(x, y, w) -> (m, d)`` with
        :math:`\sum_i w_{ij}\, \partial c(x_i, y_j) / \partial y_j`.
    tol : float, optional
        As in `refopt.transport.sinkhorn.sinkhorn`.
    maxiter : int
        Largest number of its passes.

    Returns
    -------
    MongeGapResult
        The transport from x to y, with the gap as ``value`` and its ``gradient`` in y.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        As `refopt.transport.sinkhorn.sinkhorn`; also x and y of different lengths.

    Notes
    -----
    The gradient is that of the costs at the optimal plan P (Danskin): of the squared distance
    :math:`2 (\sum_i P_{ij} x_i - x_j / n)`. At reg = 0 the gap is 0 exactly for optimal maps; at reg > 0 it is at least
    reg log n, the gap of a map whose inputs are far apart. The minimum is taken from the dual, whose error is second order
    in the plan's.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [3.0]])
    >>> [round(float(monge_gap(x, y, 0.0).value), 6) for y in (x + 5, -x)]  # a shift is optimal, a reflection is not
    [0.0, 6.0]
    """
    check_number(reg, "[0, inf)", "reg")
    if not isinstance(cost, str) and not (
        isinstance(cost, tuple) and len(cost) == 2 and all(map(callable, cost))
    ):
        raise ArgumentTypeError(f"cost: wanted a name or a pair (c, pull) of functions, got {cost!r}")
    cloud = PointCloud(x, y, cost if isinstance(cost, str) else cost[0])
    n = cloud.shape[0]
    if cloud.shape[1] != n:
        raise ShapeError(f"x, y: wanted as many outputs as inputs, got {cloud.shape[1]} and {n}")
    C = cloud.rows(0, n)
    xp = namespace(C)
    mean = xp.mean(xp.linalg.diagonal(C))
    if relative:
        reg = float(reg) * float(xp.std(C))
    if reg > 0:
        found = sinkhorn_log(None, None, C, reg, tol=tol, maxiter=maxiter)
        least = found.dual_value
    else:
        found = exact_ot(None, None, C)
        least = found.value
    weights = eye_like(C) / n - found.plan
    if isinstance(cost, str):
        gradient = pull_back(xp, xp.matrix_transpose(weights), cloud.y, cloud.x, xp.matrix_transpose(C), cost)
    else:
        gradient = cost[1](cloud.x, cloud.y, weights)
    return MongeGapResult(
        found.plan, found.cost, found.potentials, found.marginal_error, found.iterations, found.status, found.message,
        mean - least, gradient=gradient,
    )  # fmt: skip
