"""The whole objective of a problem and the norm of its gradient, uncounted: what a history records."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.answers import NonFiniteAnswer, number
from refopt.core.oracle import Oracle
from refopt.core.params import Params, norm


def has_objective(problem: Any) -> bool:
    """Tell whether `objective` has something to say of `problem`."""
    return hasattr(problem, "value") or hasattr(problem, "upper_value")


def objective(problem: Any, x: Params) -> float:
    """Return the whole objective f + g (of two levels the upper's) at x, uncounted; NaN where there is none.

    Parameters
    ----------
    problem : object
    x : array or dict of arrays

    Returns
    -------
    float
    """
    if hasattr(problem, "upper_value"):
        return number(problem.upper_value(x), "upper_value(x)")
    if not hasattr(problem, "value"):
        return math.nan
    total = number(problem.value(x), "value(x)")
    if hasattr(problem, "penalty"):
        total += number(problem.penalty(x), "penalty(x)")
    return total


def gradient_norm(problem: Any, x: Params) -> float:
    """Return the norm of the gradient of f at x, uncounted; NaN where there is none or it is not finite."""
    if not hasattr(problem, "grad"):
        return math.nan
    try:
        return norm(Oracle(problem).grad(x))
    except NonFiniteAnswer:
        return math.nan
