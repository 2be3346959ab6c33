"""The doors of a method: what `init` and `update` are given is held to each other, for every method in one place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.arrays import all_finite, is_array, is_floating, namespace
from refopt.core.errors import (
    ArgumentTypeError,
    ConvergenceError,
    DtypeError,
    NonFiniteError,
    RefoptError,
    ShapeError,
    traced,
)
from refopt.core.forms import form_of
from refopt.core.params import Params, check_like, check_start, is_params

# What array code raises where arrays do not fit each other; LinAlgError is a ValueError.
RAW = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, StopIteration, RuntimeError)
# The entries of a state that are like x, and all of them.
Entries = tuple[tuple[str, ...], frozenset[str]]
# So many forms of x are remembered by a method.
FORMS = 64


def guarded_init(init: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method's `init`: x is looked at, and what of the state is like x is remembered."""

    @functools.wraps(init)
    def call(self: Any, x: Any) -> Any:
        x = check_start(x, "x")
        s = init(self, x)
        _remembered(self, _signature(x), s, x)
        return s

    return call


def guarded_update(update: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method's `update`: a state that is not of x is refused, and what array code then raises is explained.

    What is like x in the state at the start must be like x now: an identity of shapes and dtypes, without a look at values.
    """

    @functools.wraps(update)
    def call(self: Any, x: Any, grad: Any, s: Any, **more: Any) -> Any:
        try:
            if (form := _signature(x)) is not None:
                doors = self.__dict__.get("_doors")
                _held(self, x, s, *((doors and doors.get((type(self), form))) or _learned(self, form, x)))
            # As in `minimize`: what overflows goes into x and state.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                return update(self, x, grad, s, **more)
        except RAW as error:
            told = isinstance(error, RefoptError) and not isinstance(
                error, (NonFiniteError, ConvergenceError)
            )
            if told or traced(error):
                raise
            _explain(self, x, grad, s)
            if isinstance(error, np.linalg.LinAlgError):
                raise ConvergenceError(
                    f"grad: a factorization inside the step could not be made ({error})"
                ) from error
            raise

    return call


def _start(method: Any, x: Params) -> Any:
    """Return the state at x from what the guard of `init` is around."""
    init = type(method).init
    return getattr(init, "__wrapped__", init)(method, x)


def _learned(method: Any, form: Any, x: Params) -> Entries:
    """Return what a state at an x of a form that was not met before has, from a start there."""
    try:
        return _remembered(method, form, _start(method, x), x)
    except RAW:  # an x that is no start (NaN, a tracer): the step itself will tell, or not
        return (), frozenset()


def _remembered(method: Any, form: Any, s: Any, x: Params) -> Entries:
    """Keep which entries of a state there are, and which are like x."""
    found = tuple(k for k, v in s.items() if k != "t" and _signature(v) == form), frozenset(s)
    doors = method.__dict__.get("_doors")
    if doors is None or len(doors) >= FORMS:
        object.__setattr__(method, "_doors", doors := {})
    # By class too: the oracle changes the class of copies.
    doors[type(method), form] = found
    return found


def _signature(x: Any) -> Any:
    """Return what tells parameters of one form from those of another; None for what is not in the form that methods know."""
    try:
        if isinstance(x, dict):
            return tuple([(k, type(v), v.shape, v.dtype) for k, v in x.items()])
        return type(x), x.shape, x.dtype
    except AttributeError:
        return None


def _held(method: Any, x: Params, s: Any, like: tuple[str, ...], keys: frozenset[str]) -> None:
    """Raise unless `s` has the keys and the forms of a state at x."""
    name = method.registered_name or type(method).__name__
    t = s.get("t", 0) if isinstance(s, dict) else None
    if type(t) is not int or t < 0 or not s.keys() >= keys:
        got = f"a dict with {', '.join(map(repr, s))}" if isinstance(s, dict) else f"a {type(s).__name__}"
        raise ArgumentTypeError(
            f"s: wanted a state of {name} ({', '.join(sorted(keys))}), from init or the last update; got {got}"
            + (f", t = {t!r}" if isinstance(s, dict) else "")
        )
    for key in like:
        if s[key] is not None:
            check_like(s[key], x, f"s[{key!r}]")


def _explain(method: Any, x: Any, grad: Any, s: Any) -> None:
    """Raise an error that names what does not fit, where array code has failed; return if nothing is found."""
    unusual = not is_params(x) and form_of(x) is not None
    form = form_of(x) if unusual else None
    x = check_start(x, "x")
    grad = form.inside(grad, "grad") if form is not None else grad
    if isinstance(x, dict) and isinstance(grad, dict) and any(g is None for g in grad.values()):
        return  # some leaves stand still: the call for the others has its own door
    check_like(grad, x, "grad", finite_values=True)
    first = _start(method, x)
    _held(method, x, s, *_remembered(method, _signature(x), first, x))
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
