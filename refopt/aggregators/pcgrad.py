"""Gradient surgery, PCGrad (Yu et al. 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.aggregators.rows import rows_of, takes_gradients
from refopt.core.arrays import Array
from refopt.core.errors import ArgumentError
from refopt.core.registry import Source, register
from refopt.core.rng import generator

YU = Source("yu-2020-gradient", "T. Yu, S. Kumar, A. Gupta, S. Levine, K. Hausman, C. Finn",
    "Gradient Surgery for Multi-Task Learning", arxiv="2001.06782")  # fmt: skip


@register("pcgrad", kind="aggregator", source=YU, where="Algorithm 1", ordered=True)
@takes_gradients
def pcgrad(J: Array, *, order: Any = None, rng: np.random.Generator | None = None) -> Array:
    """Return PCGrad's direction: each gradient freed of its conflicts with the others, in random order, and summed.

    For each i, ``v = g_i``; for j ≠ i in a random order, if ``v · g_j < 0``: ``v ← v - (v · g_j / ||g_j||^2) g_j``,
    with the original g_j. The direction is the sum of all v.

    Parameters
    ----------
    order : sequence of m sequences, optional
        For each i the indices j in the order in which they are looked at; i itself is passed over.
    rng : numpy.random.Generator, optional
        Draws the orders that are not given; the same orders at every call where it is left out.

    Raises
    ------
    ArgumentError
        `order` is not one permutation of the objectives for each.
    ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        `J` is not a matrix of finite numbers.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("pcgrad")(np.array([[1.0, 0.0], [-1.0, 1.0]])))
    [0.5 1.5]
    """
    rows = rows_of(J)
    m = rows.m
    if order is None:
        rng = generator(0, "method") if rng is None else rng
        order = [rng.permutation(m) for _ in range(m)]
    elif len(order) != m or any(sorted(set(o) | {i}) != list(range(m)) for i, o in enumerate(order)):
        raise ArgumentError(f"order: wanted {m} orders of the other objectives, got {order!r}")
    total = np.zeros(m)
    for i in range(m):
        along = np.zeros(m)
        along[i] = rows.lengths[i]
        for j in order[i]:
            if j != i:
                along[j] -= min(float(rows.units[:, j] @ (rows.units @ along)), 0.0)
        total += along
    return rows.combined(total)
