"""Parameters: one array, or a flat dict of named arrays. Everything here treats both alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.arrays import (
    Array,
    all_finite,
    check_array,
    detached,
    is_array,
    is_floating,
    like,
    namespace,
    safe_root,
    to_numpy,
)
from refopt.core.errors import ArgumentTypeError, DtypeError, NonFiniteError, ShapeError
from refopt.core.forms import form_of

Params = Any  # Array | dict[str, Array]


def leaves(x: Params) -> dict[str, Array]:
    """Return the named arrays of `x`; a single array has the name ``""``."""
    return x if isinstance(x, dict) else {"": x}


def rebuild(like_this: Params, new: dict[str, Array]) -> Params:
    """Give `new` (named arrays) the form of `like_this`: a dict, or the one array."""
    return dict(new) if isinstance(like_this, dict) else new[""]


def map_leaves(fn: Callable[..., Array], x: Params, *others: Params) -> Params:
    """Apply `fn` leaf by leaf to parameters of equal structure."""
    if not isinstance(x, dict):
        return fn(x, *others)
    return {k: fn(v, *(o[k] for o in others)) for k, v in x.items()}


def copied(x: Params) -> Params:
    """Return a copy: of what is kept while others may write into it."""
    return map_leaves(lambda a: namespace(a).asarray(a, copy=True), x)


def without_graph(x: Params) -> Params:
    """Return parameters without torch's graph of them (`refopt.core.arrays.detached`)."""
    first = next(iter(x.values())) if isinstance(x, dict) else x
    return x if type(first) is np.ndarray else map_leaves(detached, x)


def zeros_like(x: Params) -> Params:
    """Return zeros of the structure, shapes and dtypes of `x`."""
    return map_leaves(lambda a: namespace(a).zeros_like(a), x)


def full_like(x: Params, value: float) -> Params:
    """Return arrays like `x`, filled with `value`."""
    return map_leaves(lambda a: namespace(a).full_like(a, value), x)


def axpy(a: float, x: Params, y: Params) -> Params:
    """Return ``a * x + y``."""
    return map_leaves(lambda u, v: a * u + v, x, y)


def scale(a: float, x: Params) -> Params:
    """Return ``a * x``."""
    return map_leaves(lambda u: a * u, x)


def subtract(x: Params, y: Params) -> Params:
    """Return ``x - y``."""
    return map_leaves(lambda u, v: u - v, x, y)


def dot(x: Params, y: Params) -> float:
    """Return the inner product over all leaves, as a Python float."""
    ys = leaves(y)
    return math.fsum(float(namespace(v).sum(v * ys[k])) for k, v in leaves(x).items())


def norm(x: Params) -> float:
    """Return the Euclidean norm over all leaves, as a Python float."""
    first = next(iter(leaves(x).values()))

    def squares(unit: float) -> float:
        part = x if unit == 1.0 else map_leaves(lambda a: a / unit, x)
        return dot(part, part)

    return safe_root(squares, lambda: max_abs(x), first.dtype, namespace(first))


def max_abs(x: Params) -> float:
    """Return the largest absolute entry over all leaves, as a Python float."""
    return max(float(namespace(v).max(namespace(v).abs(v))) for v in leaves(x).values())


def size(x: Params) -> int:
    """Return the number of parameters."""
    return sum(math.prod(v.shape) for v in leaves(x).values())


