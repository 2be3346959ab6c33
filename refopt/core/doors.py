"""The doors of a method: a state that is not x's is refused, and where array code fails inside `init`, `update` or `step`, what did not fit
is said, for every method in one place.

But for the forms of a state's arrays nothing is looked at before something has failed, so that a door costs a step hardly more than a call.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Mapping
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
from refopt.core.guard import UNSUPPORTED, theirs
from refopt.core.params import Params, check_like, check_start, is_params

_DOORS: set[Any] = set()
# So many forms of x are remembered by a method.
FORMS = 64
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
            told = isinstance(error, RefoptError) and not isinstance(
                error, (NonFiniteError, ConvergenceError)
            )
            if told or traced(error) or _within(sys._getframe(1)) or theirs(error):
                raise
            try:
                given = inspect.signature(function).bind(self, *args, **more).arguments
            except TypeError as wrong:
                raise ArgumentTypeError(f"{_name(self)}: {door}: {wrong}") from None
            _explain(door, self, error, given)
            raise

    door_itself: Any = call
    _DOORS.add(door_itself.__code__)
    return door_itself


def hold(method: Any, x: Params, s: Mapping[str, Any]) -> None:
    """Raise unless the arrays of `s` have the shapes and dtypes of a start's at x, without a look at values.

    What is empty at the start may grow (a window of past gradients). What `s` lacks is not missed here: an update that calls its
    base's may hand over less.
    """
    form = _form(x)
    kept = method.__dict__.get("_starts")
    # By class too: the oracle changes the class of copies.
    start = None if kept is None else kept.get((type(method), form))
    if start is None:
        try:
            start = _forms(method.init(x)) or {}
        except RAW:  # an x that is no start (NaN, a tracer): the step itself will tell, or not
            start = {}
        if kept is None or len(kept) >= FORMS:
            object.__setattr__(method, "_starts", kept := {})
        kept[type(method), form] = start
    for key, wanted in start.items():
        if (value := s.get(key)) is not None:
            _held(wanted, value, f"s[{key!r}]")


def _form(x: Any) -> Any:
    """Return what tells arrays, or dicts of them, of one form from those of another."""
    if isinstance(x, dict):
        return tuple([(k, type(v), v.shape, v.dtype) for k, v in x.items()])
    return type(x), x.shape, x.dtype  # the type first: dtypes of two libraries are not compared then


def _forms(value: Any) -> Any:
    """Return the forms of all arrays in an entry of a state, in its structure; None where there is nothing to hold."""
    if isinstance(value, dict):
        return {k: _forms(v) for k, v in value.items()} or None
    if isinstance(value, (tuple, list)):
        return [_forms(v) for v in value] or None
    if is_array(value) and math.prod(value.shape):
        return tuple(value.shape), value.dtype
    return None


def _held(wanted: Any, now: Any, label: str) -> None:
    """Raise unless the arrays of an entry have the forms that are wanted."""
    if isinstance(wanted, tuple):
        shape, dtype = wanted
        if not hasattr(now, "shape"):
            if not shape and isinstance(now, (int, float)):
                return  # a number is as good as an array without axes
            raise ArgumentTypeError(f"{label}: wanted an array as from init, got {_kind(now)}")
        if now.dtype != dtype:
            raise DtypeError(f"{label}: wanted {dtype} as from init, got {now.dtype}")
        if tuple(now.shape) != shape:
            raise ShapeError(f"{label}: wanted shape {shape} as from init, got {tuple(now.shape)}")
    elif isinstance(wanted, dict):
        if not isinstance(now, dict) or now.keys() != wanted.keys():
            raise ShapeError(f"{label}: wanted {_kind(wanted)} as from init, got {_kind(now)}")
        for key, form in wanted.items():
            _held(form, now[key], f"{label}[{key!r}]")
    elif isinstance(wanted, list):
        if not isinstance(now, (tuple, list)) or len(now) != len(wanted):
            raise ShapeError(f"{label}: wanted {len(wanted)} arrays as from init, got {_kind(now)}")
        for k, (form, value) in enumerate(zip(wanted, now)):
            _held(form, value, f"{label}[{k}]")


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
    if UNSUPPORTED.search(str(error)):
        raise DtypeError(f"x: linear algebra inside the step does not take its dtype ({error})") from error
    if isinstance(error, np.linalg.LinAlgError):
        raise ConvergenceError(
            f"{_name(method)}: a factorization inside the step could not be made ({error})"
        ) from error


def _check_state(method: Any, x: Params, s: Any) -> None:
    """Raise unless `s` looks like what a start at x gives."""
    first = method.init(x)
    t = s.get("t") if isinstance(s, dict) else None
    if type(t) is not int or not 0 <= t < 2**63 or not s.keys() >= first.keys():
        got = f"a dict with {', '.join(map(repr, s))}" if isinstance(s, dict) else f"a {type(s).__name__}"
        raise ArgumentTypeError(
            f"s: wanted a state of {_name(method)} ({', '.join(sorted(first))}), from init or the last update; got {got}"
            + (f", t = {t!r}" if t is not None else "")
        )
    # Of the whole state more entries do no harm.
    for key, value in first.items():
        _held(_forms(value), s[key], f"s[{key!r}]")
        _looked_at(value, s[key], f"s[{key!r}]")


def _looked_at(first: Any, now: Any, label: str) -> None:
    """Raise where what has the forms of a start's entry is of another library, no number, or not finite."""
    if isinstance(first, dict) and isinstance(now, dict):
        for key, value in first.items():
            _looked_at(value, now.get(key), f"{label}[{key!r}]")
    elif isinstance(first, (tuple, list)) and isinstance(now, (tuple, list)):
        for k, (value, other) in enumerate(zip(first, now)):
            _looked_at(value, other, f"{label}[{k}]")
    elif is_array(first):
        if not is_array(now) or namespace(now) is not namespace(first):
            raise ArgumentTypeError(f"{label}: wanted an array as from init, got {_kind(now)}")
        if is_floating(now) and not all_finite(now):
            raise NonFiniteError(f"{label}: contains NaN or infinity")
    elif isinstance(first, (int, float)) and not isinstance(now, (int, float, np.number)):
        raise ArgumentTypeError(f"{label}: wanted a number as from init, got {_kind(now)}")


def _kind(value: Any) -> str:
    return (
        f"a dict with {', '.join(map(repr, value))}" if isinstance(value, dict) else type(value).__qualname__
    )
