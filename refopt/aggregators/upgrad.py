"""Jacobian descent (Quinton and Rey 2024): UPGrad, DualProj and the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.aggregators.rows import Rows, non_negative_least_squares, preference_of, rows_of, takes_gradients
from refopt.core.arrays import Array
from refopt.core.registry import Source, register

QUINTON = Source("quinton-2024-jacobian", "P. Quinton, V. Rey",
    "Jacobian Descent for Multi-Objective Optimization", arxiv="2406.16232")  # fmt: skip
LOPEZ = Source("lopezpaz-2017-gradient", "D. Lopez-Paz, M. Ranzato",
    "Gradient Episodic Memory for Continual Learning", arxiv="1706.08840")  # fmt: skip


def onto_dual_cone(rows: Rows, u: np.ndarray) -> np.ndarray:
    """Return w with ``J^T w = π_J(J^T u)``, the nearest y to ``J^T u`` with ``J y >= 0``; along unit rows.

    By duality ``w = argmin_{w >= u} ||J^T w||``. A row's length changes neither the cone nor the nearest point,
    so u and w count unit rows.
    """
    return u + non_negative_least_squares(rows.units, -(rows.units @ u))


@register("upgrad", kind="aggregator", source=QUINTON, where="equation (4), with Proposition 1",
    non_conflicting=True, linear_under_scaling=True)  # fmt: skip
@takes_gradients
def upgrad(J: Array, *, preference: Any = None) -> Array:
    """Return UPGrad's direction: every gradient projected onto the dual cone of all, then averaged.

    ``A(J) = Σ_i p_i π_J(J_i)``, ``π_J(x) = argmin { ||y - x|| : J y >= 0 }``. It conflicts with no objective,
    and scaling a row by c > 0 scales that row's part by c.

    Notes
    -----
    torchjd adds 1e-4 to the diagonal of the normalised Gramian; here the projections are exact.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("upgrad")(np.array([[1.0, 0.0], [-1.0, 1.0]])))
    [0.25 0.75]
    """
    rows = rows_of(J)
    p = preference_of(preference, rows.m) * rows.lengths
    parts = [onto_dual_cone(rows, part) for part in np.diag(p)]
    return rows.combined(np.sum(parts, axis=0))


@register("dualproj", kind="aggregator", source=LOPEZ, where="equation (11)", also=(QUINTON,),
    non_conflicting=True)  # fmt: skip
@takes_gradients
def dualproj(J: Array, *, preference: Any = None) -> Array:
    """Return DualProj's direction: the mean gradient projected onto the dual cone of all.

    ``A(J) = π_J(J^T p)``, ``π_J(x) = argmin { ||y - x|| : J y >= 0 }``. GEM's is p = e_k, the task being learnt.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("dualproj")(np.array([[2.0, 0.0], [-3.0, 1.0]])).round(12) + 0.0)
    [0.  0.5]
    """
    rows = rows_of(J)
    return rows.combined(onto_dual_cone(rows, preference_of(preference, rows.m) * rows.lengths))


@register("mean", kind="aggregator", source=QUINTON, where="Section 5, the aggregator A_Mean",
    linear_under_scaling=True, convex=True)  # fmt: skip
@takes_gradients
def mean(J: Array, *, preference: Any = None) -> Array:
    """Return the mean of the gradients: the gradient of the mean objective.

    ``A(J) = J^T p``. It may conflict with an objective.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("mean")(np.array([[1.0, 0.0], [-3.0, 1.0]])))
    [-1.   0.5]
    """
    rows = rows_of(J)
    return rows.combined(preference_of(preference, rows.m) * rows.lengths)
