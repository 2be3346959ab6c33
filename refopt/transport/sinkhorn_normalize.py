"""The doubly-stochastic layer: alternate row and column normalisation, with its vjp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refopt.core.arrays import Array, Namespace, check_square, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import Dialect, Source, register

SANTA_CRUZ = Source(
    "santacruz-2017-deeppermnet",
    "R. Santa Cruz, B. Fernando, A. Cherian, S. Gould",
    "DeepPermNet: Visual Permutation Learning",
    arxiv="1704.02729",
)


def half_step(xp: Namespace, Q: Array, axis: int, offset: float) -> tuple[Array, Array]:
    """Return ``(Q + offset) / sum`` along `axis` (-1: rows, -2: columns) and the sums."""
    shifted = Q + offset
    sums = xp.sum(shifted, axis=axis, keepdims=True)
    return shifted / sums, sums


def half_step_vjp(xp: Namespace, out: Array, sums: Array, axis: int, G: Array) -> Array:
    r"""Pull G back: :math:`(G_{pq} - \sum_j R_{pj} G_{pj}) / s_p` along `axis`."""
    return (G - xp.sum(out * G, axis=axis, keepdims=True)) / sums


def sinkhorn_normalize_vjp(
    Q: Any, *, passes: int = 10, offset: float = 0.0
) -> tuple[Array, Callable[[Array], Array]]:
    """Return ``sinkhorn_normalize(Q)`` and the function that pulls a cotangent back to Q.

    The derivative is that of the passes made, not of their limit.

    Examples
    --------
    >>> import numpy as np
    >>> S, pull = sinkhorn_normalize_vjp(np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> pull(np.ones((2, 2))).round(12).tolist()  # all sums are fixed: the derivative of their total is 0
    [[0.0, 0.0], [0.0, 0.0]]
    """
    Q = check_square(Q, "Q")
    check_number(passes, "int [0, inf)", "passes")
    check_number(offset, "[0, inf)", "offset")
    xp = namespace(Q)
    if bool(xp.any(Q < 0)):
        raise ArgumentError(f"Q: wanted entries of at least 0, the smallest is {float(xp.min(Q)):.3g}")
    if offset == 0:
        for axis, name in ((-1, "row"), (-2, "column")):
            if bool(xp.any(xp.sum(Q, axis=axis) == 0)):
                raise ArgumentError(f"Q: has a zero {name}; give a positive offset")
    tape: list[tuple[Array, Array, int]] = []
    S = Q
    for _ in range(passes):
        for axis in (-1, -2):
            S, sums = half_step(xp, S, axis, offset)
            tape.append((S, sums, axis))

    def pull(cotangent: Any) -> Array:
        if tuple(cotangent.shape) != tuple(S.shape):
            raise ShapeError(f"cotangent: wanted shape {tuple(S.shape)}, got {tuple(cotangent.shape)}")
        G = cotangent
        for out, sums, axis in reversed(tape):
            G = half_step_vjp(xp, out, sums, axis, G)
        return G

    return S, pull


@register(
    "sinkhorn-normalize",
    kind="transport",
    source=SANTA_CRUZ,
    where="the Sinkhorn normalization layer",
    dialects={
        "official": Dialect(
            {"passes": 1, "offset": 1e-2},
            "rfsantacruz/deep-perm-net",
            "unverified by a run (CUDA only): one row and one column step, 0.01 added to every entry before"
            " each",
        )
    },
)
def sinkhorn_normalize(Q: Any, *, passes: int = 10, offset: float = 0.0) -> Array:
    r"""Normalise rows, then columns, a number of times: a layer whose output nears double stochasticity.

    :math:`S^0 = Q,\ S^t = \mathcal C(\mathcal R(S^{t-1}))` with
    :math:`\mathcal R(Q)_{ij} = (Q_{ij} + \lambda) / \sum_k (Q_{ik} + \lambda)` and C the same for columns.

    Parameters
    ----------
    Q : array of shape (..., n, n)
        Entries at least 0.
    passes : int
        Row and column steps, t.
    offset : float
        :math:`\lambda \ge 0`, added before every half-step; 0 in the paper's equations. A positive one must
        not be iterated to convergence: its limit is the uniform matrix.

    Returns
    -------
    array of shape (..., n, n)
        Columns sum to 1, rows in the limit (offset 0 and a Q with support). `sinkhorn_normalize_vjp`
        gives the derivative too.

    Raises
    ------
    ArgumentError, ShapeError, DtypeError, NonFiniteError
        A negative entry; a zero row or column without an offset; not square.

    Examples
    --------
    >>> import numpy as np
    >>> sinkhorn_normalize(np.array([[1.0, 2.0], [3.0, 6.0]])).round(6).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    return sinkhorn_normalize_vjp(Q, passes=passes, offset=offset)[0]
