"""The energy distance of two samples and its gradient, by slices that are sorted (Hertrich et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.arrays import Array, Namespace, lengths, namespace
from refopt.core.cost import Cost
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register
from refopt.transport.problem import check_points
from refopt.transport.slices import DiscrepancyResult, directions, number_below

HERTRICH = Source(
    "hertrich-2024-generative",
    "J. Hertrich, C. Wald, F. Altekrüger, P. Hagemann",
    "Generative Sliced MMD Flows with Riesz Kernels",
    arxiv="2305.11463",
    venue="ICLR 2024",
)


def slicing_constant(d: int, r: float) -> float:
    r"""Return c with :math:`\|x\|^r = c\, E|\langle\xi, x\rangle|^r` for :math:`\xi` uniform on the sphere in d dimensions.

    Examples
    --------
    >>> [round(slicing_constant(d, 1.0), 4) for d in (1, 2, 3, 784)]
    [1.0, 1.5708, 2.0, 35.0816]
    """
    from scipy.special import poch  # the ratio of the two gamma functions that grow with d

    return math.sqrt(math.pi) * float(poch(d / 2, r / 2)) / math.gamma((r + 1) / 2)


def sorted_line(xp: Namespace, s: Array, t: Array) -> tuple[Array, Array, Array]:
    r"""Return the energy distance of two samples on a line and its derivatives, by sorting.

    With distribution functions F and G it is :math:`\int (F - G)^2`; a point's derivative counts the points below it.
    """
    n, m = s.shape[0], t.shape[0]
    own, other = xp.sort(s), xp.sort(t)
    both = xp.sort(xp.concat([s, t]))
    below = [xp.astype(xp.searchsorted(v, both, side="right"), s.dtype) for v in (own, other)]
    height = below[0] / n - below[1] / m
    value = xp.sum(height[:-1] ** 2 * (both[1:] - both[:-1]))
    # In whole numbers, so that nothing is rounded before the division.
    of_s = n * number_below(xp, other, s) - m * number_below(xp, own, s)
    of_t = m * number_below(xp, own, t) - n * number_below(xp, other, t)
    return value, xp.astype(of_s, s.dtype) / (n * n * m), xp.astype(of_t, t.dtype) / (n * m * m)


def all_pairs(xp: Namespace, x: Array, y: Array, r: float) -> tuple[Array, Array, Array]:
    r"""Return the discrepancy for the kernel :math:`-\|x - y\|^r` and its derivatives, from all pairs of points."""

    def pair(p: Array, q: Array) -> tuple[Array, Array]:
        """Return the mean of the distances' powers, and the mean over q of each point's derivative."""
        difference = p[:, None, :] - q[None, :, :]
        distance = lengths(difference, axis=-1)
        # A point has no force on one at the same place: there the difference is 0.
        safe = xp.where(distance > 0.0, distance, xp.ones_like(distance))
        slope = r * safe ** (r - 1.0) / safe
        return xp.mean(distance**r), xp.mean(slope[..., None] * difference, axis=1)

    (between, on_x), (_, on_y), (inner_x, self_x), (inner_y, self_y) = (
        pair(p, q) for p, q in ((x, y), (y, x), (x, x), (y, y))
    )
    value = between - (inner_x + inner_y) / 2.0
    return value, (on_x - self_x) / x.shape[0], (on_y - self_y) / y.shape[0]


def _eight_slices(n: int) -> Callable[[], DiscrepancyResult]:
    x, y = np.random.default_rng(0).standard_normal((2, n, 3))
    return lambda: sliced_mmd(x, y, slices=8)


@register(
    "sliced-mmd",
    kind="transport",
    source=HERTRICH,
    where="the sliced MMD with the Riesz kernel, and the sorting algorithm for r = 1",
    costs=(
        Cost("n", 1.0, "abstract: O((M + N) log(M + N)) a slice", _eight_slices, (20_000, 40_000, 80_000, 160_000)),
    ),
)  # fmt: skip
def sliced_mmd(
    x: Any, y: Any, *, r: float = 1.0, slices: int | None = 1000, seed: int = 0
) -> DiscrepancyResult:
    r"""Squared maximum mean discrepancy of two samples with the kernel :math:`-\|x - y\|^r`, by slices.

    .. math:: D^2 = \frac1{NM}\sum_{ij}\|x_i - y_j\|^r - \frac1{2N^2}\sum_{ij}\|x_i - x_j\|^r
              - \frac1{2M^2}\sum_{ij}\|y_i - y_j\|^r
              = c_{d,r}\, E_\xi\, D^2_{1}\big(\langle\xi, x\rangle, \langle\xi, y\rangle\big),

    :math:`\xi` uniform on the sphere and :math:`c_{d,r} = \sqrt\pi\,\Gamma(\frac{d+r}2) / (\Gamma(\frac d2)\Gamma(\frac{r+1}2))`.
    For r = 1 the derivative on a line is

    .. math:: \frac{\partial D_1^2}{\partial x_i} = \frac{2\,\#\{j : y_j < x_i\} - M}{NM}
              - \frac{2\,\#\{j : x_j < x_i\} - N + 1}{N^2}.

    Parameters
    ----------
    x : array of shape (n, d)
    y : array of shape (m, d)
        The samples, n and m the paper's N and M; every point has the same weight.
    r : float
        The kernel's exponent in (0, 2). Only r = 1 is sorted: others take all pairs of points of a slice.
    slices : int or None
        The paper's P, directions :math:`\xi` that stand for the mean; None: the mean itself, by all pairs in d dimensions
        (memory n m d).
    seed : int
        Of the directions.

    Returns
    -------
    DiscrepancyResult
        With ``value``, :math:`D^2`, and its gradients in both samples. The energy distance of statistics is twice the value.

    Raises
    ------
    ShapeError, DtypeError, NonFiniteError, ArgumentError, ArgumentTypeError
        Wrong shapes or dtypes, r or slices out of range.

    Notes
    -----
    A slice costs O((N + M) log(N + M)) comparisons. Points at one place have no force on each other, so that of a tie the
    number below is that of the middle. The paper's flow steps by ``x - tau n gradient_x``. The error of the gradient over P
    slices has a standard deviation of O(sqrt(d / P)).

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.array([[0.0], [2.0]]), np.array([[1.0]])
    >>> d = sliced_mmd(x, y, slices=1)  # on a line one direction is all
    >>> round(float(d.value), 12), d.gradient_x.round(12).tolist(), d.gradient_y.tolist()
    (0.5, [[-0.25], [0.25]], [[0.0]])
    """
    x, y = check_points(x, y)
    check_number(r, "(0, 2)", "r")
    if slices is None:
        return DiscrepancyResult(*all_pairs(namespace(x), x, y, float(r)))
    check_number(slices, "int [1, inf)", "slices")
    xp = namespace(x)
    factor = slicing_constant(x.shape[1], r) / slices
    value, of_x, of_y = xp.zeros_like(x[0, 0]), xp.zeros_like(x), xp.zeros_like(y)
    for direction in directions(x, slices, seed):
        s, t = xp.matmul(x, direction), xp.matmul(y, direction)
        if r == 1.0:
            part, on_s, on_t = sorted_line(xp, s, t)
        else:
            part, on_s, on_t = all_pairs(xp, s[:, None], t[:, None], float(r))
            on_s, on_t = on_s[:, 0], on_t[:, 0]
        value = value + factor * part
        of_x = of_x + factor * on_s[:, None] * direction
        of_y = of_y + factor * on_t[:, None] * direction
    return DiscrepancyResult(value, of_x, of_y)
