"""Hyperparameters with ranges: declared once in a dataclass field, checked at construction."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Collection
from typing import Any

from refopt.core.errors import ArgumentError, ArgumentTypeError, HyperparameterError, nearest

Rate = float | Callable[[int], float]
# The kind of a hyperparameter that chooses leaves, and the classes of shapes that it may name.
CHOOSER = "str, sequence of str, or callable"
SHAPE_CLASSES = ("all", "none", "vectors", "matrices", "matrices-and-kernels")


def hyper(
    default: Any = dataclasses.MISSING,
    allowed: str | tuple[Any, ...] | None = None,
    words: str = "",
    *,
    kind: str = "",
) -> Any:
    """Declare a hyperparameter; one annotated as `Rate` may also be a function of the step ``t = 1, 2, ...``.

    Parameters
    ----------
    default
        Its default; left out, the hyperparameter must be given.
    allowed : str or tuple, optional
        An interval such as ``"[0, 1)"`` (``"int [1, inf)"`` for whole numbers), or the tuple of
        values to choose from; a flag needs none. ``None`` may always be given where it is the default.
    words : str
        What it is: the symbol in the formula, units, meaning. The documentation's Parameters are made
        from default, range and words (`refopt.core.document`).
    kind : str
        The type in words, where the range does not say it: ``"str, sequence of str, or callable"``.

    Returns
    -------
    dataclasses.Field
        Which a class's body takes as a default.
    """
    if isinstance(default, bool) and allowed is None:
        allowed = (True, False)
    return dataclasses.field(default=default, metadata={"allowed": allowed, "words": words, "kind": kind})


def is_rate(field: dataclasses.Field[Any]) -> bool:
    """Tell whether a hyperparameter may be a function of the step."""
    return field.type in (Rate, "Rate", "Rate | None")


def _short(value: Any) -> str:
    """Return a number in words: Python refuses to print whole numbers of thousands of digits."""
    return f"a number of {value.bit_length()} bits" if isinstance(value, int) else type(value).__qualname__


def _whole(text: str) -> float:
    """Return a bound of whole numbers exactly: 2**63 - 1 is no float."""
    return float(text) if "inf" in text else int(text)


def _interval(text: str) -> tuple[bool, float, float, bool, bool]:
    whole = text.startswith("int ")
    body = text.removeprefix("int ")
    low, high = ((_whole(part) if whole else float(part)) for part in body[1:-1].split(","))
    return whole, low, high, body[0] == "[", body[-1] == "]"


def check_number(value: Any, allowed: str, name: str) -> None:
    """Raise unless `value` is a number inside the interval `allowed` (see `hyper`)."""
    whole, low, high, closed_low, closed_high = _interval(allowed)
    kind = numbers.Integral if whole else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ArgumentTypeError(
            f"{name}: wanted {'an integer' if whole else 'a number'} in {allowed.removeprefix('int ')},"
            f" got {value!r}"
        )
    try:
        v: Any = float(value)  # a whole number that no float holds would fail wherever it is divided
        v = value if whole else v
    except OverflowError:  # a whole number or fraction beyond what a float holds
        raise ArgumentError(
            f"{name}: wanted a value in {allowed.removeprefix('int ')} that a float holds, got {_short(value)}"
        ) from None
    inside = (v >= low if closed_low else v > low) and (v <= high if closed_high else v < high)
    if not inside:  # NaN is in no interval
        raise ArgumentError(f"{name}: wanted a value in {allowed.removeprefix('int ')}, got {value!r}")


def check_rate(value: Any, name: str) -> float:
    """Return what a function of the step gave as a float, or raise unless it is a number of at least 0."""
    try:
        rate = float(value)
    except OverflowError:
        raise ArgumentError(f"{name}: wanted a finite number of at least 0, got {_short(value)}") from None
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"{name}: wanted a number, got {value!r}{'; is a `return` missing?' if value is None else ''}"
        ) from None
    if not 0.0 <= rate < math.inf:
        raise ArgumentError(f"{name}: wanted a finite number of at least 0, got {rate!r}")
    return rate


def check_chooser(value: Any, name: str) -> None:
    """Raise unless `value` can choose leaves: a class of shapes, names or patterns, or a function of name and leaf."""
    if isinstance(value, str):
        if value not in SHAPE_CLASSES:
            raise ArgumentError(
                f"{name}: wanted one of {', '.join(SHAPE_CLASSES)}, a list of names or a function, got {value!r}"
            )
    elif not callable(value) and not (
        isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(v, str) for v in value)
    ):
        raise ArgumentTypeError(f"{name}: wanted a name, a list of names or a function, got {value!r}")


def check_hyperparameters(method: Any) -> None:
    """Check every declared hyperparameter of a dataclass instance against its range."""
    owner = getattr(type(method), "registered_name", type(method).__name__)
    for field in dataclasses.fields(method):
        allowed, value = field.metadata.get("allowed"), getattr(method, field.name)
        if field.metadata.get("kind") == "Method" and not (value is None or hasattr(value, "own_needs")):
            raise ArgumentTypeError(f"{owner}: {field.name}: wanted a Method, got {value!r}")
        if field.metadata.get("kind") == CHOOSER:
            check_chooser(value, f"{owner}: {field.name}")
        if allowed is None or (value is None and field.default is None):
            continue
        label = f"{owner}: {field.name}"
        if is_rate(field) and callable(value):
            check_rate(value(1), f"{label}(1)")
            continue
        if isinstance(allowed, str):
            check_number(value, allowed, label)
        elif not any(value is a or (type(value) is type(a) and value == a) for a in allowed):
            raise ArgumentError(f"{label}: wanted one of {', '.join(map(repr, allowed))}, got {value!r}")


# What torch, optax and Keras call a thing, by refopt's word for it.
ELSEWHERE = {
    "learning_rate": "lr", "step_size": "lr", "eta": "lr", "wd": "weight_decay", "b1": "beta1", "b2": "beta2", "b3": "beta3",
    "beta_1": "beta1", "beta_2": "beta2", "epsilon": "eps", "alpha": "beta2", "decay": "beta2", "mu": "momentum",
}  # fmt: skip
# What is no hyperparameter of a method here.
OTHERWISE = {
    **dict.fromkeys(("max_grad_norm", "clip_norm", "clipnorm", "global_clipnorm", "grad_clip"),
        "The wrapper 'clip-norm' clips: base=, threshold="),
    "betas": "They are beta1 and beta2",
    "maximize": "Negate the objective",
    "amsgrad": "It is a method, 'amsgrad'",
    "nesterov": "It is a method, 'nesterov'",
}  # fmt: skip


def advice(name: str, known: Collection[str]) -> str:
    """Return what is meant by a name that the method does not have."""
    if name in OTHERWISE:
        return f" {OTHERWISE[name]}."
    return f" Here it is {ELSEWHERE[name]!r}." if ELSEWHERE.get(name) in known else nearest(name, known)


def check_known(cls: type, given: dict[str, Any], owner: str) -> None:
    """Raise `HyperparameterError` for a keyword that the dataclass `cls` does not have."""
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    for name in given:
        if name not in known:
            raise HyperparameterError(
                f"{owner} has no hyperparameter {name!r}.{advice(name, known)} It has: {', '.join(known)}"
            )
