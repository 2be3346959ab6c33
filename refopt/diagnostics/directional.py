"""Directional derivatives of any function of parameters: complex steps and central differences."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.arrays import is_array, itemsize_eps
from refopt.core.params import Params, axpy, finite, flatten, leaves, map_leaves, norm, scale, subtract

Map = Callable[[Any], Any]
STEP = 1e-20  # of the complex step: its square vanishes beside 1 in every dtype


def machine_eps(x: Params) -> float:
    """Return the machine epsilon of the dtype of `x`."""
    return itemsize_eps(next(iter(leaves(x).values())))


def as_params(a: Any) -> Params:
    """Return `a`, or the 0-d array that holds it where it is a Python number."""
    return a if isinstance(a, dict) or is_array(a) else np.asarray(a)


def relative(got: Params, want: Params, size: float = 0.0) -> float:
    """Return ``||got - want||`` over the largest of their norms and `size`; 0 / 0 is 0, NaN infinity."""
    return ratio(norm(subtract(got, want)), max(norm(got), norm(want), size))


def ratio(gap: float, size: float) -> float:
    """Return gap / size, an error: 0 / 0 is 0, and what is not finite is infinity."""
    if not math.isfinite(gap) or math.isnan(size):
        return math.inf
    return gap / size if gap and size else gap


def magnitude(fn: Map, x: Params, v: Params) -> float:
    """Return the larger of ``||F(x)||`` and ``||F(x + v / 100)||``: at a solution the first may be 0."""
    near = as_params(fn(axpy(0.01, v, x)))
    return max(norm(as_params(fn(x))), norm(near) if finite(near) else 0.0)


def complex_step(fn: Map, x: Params, v: Params, here: Params, size: float) -> Params | None:
    """Return ``Im F(x + i h v) / h``, or None where F does not take complex NumPy arrays.

    `here` is F(x), which the real part must repeat to rounding of numbers as large as `size`.
    """
    if not all(isinstance(leaf, np.ndarray) for leaf in leaves(x).values()):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            there = fn(map_leaves(lambda a, d: a + (1j * STEP) * d, x, v))
            there = map_leaves(np.asarray, there)
    except Exception:  # whatever a function of real numbers raises here, differences remain
        return None
    if not all(np.iscomplexobj(leaf) and np.isfinite(leaf).all() for leaf in leaves(there).values()):
        return None
    real = map_leaves(lambda a: a.real, there)
    if norm(subtract(real, map_leaves(np.asarray, here))) > 1e3 * machine_eps(x) * size:
        return None
    return map_leaves(lambda a: a.imag / STEP, there)


@dataclass(frozen=True)
class Differences:
    """What central differences say: see `differences`."""

    error: float
    slope: float | None
    passed: bool
    note: str = ""


def differences(fn: Map, x: Params, v: Params, want: Params, size: float) -> Differences:
    """Judge `want` as the derivative of `fn` at `x` along `v` by the remainder's fall with the step.

    ``R(h) = ||F(x + h v) - F(x - h v) - 2 h want||`` falls like h^3 for a right `want` (until rounding,
    estimated as ``50 eps (||F(x + h v)|| + ||F(x - h v)||)``) and like h for a wrong one.

    Parameters
    ----------
    fn : callable
    x, v : params
    want : params
        Like fn's values.
    size : float
        What errors are relative to.

    Returns
    -------
    Differences
        The least ``R(h) / (2 h size)``; the slope of log R over log h between the two smallest steps
        above rounding; the verdict: an error below sqrt(eps), or a slope above 2.5.
    """
    eps, here = machine_eps(x), fn(x)
    h, points, best = 0.5, [], math.inf
    while h > eps**0.5:
        ahead, behind = fn(axpy(h, v, x)), fn(axpy(-h, v, x))
        if finite(as_params(ahead)) and finite(as_params(behind)):  # a large step may leave the domain
            remainder = norm(subtract(subtract(ahead, behind), scale(2 * h, want)))
            floor = 50 * eps * (norm(ahead) + norm(behind) + 2 * h * size)
            best = min(best, remainder / (2 * h * size) if remainder else 0.0)
            if remainder > floor:
                points.append((h, remainder))
        h /= 4
    slope = None
    if len(points) > 1:
        (h1, r1), (h2, r2) = points[-2:]
        slope = math.log(r1 / r2) / math.log(h1 / h2)
    if best <= eps**0.5 or (slope is not None and slope > 2.5):
        return Differences(best, slope, True)
    # At a kink of F both one-sided derivatives exist and a right answer lies between them.
    h = eps**0.5
    right = flatten(scale(1 / h, subtract(fn(axpy(h, v, x)), here)))
    left = flatten(scale(1 / h, subtract(here, fn(axpy(-h, v, x)))))
    low, high, slack = np.minimum(left, right), np.maximum(left, right), 100 * eps**0.5 * size
    middle = flatten(want)
    if np.linalg.norm(right - left) > slack and np.all((low - slack <= middle) & (middle <= high + slack)):
        return Differences(best, slope, True, "x lies on a kink, between whose one-sided derivatives this is")
    return Differences(best, slope, False)
