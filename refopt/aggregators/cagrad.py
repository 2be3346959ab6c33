"""Conflict-averse gradient descent (Liu et al. 2021)."""

from __future__ import annotations

import numpy as np

from refopt.aggregators.rows import nearest_in_hull, rows_of, takes_gradients
from refopt.core.arrays import Array
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register

LIU = Source("liu-2021-conflict", "B. Liu, X. Liu, X. Jin, P. Stone, Q. Liu",
    "Conflict-Averse Gradient Descent for Multi-task Learning", arxiv="2110.14048")  # fmt: skip


@register("cagrad", kind="aggregator", source=LIU, where="Algorithm 1")
@takes_gradients
def cagrad(J: Array, *, c: float = 0.5) -> Array:
    """Return CAGrad's direction: the best for the worst objective, in a ball around the mean gradient.

    ``d = argmax { min_i g_i · d : ||d - g_0|| <= c ||g_0|| }``, g_0 the mean. By duality
    ``w* = argmin_w g_w · g_0 + c ||g_0|| ||g_w||`` over convex weights, ``g_w = J^T w``, and
    ``d = g_0 + c ||g_0|| g_w* / ||g_w*||``.

    Parameters
    ----------
    c : float
        The radius of the ball over ``||g_0||``, at least 0; 0 is the mean, large c has MGDA's direction.

    Raises
    ------
    ArgumentError, ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        `J` is not a matrix of finite numbers, or `c` is out of range.

    Notes
    -----
    The authors' programs divide by 1 + c² or 1 + c. Where ``g_w* = 0`` any d of the ball's sphere is as good to the
    dual, and g_0 is returned.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("cagrad")(np.array([[2.0, 0.0], [0.0, 2.0]]), c=0.5))
    [1.5 1.5]
    """
    check_number(c, "[0, inf)", "c")
    rows = rows_of(J)
    vectors, average = rows.vectors, rows.lengths / rows.m
    g0 = rows.units @ average
    radius = c * float(np.linalg.norm(g0))
    if radius <= rows.tolerance * c:
        return rows.combined(average)
    w = _worst(vectors, g0, radius)
    length = float(np.linalg.norm(vectors @ w))
    if length <= rows.tolerance:
        return rows.combined(average)
    return rows.combined(average + radius / length * w * rows.lengths)


def _worst(vectors: np.ndarray, g0: np.ndarray, radius: float) -> np.ndarray:
    """Return ``argmin_w g_w · g0 + radius ||g_w||`` over convex weights.

    ``||g|| = min_τ (||g||^2 / (radius τ) + radius τ) / 2``: at a given τ the best g_w is the point of the hull nearest
    to ``-τ g0``, and the best τ is ``||g_w|| / radius``. The minimum over w is convex in τ, so one root is sought.
    """
    from scipy.optimize import brentq

    def gap(tau: float) -> float:
        g = vectors @ nearest_in_hull(vectors, -tau * g0)
        return float(np.linalg.norm(g)) - radius * tau

    # The nearest point is no longer than ||g0|| τ plus the shortest of the hull.
    high = 1.01 * float(np.max(np.linalg.norm(vectors, axis=0))) / radius
    low = 1e-18 * high
    tau = low if gap(low) <= 0.0 else brentq(gap, low, high, xtol=1e-18 * high, rtol=1e-15, maxiter=500)
    return nearest_in_hull(vectors, -tau * g0)
