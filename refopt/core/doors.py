"""The doors of a method: where array code fails inside `init`, `update` or `step`, what did not fit is said, for every method in one place.

Nothing is looked at before something has failed, so that a door costs a step nothing but a call.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from refopt.core.arrays import all_finite, is_array, is_floating, namespace
from refopt.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    ConvergenceError,
    DtypeError,
    NonFiniteError,
    RefoptError,
    ShapeError,
    traced,
)
from refopt.core.forms import form_of
from refopt.core.guard import theirs
from refopt.core.params import Params, check_like, check_start, is_params

# What array code raises where arrays do not fit each other; LinAlgError is a ValueError. Memory that is not there is nobody's argument.
RAW = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, StopIteration, RuntimeError)


def guarded(door: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method's `init`, `update` or `step` with its door: where array code fails, what does not fit is named.

    What a function of the user's raises goes on as it is, and an update that is called by another hands over what it likes: the
    outermost door alone tells.
    """

    @functools.wraps(function)
    def call(self: Any, *args: Any, **more: Any) -> Any:
        try:
            return function(self, *args, **more)
        except RAW as error:
            # What is not finite is told by whoever met it, and here of what it was.
            told = isinstance(error, RefoptError) and not isinstance(error, (NonFiniteError, ConvergenceError))
            if not (told or traced(error) or _within(sys._getframe(1)) or theirs(error)):
                _explain(door, self, error, inspect.signature(function).bind(self, *args, **more).arguments)
            raise

    _DOORS.add(call.__code__)
    return call


_DOORS: set[Any] = set()


def _within(frame: FrameType | None) -> bool:
    """Tell whether a call came through another door: an update that calls its base's hands it what it likes."""
    while frame is not None:
        if frame.f_code in _DOORS:
            return True
        frame = frame.f_back
    return False


def _name(method: Any) -> str:
    return str(method.registered_name or type(method).__name__)


def _explain(door: str, method: Any, error: Exception, given: dict[str, Any]) -> None:
    """Raise an error that names what does not fit, where array code has failed; return if nothing is found."""
    x, grad = given["x"], given.get("grad")
    form = None if is_params(x) else form_of(x)
    x = check_start(x, "x")
    if door == "init":
        if not isinstance(error, RefoptError):
            raise ArgumentError(
                f"x: {_name(method)} cannot start there ({type(error).__name__}: {error})"
            ) from error
        return
    if door == "update":
        grad = form.inside(grad, "grad") if form is not None else grad
        if isinstance(x, dict) and isinstance(grad, dict) and any(g is None for g in grad.values()):
            return  # some leaves stand still
        check_like(grad, x, "grad", finite_values=True)
    _check_state(method, x, given["s"])
    if isinstance(error, np.linalg.LinAlgError):
        raise ConvergenceError(
            f"{_name(method)}: a factorization inside the step could not be made ({error})"
        ) from error


def _check_state(method: Any, x: Params, s: Any) -> None:
    """Raise unless `s` looks like what a start at x gives."""
    first = method.init(x)
    t = s.get("t") if isinstance(s, dict) else None
    if type(t) is not int or t < 0 or not s.keys() >= first.keys():
        got = f"a dict with {', '.join(map(repr, s))}" if isinstance(s, dict) else f"a {type(s).__name__}"
        raise ArgumentTypeError(
            f"s: wanted a state of {_name(method)} ({', '.join(sorted(first))}), from init or the last update; got {got}"
            + (f", t = {t!r}" if t is not None else "")
        )
    _compared(first, s, "s")


def _compared(first: Any, now: Any, label: str) -> None:
    """Raise where an entry of a state is of another kind than at the start, or not finite."""
    if isinstance(first, dict):
        if not isinstance(now, dict) or not now.keys() >= first.keys():
            raise ArgumentTypeError(f"{label}: wanted {_kind(first)} as from init, got {_kind(now)}")
        for key, value in first.items():
            _compared(value, now[key], f"{label}[{key!r}]")
        return
    if is_array(first):
        if not is_array(now):
            raise ArgumentTypeError(f"{label}: wanted an array as from init, got {_kind(now)}")
        if namespace(now) is not namespace(first) or now.dtype != first.dtype:
            raise DtypeError(f"{label}: wanted {first.dtype} as from init, got {now.dtype}")
        if tuple(now.shape) != tuple(first.shape):
            raise ShapeError(
                f"{label}: wanted shape {tuple(first.shape)} as from init, got {tuple(now.shape)}"
            )
        if is_floating(now) and not all_finite(now):
            raise NonFiniteError(f"{label}: contains NaN or infinity")
    elif isinstance(first, (int, float)) and not isinstance(now, (int, float, np.number)):
        raise ArgumentTypeError(f"{label}: wanted a number as from init, got {_kind(now)}")


def _kind(value: Any) -> str:
    return (
        f"a dict with {', '.join(map(repr, value))}" if isinstance(value, dict) else type(value).__qualname__
    )
