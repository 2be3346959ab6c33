"""Multi-task learning as a bargaining game (Navon et al. 2022)."""

from __future__ import annotations

import math

import numpy as np

from refopt.aggregators.rows import nearest_in_hull, rows_of, takes_gradients
from refopt.core.arrays import Array
from refopt.core.errors import ConvergenceError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register

NAVON = Source("navon-2022-multi", "A. Navon, A. Shamsian, I. Achituve, H. Maron, K. Kawaguchi, G. Chechik, E. Fetaya",
    "Multi-Task Learning as a Bargaining Game", arxiv="2202.01017")  # fmt: skip


@register("nash-mtl", kind="aggregator", source=NAVON, where="Algorithm 1", non_conflicting=True)
@takes_gradients
def nash_mtl(J: Array, *, max_norm: float | None = None) -> Array:
    """Return Nash-MTL's direction: the bargain that maximises the product of the objectives' gains.

    ``d = J^T α`` with α > 0 and ``J J^T α = 1/α``, elementwise. It does not depend on the scales of the gradients, and
    ``||d||^2 = m``. Where the gradients have 0 in their convex hull there is no bargain, and d = 0, what the players
    have without one.

    Parameters
    ----------
    max_norm : float, optional
        The authors' program shortens d to this length, 1; the paper's Algorithm 1 leaves it as it is.

    Raises
    ------
    ConvergenceError
        0 is so near to the convex hull that Newton's method does not find α.
    ArgumentError, ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        `J` is not a matrix of finite numbers, or `max_norm` is out of range.

    Notes
    -----
    α is the minimiser of ``α^T J J^T α / 2 - Σ log α_i``, found by Newton's method to rounding. The authors' program
    approaches the equation by up to 20 linearised convex programs.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("nash-mtl")(np.array([[3.0, 0.0], [0.0, 0.1]])))
    [1. 1.]
    """
    if max_norm is not None:
        check_number(max_norm, "(0, inf)", "max_norm")
    rows = rows_of(J)
    nearest = rows.units @ nearest_in_hull(rows.units, np.zeros(len(rows.units)))
    if float(np.linalg.norm(nearest)) <= rows.tolerance:
        return rows.combined(np.zeros(rows.m))
    along = _bargain(rows.units.T @ rows.units)
    return rows.combined(along, 1.0 if max_norm is None else min(1.0, max_norm / math.sqrt(rows.m)))


def _bargain(gram: np.ndarray) -> np.ndarray:
    """Return a > 0 with ``gram a = 1/a``, by damped Newton steps on a self-concordant function."""
    a = np.ones(len(gram))
    for _ in range(500):
        slope = gram @ a - 1.0 / a
        # In units of a the Hessian is at least the identity.
        step = np.linalg.solve(a[:, None] * gram * a + np.eye(len(a)), -a * slope)
        decrement = float(np.sqrt(-step @ (a * slope)))
        a = a * (1.0 + step / (1.0 + decrement if decrement > 0.25 else 1.0))
        if decrement < 1e-9:
            return a
    raise ConvergenceError("J: 0 is too near to the convex hull of its rows to find Nash-MTL's weights")