def nbytes(x: Params) -> int:
    """Return how many bytes the leaves have."""
    xps = {k: namespace(leaf) for k, leaf in leaves(x).items()}
    return sum(math.prod(leaf.shape) * xps[k].finfo(leaf.dtype).bits // 8 for k, leaf in leaves(x).items())


def finite(x: Params) -> bool:
    """Tell whether every entry of every leaf is finite."""
    return all(all_finite(v) for v in leaves(x).values())


def flatten(x: Params) -> np.ndarray:
    """Return all leaves as one NumPy vector, in the dict's order."""
    return np.concatenate([to_numpy(v).ravel() for v in leaves(x).values()])


def unflatten(vector: np.ndarray, reference: Params) -> Params:
    """Return the NumPy `vector` in the structure, library and dtype of `reference`."""
    out, start = {}, 0
    for name, leaf in leaves(reference).items():
        stop = start + math.prod(leaf.shape)
        out[name] = like(vector[start:stop].reshape(leaf.shape), leaf)
        start = stop
    return rebuild(reference, out)


def check_start(x: Any, name: str = "x0") -> Params:
    """Return a start point as parameters in the form that methods know, or raise an error that names the leaf.

    Raises
    ------
    ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        Not arrays; integer dtypes; empty; NaN or infinity.
    """
    form = form_of(x, name)
    if form is not None:
        x = form.inside(x)
    if isinstance(x, dict):
        if not x:
            raise ShapeError(f"{name}: is an empty dict; wanted at least one named array")
        for key in x:
            if not isinstance(key, str):
                raise ArgumentTypeError(f"{name}: keys must be str, got {key!r}")
        out = {k: check_array(v, f"{name}[{k!r}]") for k, v in x.items()}
    else:
        out = {"": check_array(x, name)}
    for key, leaf in out.items():
        if math.prod(leaf.shape) == 0:
            raise ShapeError(f"{name}{f'[{key!r}]' if key else ''}: is empty, shape {tuple(leaf.shape)}")
    return rebuild(x if isinstance(x, dict) else None, {k: detached(v) for k, v in out.items()})


def only(tree: Any, names: set[str], kept: set[str]) -> Any:
    """Return a part of a state cut down to the leaves `kept`: every dict by leaves of x, whose `names` are given, loses the others."""
    if not isinstance(tree, dict):
        return tree
    if tree and tree.keys() <= names:
        return {k: v for k, v in tree.items() if k in kept}
    return {k: only(v, names, kept) for k, v in tree.items()}


def merged(old: Any, new: Any, names: set[str]) -> Any:
    """Return `new` with what it lacks of `old`, which `only` had cut off."""
    if not isinstance(new, dict) or not isinstance(old, dict):
        return new
    if old and old.keys() <= names:
        return {k: new.get(k, v) for k, v in old.items()}
    return {k: merged(old.get(k), v, names) for k, v in new.items()}


def is_params(x: Any) -> bool:
    """Tell whether `x` looks like parameters at a glance: an array, or a dict of arrays, of floating-point numbers."""
    for leaf in x.values() if isinstance(x, dict) else (x,):
        if type(leaf) is np.ndarray:
            if leaf.dtype.kind not in "fO":
                return False
        elif not is_array(leaf) or not is_floating(leaf):
            return False
    return True


def _is_like(value: Any, leaf: Array) -> bool:
    """Tell whether `value` is an array of the type, shape and dtype of `leaf`, as on most steps."""
    return type(value) is type(leaf) and value.dtype is leaf.dtype and value.shape == leaf.shape


def _library(xp: Any) -> str:
    return str(xp.__name__).removeprefix("array_api_compat.").split(".")[0]


def check_like(value: Any, x: Params, name: str, *, finite_values: bool = False) -> Params:
    """Check that `value` has the structure, shapes and dtypes of `x`.

    Raises
    ------
    ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
    """
    if not isinstance(x, dict) and _is_like(value, x) and not finite_values:
        return value
    if isinstance(x, dict) != isinstance(value, dict):
        wanted = "a dict of arrays" if isinstance(x, dict) else "one array"
        raise ArgumentTypeError(f"{name}: wanted {wanted} like x, got {type(value).__qualname__}")
    ref, got = leaves(x), leaves(value)
    if ref.keys() != got.keys():
        missing, extra = sorted(ref.keys() - got.keys()), sorted(got.keys() - ref.keys())
        raise ShapeError(f"{name}: its names differ from x's: missing {missing}, unknown {extra}")
    for key, leaf in ref.items():
        other = got[key]
        if _is_like(other, leaf) and not finite_values:
            continue
        label = f"{name}[{key!r}]" if key else name
        if not is_array(other):
            raise ArgumentTypeError(f"{label}: wanted an array, got {type(other).__qualname__}")
        if (theirs := namespace(other)) is not (wanted := namespace(leaf)):
            raise ArgumentTypeError(
                f"{label}: wanted an array of {_library(wanted)} like x, got one of {_library(theirs)}"
            )
        if tuple(other.shape) != tuple(leaf.shape):
            raise ShapeError(f"{label}: wanted shape {tuple(leaf.shape)} like x, got {tuple(other.shape)}")
        if other.dtype != leaf.dtype:
            raise DtypeError(f"{label}: wanted dtype {leaf.dtype} like x, got {other.dtype}")
        if finite_values and not all_finite(other):
            raise NonFiniteError(f"{label}: contains NaN or infinity")
    return value
