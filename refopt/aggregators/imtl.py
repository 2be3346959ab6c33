"""Impartial multi-task learning, the gradient balance IMTL-G (Liu et al. 2021)."""

from __future__ import annotations

import numpy as np

from refopt.aggregators.rows import rows_of, takes_gradients
from refopt.core.arrays import Array
from refopt.core.registry import Source, register

LIU = Source("liu-2021-towards", "L. Liu, Y. Li, Z. Kuang, J.-H. Xue, Y. Chen, W. Yang, Q. Liao, W. Zhang",
    "Towards Impartial Multi-task Learning", url="https://openreview.net/forum?id=IMPnRXEWpvr")  # fmt: skip


@register("imtl-g", kind="aggregator", source=LIU, where="the closed form of IMTL-G")
@takes_gradients
def imtl_g(J: Array) -> Array:
    """Return IMTL-G's direction: it has the same projection on every gradient.

    ``d = J^T α``, ``Σ α_i = 1``, ``g_i · d / ||g_i||`` the same for all i: ``α ∝ (J J^T)^+ r``, ``r_i = ||g_i||``,
    which is the paper's closed form where the gradients are independent. Weights may be negative.

    Returns
    -------
    array of shape (n,)
        To step against; 0 where the weights would add up to 0.

    Notes
    -----
    Singular values of J below 32 m times the machine epsilon of the largest count as 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("imtl-g")(np.array([[1.0, 0.0], [0.0, 3.0]])))
    [0.75 0.75]
    """
    rows = rows_of(J)
    _, sizes, V = np.linalg.svd(rows.vectors, full_matrices=False)
    kept = sizes > rows.tolerance * sizes[0]
    weights = V[kept].T @ ((V[kept] @ rows.lengths) / sizes[kept] ** 2)
    total = float(np.sum(weights))
    if abs(total) <= rows.tolerance * float(np.sum(np.abs(weights))):
        return rows.combined(np.zeros(rows.m))
    return rows.combined(weights / total * rows.lengths)
