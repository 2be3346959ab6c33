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
    """Masked, foreign-endian, object, text and integer arrays: one clear word each; systems take integers, as SciPy."""
    if kind == "integers" and method.name in ("cg", "pcg"):
        assert _call(method.obj, KINDS[kind]).x.dtype == np.float64
        return
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


@pytest.mark.parametrize("method", ARRAYS, ids=[m.name for m in ARRAYS])
def test_a_second_device(method: Any) -> None:
    """What runs on array-api-strict runs on its second device, and answers there."""
    strict = pytest.importorskip("array_api_strict")
    answers = []
    for device in (strict.Device("CPU_DEVICE"), strict.Device("device1")):
        try:
            answers.append(_plain_call(method, strict, device))
        except refopt.errors.RefoptError as error:
            answers.append(str(error))
    if isinstance(answers[0], str):
        assert answers[1] == answers[0]
    else:
        assert {str(a.device) for a in answers[1]} == {"array_api_strict.Device('device1')"}


def _plain_call(method: Any, xp: Any, device: Any) -> list[Any]:
    """Call with what an argument's name says that it is; return the arrays of the answer."""
    vector = np.array([0.25, 0.75])
    by_name = {
        "a": vector, "b": vector, "reg": 0.5, "reg_a": 0.5, "K": np.ones((2, 2, 3, 3)), "terms": np.stack([MATRIX, np.eye(2)]),
        "training": np.array([[0.2, 0.2], [1.0, 1.0], [0.5, 0.7]]), "query": vector, "X": MATRIX @ MATRIX.T,
        "noise": 0.5, "rank": 1, "mask": np.ones((2, 2)), "inputs": np.stack([MATRIX, MATRIX]),
        "C": MATRIX if method.kind == "transport" or "lyapunov" in method.name else np.stack([MATRIX, MATRIX]),
    }  # fmt: skip
    given = [
        by_name.get(p.name, MATRIX)
        for p in inspect.signature(method.obj).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    # A walk of ten thousand steps is as good in twenty.
    fewer = {"steps": 20} if "burn_in" in inspect.signature(method.obj).parameters else {}
    arrays = [xp.asarray(v, device=device) if isinstance(v, np.ndarray) else v for v in given]
    answer = method.obj(*arrays, **fewer)
    if not isinstance(answer, tuple):
        answer = (answer,) if hasattr(answer, "device") else tuple(vars(answer).values())
    parts = [v for part in answer for v in (part.values() if isinstance(part, dict) else (part,))]
    return [v for v in parts if hasattr(v, "device") and not isinstance(v, np.ndarray)]
