"""Searches along a line for a step that lowers f enough, and where its slope has fallen enough."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.answers import NonFiniteAnswer
from refopt.core.oracle import Oracle
from refopt.core.params import Params

Trial = tuple[float, float, float]


class Line:
    """f along ``x + t d``; what is not finite counts as infinitely high."""

    def __init__(self, oracle: Oracle, x: Params, d: Params) -> None:
        self.oracle, self.x, self.d = oracle, x, d
        self.last: tuple[float, Params] = (0.0, x)

    def point(self, t: float) -> Params:
        """Return the point at `t`: the object that was asked about, if it was asked last."""
        if self.last[0] != t:
            self.last = t, params.axpy(t, self.d, self.x)
        return self.last[1]

    def value(self, t: float) -> float:
        """Return f at `t`."""
        f = self.oracle.value(self.point(t))
        return f if math.isfinite(f) else math.inf

    def __call__(self, t: float) -> Trial:
        """Return t, f and the slope there."""
        try:
            f, g = self.oracle.value_and_grad(self.point(t))
        except NonFiniteAnswer:
            return t, math.inf, math.inf
        return (t, f, params.dot(g, self.d)) if math.isfinite(f) else (t, math.inf, math.inf)


def backtracking(
    line: Line, f: float, slope: float, t: float, *, c1: float, most: int, shrink: float = 0.8
) -> float:
    """Return the first of t, shrink t, shrink² t, ... with ``f(t) ≤ f + c1 t slope``, the last of `most` if none is."""
    for _ in range(most):
        here = line.value(t)
        if here <= f + c1 * t * slope:
            return t
        t, tried = t * shrink, t
    return tried if here < math.inf else 0.0


def cubic_minimum(a: Trial, b: Trial, low: float, high: float) -> float:
    """Return the minimum, between bounds, of the cubic through two trials with their slopes; the middle where it has none."""
    (x1, f1, g1), (x2, f2, g2) = sorted((a, b))
    d1 = g1 + g2 - 3.0 * (f1 - f2) / (x1 - x2)
    square = d1 * d1 - g1 * g2
    if not 0.0 <= square < math.inf:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    below = g2 - g1 + 2.0 * d2
    if below == 0.0:
        return (low + high) / 2.0
    return min(max(x2 - (x2 - x1) * ((g2 + d2 - d1) / below), low), high)


def strong_wolfe(
    line: Line, f: float, slope: float, t: float, *, c1: float, c2: float, most: int, narrow: float = 1e-9
) -> float:
    """Return a step with ``f(t) ≤ f + c1 t slope`` and ``|slope(t)| ≤ -c2 slope``, by brackets and cubics as in minFunc and torch.

    Parameters
    ----------
    most : int
        Points that are looked at; the lowest end of the bracket is returned behind the last.
    narrow : float
        A bracket over which no coordinate moves by as much is not searched further.
    """
    start = (0.0, f, slope)
    before, here, tried = start, line(t), 1
    while True:
        if here[1] > f + c1 * here[0] * slope or (tried > 2 and here[1] >= before[1]):
            break
        if abs(here[2]) <= -c2 * slope:
            return here[0]
        if here[2] >= 0.0:
            break
        if tried >= most:
            before = start
            break
        t = cubic_minimum(before, here, here[0] + 0.01 * (here[0] - before[0]), here[0] * 10.0)
        before, here, tried = here, line(t), tried + 1
    low, high = (before, here) if before[1] <= here[1] else (here, before)
    longest, stuck = params.max_abs(line.d), False
    while tried < most and abs(high[0] - low[0]) * longest >= narrow:
        left, right = min(low[0], high[0]), max(low[0], high[0])
        t = cubic_minimum(low, high, left, right)
        # Near an end twice running, or at it: a tenth of the bracket away from it.
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        here, tried = line(t), tried + 1
        if here[1] > f + c1 * t * slope or here[1] >= low[1]:
            low, high = (low, here) if low[1] <= here[1] else (here, low)
            continue
        if abs(here[2]) <= -c2 * slope:
            return t
        low, high = here, low if here[2] * (high[0] - low[0]) >= 0.0 else high
    return low[0]


def _cubic(a: Trial, b: Trial, c: Trial) -> float:
    """Return where the cubic through three trials, with the slope of the first, has its minimum; NaN where it has none."""
    db, dc = b[0] - a[0], c[0] - a[0]
    below = (db * dc) ** 2 * (db - dc)
    if below == 0.0:
        return math.nan
    u, v = b[1] - a[1] - a[2] * db, c[1] - a[1] - a[2] * dc
    third, second = (dc * dc * u - db * db * v) / below, (db**3 * v - dc**3 * u) / below
    radical = second * second - 3.0 * third * a[2]
    return (
        a[0] + (math.sqrt(radical) - second) / (3.0 * third) if radical >= 0.0 and third != 0.0 else math.nan
    )


def _parabola(a: Trial, b: Trial) -> float:
    """Return where the parabola through two trials, with the slope of the first, has its minimum."""
    d = b[0] - a[0]
    curved = (b[1] - a[1] - a[2] * d) / (d * d)
    return a[0] - a[2] / (2.0 * curved) if curved != 0.0 else math.nan


def _between(low: Trial, high: Trial, third: Trial) -> float:
    """Return the next point between two trials: by a cubic, else a parabola, else the middle."""
    left, right = min(low[0], high[0]), max(low[0], high[0])
    for t, share in ((_cubic(low, high, third), 0.2), (_parabola(low, high), 0.1)):
        margin = share * (right - left)
        if left + margin < t < right - margin:
            return t
    return (low[0] + high[0]) / 2.0


def zoom(
    line: Line, f: float, slope: float, t: float, *, c1: float, c2: float, most: int, grow: float = 2.0,
    approximate: float = 1e-6, narrow: float = 1e-5,
) -> float:  # fmt: skip
    """Return a step by Algorithms 3.5 and 3.6 of Nocedal and Wright, with Hager and Zhang's approximate decrease, as in optax.

    The decrease is also enough where ``slope(t) ≤ (2 c1 - 1) slope`` and ``f(t) ≤ f + approximate |f|``. Behind `most` points, or
    in a bracket shorter than `narrow`, the best step of enough decrease is returned, and without one the last.
    """

    def errors(here: Trial) -> tuple[float, float]:
        if here[1] == math.inf:
            return math.inf, math.inf
        about = max(here[2] - (2.0 * c1 - 1.0) * slope, here[1] - f - approximate * abs(f))
        decrease = max(min(about, here[1] - f - c1 * here[0] * slope), 0.0)
        return decrease, max(decrease, abs(here[2]) - c2 * abs(slope))

    before, safe, tried = (0.0, f, slope), (0.0, f, slope), 0
    while True:
        here, tried = line(t), tried + 1
        decrease, error = errors(here)
        safe = here if decrease == 0.0 else safe
        if error <= 0.0:
            return t
        if tried >= most:
            return safe[0] if safe[0] > 0.0 or decrease == math.inf else t
        if decrease > 0.0 or (here[1] >= before[1] and tried > 1):
            low, high = before, here
            break
        if here[2] >= 0.0:
            low, high = here, before
            break
        before, t = here, t * grow
    third = low
    while True:
        narrowed = abs(high[0] - low[0]) <= narrow
        t = _between(low, high, third)
        here, tried = line(t), tried + 1
        decrease, error = errors(here)
        safe = here if decrease == 0.0 and here[1] < safe[1] else safe
        if error <= 0.0:
            return t
        if tried >= most or (narrowed and safe[0] > 0.0):
            return safe[0] if safe[0] > 0.0 or decrease == math.inf else t
        if decrease > 0.0 or here[1] >= low[1]:
            third, high = high, here
        elif here[2] * (high[0] - low[0]) >= 0.0:
            third, high, low = high, low, here
        else:
            third, low = low, here
