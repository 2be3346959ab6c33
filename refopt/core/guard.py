"""Plain functions of the registry, guarded once: keywords, seeds, flags, callbacks, dtypes, and their answers."""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core.arrays import CHECKING, all_finite, is_array
from refopt.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    ConvergenceError,
    DtypeError,
    RefoptError,
    nearest,
    traced,
)
from refopt.core.hyper import check_number

UNCHECKED = """Other Parameters
----------------
check : bool
    False looks at no value: neither at the input's (finite, Hermitian, definite) nor at the answer's. Without such looks a call
    with a fixed number of steps can be mapped by ``torch.func.vmap`` and compiled; wrong input gives NaN or nonsense."""
# What array code raises where its arguments do not fit; LinAlgError is a ValueError.
RAW = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    StopIteration,
    AssertionError,
    RuntimeError,
)
# Python's own files, and code that was made as text.
_LIBRARIES = (sys.base_prefix, "<")
SEEDS = "int [0, 18446744073709551615]"
# What NumPy, torch and SciPy say of a dtype for which a routine of linear algebra was not compiled.
UNSUPPORTED = re.compile(
    r"unsupported in linalg|not implemented for|not supported|not available|does not support dtype",
    re.IGNORECASE,
)


def guarded(function: Callable[..., Any], name: str, *, finite: bool) -> Callable[..., Any]:
    """Wrap a registered function.

    Parameters
    ----------
    function : callable
    name : str
        As it is registered, for messages.
    finite : bool
        Whether an array that it returns must be finite: a matrix function's, which also takes ``check=False``. A result that says that it has
        converged is held to it in any case.

    Returns
    -------
    callable
        Which raises `ArgumentTypeError` for an unknown, missing or repeated argument, a seed that is
        none, a flag that is no bool, a choice that is no str and a callback that cannot be called;
        `DtypeError` where a library has no such routine for the dtype; `ConvergenceError` where the
        answer has NaN or infinity.
    """
    signature = inspect.signature(function)
    checks = {p.name: check for p in signature.parameters.values() if (check := _check(p)) is not None}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if finite and "check" in kwargs:  # a matrix function's
            check = kwargs.pop("check")
            if check is False:
                return _unchecked(function, args, kwargs)
            _flag(check, f"{name}: check")
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError as wrong:
            unknown = next((k for k in kwargs if k not in signature.parameters), "")
            # Python tells of what is missing first.
            what = f"got an unexpected keyword argument {unknown!r}" if unknown else str(wrong)
            hint = nearest(unknown, signature.parameters) if unknown else ""
            raise ArgumentTypeError(
                f"{name}: {what}.{hint} It takes: {', '.join(signature.parameters)}"
            ) from None
        for key, check in checks.items():
            if key in given.arguments:
                check(given.arguments[key], f"{name}: {key}")
        try:
            # What overflows shows in the answer, which is looked at.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                answer = explained(function, name, given.arguments, args, kwargs)
        except (TypeError, ValueError, RuntimeError) as error:
            if traced(error):
                raise ArgumentTypeError(
                    f"{name}: looks at values, which arrays that JAX traces (jit, grad, vmap) do not have; call it outside,"
                    " or a matrix function of a fixed number of steps with check=False"
                ) from None
            raise
        if not all(all_finite(part) for part in _claimed(answer, finite)):
            raise ConvergenceError(
                f"{name}: the answer has NaN or infinity: the input is outside of what the formula or the dtype can reach"
            )
        return answer

    return call


