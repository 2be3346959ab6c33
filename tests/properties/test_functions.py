"""Every plain function of the registry: bad arguments are told, typed, by name, without a word in its file."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core.registry import FUNCTIONS

FOUND = [m for m in refopt.methods() if m.kind in FUNCTIONS]
MATRIX = np.array([[2.0, 0.5], [0.5, 3.0]])
KINDS = {
    "masked": np.ma.masked_array(MATRIX, MATRIX > 2.5),
    "big-endian": MATRIX.astype(">f8"),
    "object": MATRIX.astype(object),
    "text": np.array([["a", "b"], ["c", "d"]]),
    "integers": MATRIX.astype(int),
}
# Finite differences and streams take no arrays first.
ARRAYS = [m for m in FOUND if next(iter(inspect.signature(m.obj).parameters)) not in ("problem", "systems")]


def _call(function: Any, first: Any, /, **more: Any) -> Any:
    """Call with `first` for every argument that must be given."""
    wanted = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*[first] * len(wanted), **more)


@pytest.mark.parametrize("method", FOUND, ids=[m.name for m in FOUND])
def test_keywords_seeds_flags_choices_callbacks(method: Any) -> None:
    """A keyword that it does not have, and values that its parameters' kinds do not take."""
    parameters = inspect.signature(method.obj).parameters.values()
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters)  # and tells of it when the others are right
    for name in () if takes_more else ("rtoll", "no_such_argument"):
        with pytest.raises(refopt.errors.RefoptError, match=name):
            _call(method.obj, MATRIX, **{name: 1})
    with pytest.raises(refopt.errors.ArgumentTypeError, match=method.name):
        method.obj()
    for p in parameters:
        bad: tuple[Any, ...] = ()
        if p.name == "seed":
            bad = (-1, 2**64, None, "x", 1.5, np.nan, True)
        elif p.name == "callback":
            bad = (3, "print")
        elif p.annotation in ("bool", bool):
            bad = ("no", 1, None, np.ones(2))
        elif p.annotation in ("str", str):
            bad = (np.ones(3), 3, None, ["l2"])
        for value in bad:
            with pytest.raises(refopt.errors.RefoptError, match=p.name):
                _call(method.obj, MATRIX, **{p.name: value})


@pytest.mark.parametrize("method", ARRAYS, ids=[m.name for m in ARRAYS])
@pytest.mark.parametrize("kind", KINDS)
def test_array_kinds_are_refused(method: Any, kind: str) -> None:
    """Masked, foreign-endian, object, text and integer arrays: one clear word each."""
    with pytest.raises(refopt.errors.RefoptError):
        _call(method.obj, KINDS[kind])


@pytest.mark.parametrize("method", ARRAYS, ids=[m.name for m in ARRAYS])
@pytest.mark.parametrize("dtype", ["float16", "longdouble"])
def test_rare_dtypes_are_taken_or_told(method: Any, dtype: str) -> None:
    """float16 and long double: an answer without NaN, or an error of refopt."""
    try:
        answer = _call(method.obj, MATRIX.astype(dtype))
    except refopt.errors.RefoptError:
        return
    assert not isinstance(answer, np.ndarray) or np.all(np.isfinite(answer))
