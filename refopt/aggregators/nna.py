"""Nearest-neighbour averaging, against faulty nodes (Farhadkhani et al. 2023)."""

from __future__ import annotations

import numpy as np

from refopt.aggregators.rows import sent_by_workers, takes_gradients
from refopt.core.arrays import Array, check_array, like, namespace, norm
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register

FARHADKHANI = Source("farhadkhani-2023-robust",
    "S. Farhadkhani, R. Guerraoui, N. Gupta, L.-N. Hoang, R. Pinot, J. Stephan",
    "Robust Collaborative Learning with Linear Gradient Overhead", arxiv="2209.10931")  # fmt: skip


@register("nna", kind="aggregator", source=FARHADKHANI, where="Algorithm 1 (MoNNA), nearest neighbour averaging",
    convex=True, ordered=True)  # fmt: skip
@sent_by_workers
@takes_gradients
def nna(J: Array, *, faulty: int | None = None, own: int = 0) -> Array:
    """Return the mean of the rows nearest to one's own: all but the f farthest.

    Of the m vectors that a node holds, its own among them, the ``m - f`` nearest to its own are averaged. In MoNNA the
    vectors are the nodes' models after a step of ``m_i ← β m_i + (1 - β) g_i``, ``θ_i ← θ_i - γ m_i``, and
    ``m = n - f`` of n nodes are waited for, so that n - 2f are averaged.

    Parameters
    ----------
    faulty : int, optional
        f, at least 0 and less than m/2; by default the largest such.
    own : int
        The row of the node itself.

    Raises
    ------
    ArgumentError, ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        `J` is no matrix of finite numbers, or `faulty` or `own` is out of range.

    Notes
    -----
    Equally far rows are taken in their order. The first row being one's own, the order of rows means something. The wrapper
    jacobian-descent counts what the other m - 1 nodes send, in ``calls["bytes_sent"]``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.get("nna")(np.array([[1.0, 0.0], [3.0, 0.0], [1e6, -1e6]]), faulty=1))
    [2. 0.]
    """
    J = check_array(J, "J", ndim=2)
    if 0 in J.shape:
        raise ShapeError(f"J: wanted a matrix (m, n) of m vectors, got shape {tuple(J.shape)}")
    m = J.shape[0]
    check_number(own, "int [0, inf)", "own")
    if own >= m:
        raise ArgumentError(f"own: wanted a row of J, below {m}, got {own}")
    f = (m - 1) // 2 if faulty is None else faulty
    check_number(f, "int [0, inf)", "faulty")
    if 2 * f >= m:
        raise ArgumentError(f"faulty: wanted less than half of the {m} rows, got {faulty}")
    # Halves first: the difference of two large numbers may leave the dtype's range.
    distances = [norm(J[i, :] / 2.0 - J[own, :] / 2.0) for i in range(m)]
    nearest = np.sort(np.argsort(distances, kind="stable")[: m - f])
    xp = namespace(J)
    rows = xp.take(J, like(nearest, J, dtype=xp.int64), axis=0)
    return xp.sum(rows / float(m - f), axis=0)
