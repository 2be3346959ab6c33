"""What a problem answers is held to the form that it must have, where it enters."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from refopt.core.arrays import Array, all_finite, is_array, is_floating, namespace
from refopt.core.errors import ArgumentTypeError, CapabilityError, DtypeError, NonFiniteError, ShapeError
from refopt.core.params import Params, check_like, finite, leaves
from refopt.core.problem import Layer

T = TypeVar("T")


class NonFiniteAnswer(NonFiniteError, ArithmeticError):
    """A problem's answer has NaN or infinity; `minimize` ends the run as diverged."""

    def __str__(self) -> str:
        return f"{self.args[0]}: the problem answered NaN or infinity"


def number(answer: Any, asked: str) -> float:
    """Return an answer as a Python float (NaN and infinity are left to who asked), or raise."""
    try:
        return float(answer)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentTypeError(
            f"{_returned(asked, answer)}; wanted a number" if answer is not None else _forgot(asked)
        ) from None


def finite_number(answer: Any, asked: str) -> float:
    """Return an answer that must be a finite number as a Python float."""
    found = number(answer, asked)
    if not math.isfinite(found):
        raise NonFiniteAnswer(asked)
    return found


def a_kind_of(kind: type[T], answer: Any, asked: str) -> T:
    """Return an answer that must be an object of `kind`."""
    _given(answer, asked)
    if not isinstance(answer, kind):
        raise ArgumentTypeError(f"{_returned(asked, answer)}; wanted a {kind.__module__}.{kind.__qualname__}")
    return answer


def pair(answer: Any, asked: str, wanted: str = "a value and a gradient") -> tuple[Any, Any]:
    """Return an answer that must be two things."""
    first, second = several(answer, asked, 2, wanted)
    return first, second


def several(answer: Any, asked: str, count: int, wanted: str) -> tuple[Any, ...]:
    """Return an answer that must be so many things."""
    _given(answer, asked)
    if not isinstance(answer, (tuple, list)) or len(answer) != count:
        raise ArgumentTypeError(f"{_returned(asked, answer)}; wanted {wanted}")
    return tuple(answer)


def as_x(answer: Any, x: Params, asked: str) -> Params:
    """Return an answer that must be like x and finite."""
    _given(answer, asked)
    check_like(answer, x, asked)
    if not finite(answer):
        raise NonFiniteAnswer(asked)
    return answer


def bound(answer: Any, x: Params, asked: str) -> Params:
    """Return an answer that must be like x, each number finite or infinite."""
    _given(answer, asked)
    check_like(answer, x, asked)
    if any(bool(namespace(leaf).any(namespace(leaf).isnan(leaf))) for leaf in leaves(answer).values()):
        raise NonFiniteAnswer(asked)
    return answer


def as_array(answer: Any, asked: str, shape: tuple[int, ...] | None = None) -> Array:
    """Return an answer that must be one finite floating-point array, of `shape` where that is known."""
    _given(answer, asked)
    if not is_array(answer):
        raise ArgumentTypeError(f"{_returned(asked, answer)}; wanted an array")
    if not is_floating(answer):
        raise DtypeError(f"{asked}: wanted real floating-point numbers, got {answer.dtype}")
    if shape is not None and tuple(answer.shape) != shape:
        raise ShapeError(f"{asked}: wanted shape {shape}, got {tuple(answer.shape)}")
    if not all_finite(answer):
        raise NonFiniteAnswer(asked)
    return answer


def stack_of(answer: Any, x: Params, asked: str, count: int | None) -> Params:
    """Return an answer that must be like x, and finite, with a first axis for `count` examples."""
    _given(answer, asked)
    if isinstance(x, dict) != isinstance(answer, dict) or leaves(x).keys() != leaves(answer).keys():
        raise ArgumentTypeError(
            f"{_returned(asked, answer)}; wanted {'a dict with the names of x' if isinstance(x, dict) else 'one array'}"
        )
    for key, leaf in leaves(x).items():
        part, label = leaves(answer)[key], f"{asked}[{key!r}]" if key else asked
        first = count if count is not None else (tuple(getattr(part, "shape", ())) or (0,))[0]
        as_array(part, label, (first, *leaf.shape))
        if part.dtype != leaf.dtype:
            raise DtypeError(f"{label}: wanted dtype {leaf.dtype} like x, got {part.dtype}")
    return answer


def linear_layers(answer: Any, asked: str, positions: bool) -> list[Layer]:
    """Return an answer that must be a list of `Layer` with finite arrays, with a row an example unless `positions`."""
    _given(answer, asked)
    answer = list(answer) if isinstance(answer, (list, tuple)) else [answer]
    for layer in answer:
        if not isinstance(layer, Layer):
            raise ArgumentTypeError(f"{_returned(asked, layer)}; wanted refopt.core.problem.Layer objects")
        a = as_array(layer.inputs, f"{asked}: inputs of {layer.weight}")
        g = as_array(layer.output_grads, f"{asked}: output_grads of {layer.weight}")
        if a.ndim not in (2, 3) or a.shape[:-1] != g.shape[:-1]:
            raise ShapeError(
                f"{asked}: {layer.weight}: wanted inputs (B, in) or (B, T, in) and output_grads alike with (out), got"
                f" {tuple(a.shape)} and {tuple(g.shape)}"
            )
        if a.ndim == 3 and not positions:
            raise CapabilityError(
                f"{asked}: {layer.weight} is used at {a.shape[1]} positions of an example (a convolution), and this method"
                " is for layers that are used once; kfac, singd, ingd and kfac-factors take both"
            )
    return answer


def overflowed(state: Any) -> str:
    """Return the name of the first array of a state that has NaN or infinity, or an empty string.

    A square that overflowed stays infinite, and its coordinate never moves again.
    """
    for key, value in state.items():
        if isinstance(value, dict):
            inner = overflowed(value)
            if inner:
                return f"{key}.{inner}"
        elif is_array(value) and is_floating(value) and not all_finite(value):
            return str(key)
    return ""


def _given(answer: Any, asked: str) -> None:
    if answer is None:
        raise ArgumentTypeError(_forgot(asked))


def _forgot(asked: str) -> str:
    return f"{asked} returned None; is a `return` missing?"


def _returned(asked: str, answer: Any) -> str:
    return f"{asked} returned {type(answer).__module__}.{type(answer).__qualname__}".replace("builtins.", "")
