"""The array engine: the rule on whole arrays, in whatever library they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import device

from refopt.core.arrays import Array, namespace
from refopt.core.errors import DtypeError, ShapeError

# Leaves of no more entries go through an elementwise rule as one: there a call costs more than its arithmetic.
# NumPy's calls are too cheap for that.
SMALL = 1 << 14


def run(method: Any, arrays: list[Array], leaves: int, scalars: list[float], donate: bool) -> list[Array]:
    """Apply the rule to each leaf as array code; see `refopt.core.engines.Engine`."""
    if leaves == 1:
        _check_forms(method, arrays)
        return _apply(method, arrays, scalars)
    columns = [arrays[k : k + leaves] for k in range(0, len(arrays), leaves)]
    for parts in zip(*columns):
        _check_forms(method, parts)
    out: list[list[Array]] = []
    for pack in _packs(columns) if method.elementwise else [[k] for k in range(leaves)]:
        if len(pack) == 1:
            new = [[a] for a in _apply(method, [column[pack[0]] for column in columns], scalars)]
        else:
            given = [[column[k] for k in pack] for column in columns]
            new = [_cut(a, given[0]) for a in _apply(method, [_joined(column) for column in given], scalars)]
        out = out or [[None] * leaves for _ in new]
        for column, values in zip(out, new):
            for k, value in zip(pack, values):
                column[k] = value
    return [a for column in out for a in column]


def _apply(method: Any, given: list[Array], scalars: list[float]) -> list[Array]:
    """Return the rule's arrays, none of which is x or what is given besides."""
    x, xp = given[0], namespace(given[0])
    out = method.rule(xp)(*given, *scalars)
    if out[0].dtype != x.dtype or out[0].shape != x.shape:
        raise DtypeError(
            f"s: is no state of x, which is {x.dtype} of shape {tuple(x.shape)}: the step would be"
            f" {out[0].dtype} of shape {tuple(out[0].shape)}"
        )
    # A rule may hand on what it was given (the last gradient is a slot of Adan); the caller keeps its own.
    theirs = set(map(id, given[: 1 + len(method.given)]))
    return [xp.asarray(a, copy=True) if id(a) in theirs else a for a in out]


def _check_forms(method: Any, parts: Sequence[Array]) -> None:
    if not method.elementwise:
        return
    x = parts[0]
    if [a.shape for a in parts].count(x.shape) != len(parts):
        shapes = ", ".join(str(tuple(a.shape)) for a in parts)
        raise ShapeError(f"s: is no state of x, whose shape is {tuple(x.shape)}: got {shapes}")
    if [a.dtype for a in parts].count(x.dtype) != len(parts):
        raise DtypeError(
            f"s: is no state of x, which is {x.dtype}: got {', '.join(str(a.dtype) for a in parts)}"
        )


def _packs(columns: list[list[Array]]) -> list[list[int]]:
    """Return which leaves go through the rule together: the small ones of one library, device and dtypes."""
    packs: dict[Any, list[int]] = {}
    for k, x in enumerate(columns[0]):
        small = type(x) is not np.ndarray and math.prod(x.shape) <= SMALL
        key = (type(x), device(x), *[column[k].dtype for column in columns]) if small else k
        packs.setdefault(key, []).append(k)
    return list(packs.values())


def _joined(parts: list[Array]) -> Array:
    return namespace(parts[0]).concat([_reshaped(a, (-1,)) for a in parts])


def _cut(joined: Array, like: list[Array]) -> list[Array]:
    """Return the parts of one vector, as views, in the shapes of `like`."""
    out, start = [], 0
    for a in like:
        stop = start + math.prod(a.shape)
        out.append(_reshaped(joined[start:stop], a.shape))
        start = stop
    return out


def _reshaped(a: Array, shape: tuple[int, ...]) -> Array:
    if a.ndim == len(shape) == 1:
        return a
    # The method, where there is one: array-api-compat's function costs more than the view.
    return a.reshape(shape) if hasattr(a, "reshape") else namespace(a).reshape(a, tuple(shape))
