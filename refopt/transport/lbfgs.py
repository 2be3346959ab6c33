"""L-BFGS for convex functions, in any array library: what the smooth duals of transport are solved with."""

from __future__ import annotations

import math
from collections.abc import Callable

from refopt.core.arrays import Array, detached, namespace

MEMORY = 10  # pairs of steps and gradients
TRIALS = 40  # of one line search
IDLE = 20  # steps without a lower value, beyond rounding, or a smaller gradient, after which there is nothing left to gain


def minimise(
    function: Callable[[Array], tuple[float, Array]], z: Array, tol: float, maxiter: int
) -> tuple[Array, int, bool]:
    """Minimise a convex function until the 1-norm of its gradient is at most `tol`.

    Parameters
    ----------
    function : callable
        Returns the value, a Python number, and the gradient at a vector.
    z : array of shape (n,)
        Start.
    tol : float
    maxiter : int
        Largest number of steps.

    Returns
    -------
    z : array
        The last point.
    steps : int
    stuck : bool
        True if nothing was gained any more, as at a kink, or where rounding is all that is left.

    Examples
    --------
    >>> import numpy as np
    >>> c = np.array([1.0, 10.0])
    >>> z, steps, stuck = minimise(lambda z: (float(c @ z**2) / 2 - z.sum(), c * z - 1), np.zeros(2), 1e-12, 50)
    >>> z.round(12).tolist(), stuck
    ([1.0, 0.1], False)
    """
    xp = namespace(z)
    value, gradient = function(z)
    pairs: list[tuple[Array, Array, float]] = []
    rounding = 4 * float(xp.finfo(z.dtype).eps)
    best, least, idle = value, math.inf, 0
    steps = 0
    while steps < maxiter and (size := float(xp.sum(xp.abs(detached(gradient))))) > tol:
        idle = 0 if value < best - rounding * abs(best) or size < 0.9 * least else idle + 1
        best, least = min(value, best), min(size, least)
        if idle > IDLE:
            return z, steps, True
        direction = -_inverse_product(gradient, pairs)
        slope = float(xp.sum(detached(direction * gradient)))
        if not slope < 0 and pairs:
            pairs, direction = [], -gradient
            slope = float(xp.sum(detached(direction * gradient)))
        if not slope < 0:
            return z, steps, True
        first = 1.0 if pairs else 1.0 / max(size, 1.0)
        found = _search(function, z, direction, value, slope, first)
        if found is None and pairs:
            pairs = []  # once more along the gradient itself
            continue
        if found is None:
            return z, steps, True
        new, value, new_gradient = found
        s, y = new - z, new_gradient - gradient
        curvature = float(xp.sum(detached(s * y)))
        if curvature > 0:
            pairs = [*pairs, (s, y, curvature)][-MEMORY:]
        z, gradient, steps = new, new_gradient, steps + 1
    return z, steps, False


def _inverse_product(gradient: Array, pairs: list[tuple[Array, Array, float]]) -> Array:
    """Return the inverse Hessian's estimate times the gradient, by two loops over the pairs."""
    xp = namespace(gradient)
    q, weights = gradient, []
    for s, y, curvature in reversed(pairs):
        weights.append(float(xp.sum(detached(s * q))) / curvature)
        q = q - weights[-1] * y
    if pairs:
        _, y, curvature = pairs[-1]
        q = q * (curvature / float(xp.sum(detached(y * y))))
    for (s, y, curvature), weight in zip(pairs, reversed(weights)):
        q = q + (weight - float(xp.sum(detached(y * q))) / curvature) * s
    return q


def _search(
    function: Callable[[Array], tuple[float, Array]],
    z: Array, direction: Array, value: float, slope: float, step: float,
) -> tuple[Array, float, Array] | None:  # fmt: skip
    """Return a point along the direction, its value and gradient, or None.

    A convex function's slopes grow along a line, so that they alone bracket the least value: near it values agree to rounding
    long before slopes do. A slope at or below 0 means a lower value; one above 0 is taken where it is small and the value is no
    higher.
    """
    xp = namespace(z)
    low, high, low_slope, high_slope = 0.0, 0.0, slope, 0.0
    for _ in range(TRIALS):
        new = z + step * direction
        new_value, gradient = function(new)
        new_slope = float(xp.sum(detached(direction * gradient)))
        if 0.9 * slope <= new_slope <= 0 or (0 < new_slope <= -0.5 * slope and new_value <= value):
            return new, new_value, gradient
        if new_slope > 0:
            high, high_slope = step, new_slope
        else:
            low, low_slope = step, new_slope
        if high == 0:
            step *= 4.0
            continue
        # The secant's zero, kept off the ends of the bracket.
        width = high - low
        step = low + width * min(max(low_slope / (low_slope - high_slope), 0.1), 0.9)
        if width <= 1e-12 * high:
            break
    return None
