"""Arguments of a run: their checks, what a callback is given, and how a run is told from another."""

from __future__ import annotations

import inspect
import numbers
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from refopt.core.counts import COST
from refopt.core.errors import ArgumentError, ArgumentTypeError, CheckpointError, nearest
from refopt.core.hyper import check_number
from refopt.core.method import Method
from refopt.core.objective import objective
from refopt.core.oracle import Oracle
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


def check_callback(callback: Any) -> bool:
    """Raise unless `callback` is None or can be called as SciPy does; tell whether it wants `Intermediate`."""
    if callback is None:
        return False
    if not callable(callback):
        raise ArgumentTypeError(f"callback: wanted a callable or None, got {type(callback).__qualname__}")
    if takes_intermediate_result(callback):
        return True
    try:
        inspect.signature(callback).bind(None)
    except ValueError:  # a builtin without a signature
        pass
    except TypeError as error:
        raise ArgumentTypeError(
            f"callback: is called with x alone, or with the keyword intermediate_result ({error})"
        ) from None
    return False


def check_flag(value: Any, name: str) -> bool:
    """Return a flag, or raise unless it is True or False: a text is no flag, and an array has no truth value.

    Raises
    ------
    ArgumentTypeError
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(f"{name}: wanted True or False, got {value!r}")
    return bool(value)


def check_path(path: Any, name: str, error: type[ArgumentError] = CheckpointError) -> str:
    """Return `path` as a str, or raise unless a file can be written there: before hours of work, not after.

    Raises
    ------
    ArgumentTypeError, or `error`
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"{name}: wanted a path (str or os.PathLike), got {type(path).__qualname__}")
    text = os.fspath(path)
    if not isinstance(text, str):
        raise ArgumentTypeError(f"{name}: wanted a path of str, got one of {type(text).__qualname__}")
    if not text:
        raise error(f"{name}: wanted a file's path, got an empty one")
    folder = os.path.dirname(os.path.abspath(text))
    if not os.path.isdir(folder):
        raise error(f"{name}: cannot write {text}: there is no folder {folder}")
    if os.path.isdir(text):
        raise error(f"{name}: cannot write {text}: it is a folder")
    if os.path.exists(text) and not os.path.isfile(text):
        raise error(f"{name}: cannot use {text}: it is no plain file")
    if not os.access(folder, os.W_OK):
        raise error(f"{name}: cannot write {text}: the folder is not writable")
    return text


def call_budget(max_calls: Any) -> Callable[[Oracle], bool]:
    """Return what tells whether a budget in gradient equivalents, or of calls by oracle, is spent."""
    if max_calls is None:
        return lambda oracle: False
    if isinstance(max_calls, Mapping):
        for k in max_calls:
            if k not in COST:
                raise ArgumentError(
                    f"max_calls: no oracle is called {k!r}.{nearest(str(k), COST)} They are: {', '.join(COST)}"
                )
        limits = {k: whole(v, f"max_calls[{k!r}]", 0) for k, v in max_calls.items()}
        return lambda oracle: any(oracle.counts.calls.get(k, 0) >= v for k, v in limits.items())
    if not isinstance(max_calls, numbers.Real):
        raise ArgumentTypeError(f"max_calls: wanted a number or a dict, got {type(max_calls).__qualname__}")
    limit = non_negative(max_calls, "max_calls") or 0.0
    return lambda oracle: oracle.counts.equivalents >= limit


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