def explained(
    function: Callable[..., Any],
    name: str,
    given: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Call, and say in an error of refopt what was `given` where array code fails on it.

    What a function of the user's raises goes on as it is, and so does what only JAX explains.
    """
    try:
        return function(*args, **kwargs)
    except RAW as error:
        if isinstance(error, RefoptError) or traced(error):
            raise
        known = given() if callable(given) else given
        if UNSUPPORTED.search(str(error)):
            dtypes = sorted({str(a.dtype) for a in known.values() if is_array(a)})
            raise DtypeError(
                f"{name}: its linear algebra does not take {', '.join(dtypes) or 'this dtype'}; convert to float32"
                f" or float64 ({error})"
            ) from None
        if theirs(error):
            raise
        kind: type[RefoptError] = ArgumentError
        if isinstance(error, np.linalg.LinAlgError):
            kind = ConvergenceError  # which ends a run as diverged
        elif isinstance(error, (TypeError, AttributeError)):
            kind = ArgumentTypeError
        raise kind(
            f"{name}: cannot be computed from {', '.join(f'{k} = {_form(v)}' for k, v in known.items())}"
            f" ({type(error).__name__}: {error})"
        ) from error


def theirs(error: BaseException) -> bool:
    """Tell whether an error came out of a function of the user's: a file that is neither refopt's nor a library's."""
    trace = error.__traceback__.tb_next if error.__traceback__ is not None else None
    while trace is not None:
        frame, path = trace.tb_frame, trace.tb_frame.f_code.co_filename
        # refopt's by the module's name: where its files lie depends on how it was installed.
        own = str(frame.f_globals.get("__name__", "")).partition(".")[0] == "refopt"
        # A path that is not absolute is of a compiled library's source.
        if (
            not own
            and os.path.isabs(path)
            and not path.startswith(_LIBRARIES)
            and "site-packages" not in path
        ):
            return True
        trace = trace.tb_next
    return False


def _form(value: Any) -> str:
    """Return an argument in a few words."""
    if is_array(value):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    text = repr(value) if isinstance(value, (bool, int, float, complex, str, type(None))) else ""
    return text if 0 < len(text) < 60 else f"a {type(value).__qualname__}"


def guarded_class(cls: type, name: str) -> None:
    """Guard the constructor of a registered class, and its start: flags, choices and seeds, and what array code says of the rest."""
    init: Any = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(init)
    checks = {p.name: check for p in signature.parameters.values() if (check := _check(p)) is not None}

    @functools.wraps(init)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            given = signature.bind(self, *args, **kwargs).arguments
        except TypeError as wrong:
            raise ArgumentTypeError(
                f"{name}: {wrong}. It takes: {', '.join([*signature.parameters][1:])}"
            ) from None
        given.pop("self", None)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            explained(init, name, given, (self, *args), kwargs)
        # After the constructor, which says more of what it looks at itself.
        for key, check in checks.items():
            if key in given:
                check(given[key], f"{name}: {key}")

    cls.__init__ = call  # type: ignore[misc]
    if (start := cls.__dict__.get("start")) is not None:

        @functools.wraps(start)
        def begin(self: Any, seed: Any = 0) -> Any:
            def numbers() -> dict[str, Any]:
                return {"seed": seed, **{k: v for k, v in vars(self).items() if isinstance(v, (int, float))}}

            return explained(start, f"{name}: start", numbers, (self, seed), {})

        cls.start = begin  # type: ignore[attr-defined]


def _unchecked(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call without a look at any value, so that the call can be traced and mapped over a batch."""
    before, CHECKING.on = CHECKING.on, False
    try:
        return function(*args, **kwargs)
    finally:
        CHECKING.on = before


def _claimed(answer: Any, finite: bool) -> list[Any]:
    """Return the arrays of an answer that must be finite: all of it, or of a result what it says has converged."""
    parts = [answer] if finite else []
    if getattr(answer, "status", "") == "converged":
        parts = [getattr(answer, key, None) for key in ("x", "plan", "cost")]
    return [part for part in parts if is_array(part)]


def _check(parameter: inspect.Parameter) -> Callable[[Any, str], None] | None:
    """Return what its name, default and annotation ask of an argument."""
    if parameter.name == "seed":
        return lambda value, label: check_number(value, SEEDS, label)
    if parameter.name == "callback":
        return _callback
    if parameter.annotation in (bool, "bool"):
        return _flag
    if parameter.annotation in (str, "str"):
        return _choice
    return None


def _callback(value: Any, label: str) -> None:
    if value is not None and not callable(value):
        raise ArgumentTypeError(f"{label}: wanted a callable or None, got {type(value).__qualname__}")


def _flag(value: Any, label: str) -> None:
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(f"{label}: wanted True or False, got {value!r}")


def _choice(value: Any, label: str) -> None:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{label}: wanted a str, got {type(value).__qualname__}")
