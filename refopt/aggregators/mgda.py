"""The multiple-gradient descent algorithm (Désidéri 2012)."""

from __future__ import annotations

import numpy as np

from refopt.aggregators.rows import nearest_in_hull, rows_of, takes_gradients
from refopt.core.arrays import Array
from refopt.core.registry import Source, register

DESIDERI = Source("desideri-2012-multiple", "J.-A. Désidéri",
    "Multiple-Gradient Descent Algorithm (MGDA) for Multiobjective Optimization",
    doi="10.1016/j.crma.2012.03.014")  # fmt: skip


@register("mgda", kind="aggregator", source=DESIDERI, where="the minimum-norm element of the convex hull",
    non_conflicting=True, convex=True)  # fmt: skip
@takes_gradients
def mgda(J: Array) -> Array:
    """Return MGDA's direction: the shortest vector of the convex hull of the gradients.

    ``A(J) = J^T α*``, ``α* = argmin { ||J^T α|| : α >= 0, Σ α_i = 1 }``. ``J_i · d >= ||d||^2`` for every
    objective, and d = 0 exactly at Pareto stationary points.

    Notes
    -----
    The weights are found by active sets, to rounding; Frank-Wolfe steps, as in Sener and Koltun's code, stop at
    about 1e-3.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("mgda")(np.array([[1.0, 0.0], [0.0, 2.0]])))
    [0.8 0.4]
    """
    rows = rows_of(J)
    vectors = rows.vectors
    return rows.combined(nearest_in_hull(vectors, np.zeros(len(vectors))) * rows.lengths)
