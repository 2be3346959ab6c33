"""Coordinate descent for fractions (Yuan 2023)."""

from __future__ import annotations

import numpy as np

from refopt.core import params
from refopt.core.arrays import like
from refopt.core.errors import ConvergenceError
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import register
from refopt.optimizers.common.vectors import joined, parted
from refopt.problems.fractional_regression import YUAN

# Dinkelbach's iteration doubles the digits: what comes after so many is rounding.
ROUNDS = 50


@register("fractional-cd", source=YUAN, where="the fractional and the parametric coordinate descent methods, FCD and PCD",
    needs=("fraction", "coordinate_slope", "coordinate_prox"))  # fmt: skip
class FractionalCD(Method):
    """Coordinate descent for ``F(x) = (f(x) + h(x)) / g(x)``: an entry moves to where a model of F is least.

    With ``q(t) = f(x) + t ∇_i f(x) + (c_i + θ) t²/2 + h(x + t e_i)``, ``c_i`` a bound of f's second derivative by x_i:
    ``t = argmin q(t) / g(x + t e_i)`` (fractional) or ``t = argmin q(t) - F(x) g(x + t e_i)`` (parametric), and
    ``x ← x + t e_i``. Neither raises F, which falls by ``θ t² / (2 g)``, g at the new point.

    Notes
    -----
    A step is one entry. The problem solves the second subproblem, which for a convex g has several minima; the first is
    found by Dinkelbach's iteration, the second with the last ratio in place of F(x). Where g is concave, every critical point is a global minimum.

    Raises
    ------
    ConvergenceError
        g is not positive.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("fractional-regression")
    >>> r = refopt.minimize(p, "fractional-cd", steps=400)
    >>> bool(r.fun - p.optimum < 1e-12)
    True
    """

    has_rate = False
    rule: str = hyper("fractional", ("fractional", "parametric"), "FCD or PCD.")
    theta: float = hyper(1e-6, "(0, inf)", "θ.")
    order: str = hyper("cyclic", ("cyclic", "random"), "Which i: in turn, or drawn uniformly.")
    words = {"schedule": "Not used."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        params.check_start(x, "x")
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Move one entry."""
        n = params.size(x)
        i = s["t"] % n if self.order == "cyclic" else int(oracle.rng.integers(n))
        t = self.move(x, i, oracle)
        return moved(x, i, t), {"t": s["t"] + 1}

    def move(self, x: Params, i: int, oracle: Oracle) -> float:
        """Return t of entry i."""
        f, h, g = parts(oracle, x)
        slope, bound = oracle.coordinate_slope(x, i)
        bend, level = bound + self.theta, (f + h) / g
        for _ in range(ROUNDS):
            t = oracle.coordinate_prox(x, i, slope, bend, level)
            if self.rule == "parametric":
                break
            _, h, g = parts(oracle, moved(x, i, t))
            ratio = (f + t * slope + bend * t * t / 2.0 + h) / g
            # Equal but for rounding: t is then as exact as the level, which is twice as exact as the t before.
            if ratio >= level:
                break
            level = ratio
        return t

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the longest move of an entry, 0 at coordinate-wise stationary points."""
        return max(abs(self.move(x, i, oracle)) for i in range(params.size(x)))


def parts(oracle: Oracle, x: Params) -> tuple[float, float, float]:
    """Return f, h and g, g positive."""
    f, h, g = oracle.fraction(x)
    if g <= 0.0:
        raise ConvergenceError(f"fraction(x): wanted a positive denominator, got {g:g}")
    return f, h, g


def moved(x: Params, i: int, t: float) -> Params:
    """Return x with t added to entry i."""
    flat = joined(x)
    unit = np.zeros(flat.shape[0])
    unit[i] = t
    return params.axpy(1.0, parted(like(unit, flat), x), x)
