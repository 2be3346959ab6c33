"""Arguments of a run: their checks, what a callback is given, and how a run is told from another."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from refopt.core.hyper import check_number
from refopt.core.method import Method
from refopt.core.oracle import objective
from refopt.core.params import Params


@dataclass(frozen=True)
class Intermediate:
    """What a callback with the parameter ``intermediate_result`` is given after each step.

    Attributes
    ----------
    x : array or dict of arrays
    nit : int
    gradient_equivalents, seconds : float
    """

    x: Params
    nit: int
    gradient_equivalents: float
    seconds: float
    problem: Any

    @property
    def fun(self) -> float:
        """The whole objective at `x`, evaluated when it is asked for and not counted."""
        return objective(self.problem, self.x)


def whole(value: Any, name: str, low: int) -> int:
    """Return `value` as an int of at least `low`, or raise an error that names `name`."""
    check_number(value, f"int [{low}, inf)", name)
    return int(value)


def non_negative(value: Any, name: str) -> float | None:
    """Return `value` as a float of at least 0, None as None, or raise an error that names `name`."""
    if value is None:
        return None
    check_number(value, "[0, inf]", name)
    return float(value)


def takes_intermediate_result(callback: Callable[..., Any]) -> bool:
    """Tell whether `callback` wants SciPy's keyword ``intermediate_result``."""
    try:
        return set(inspect.signature(callback).parameters) == {"intermediate_result"}
    except (TypeError, ValueError):
        return False


def describe(method: Method) -> dict[str, Any]:
    """Name a method's hyperparameters so that a resumed run can be held to them."""

    def text(value: Any) -> Any:
        if isinstance(value, Method):
            return describe(value)
        return getattr(value, "__qualname__", None) or repr(value)

    return {
        "class": type(method).__qualname__,
        **{f.name: text(getattr(method, f.name)) for f in fields(method)},
    }
