"""Data in Dask's blocks, larger than memory: what knows of Dask stands here.

Formulas run on Dask arrays as on others and make a graph; `in_numbers` computes it where a problem answers. A block is some rows
with all their features.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import scipy.sparse.linalg
from refopt.core.errors import ArgumentError, ArgumentTypeError, NonFiniteError, ShapeError
from refopt.core.problem import CAPABILITIES

Class = TypeVar("Class", bound=type)


def is_blocks(a: Any) -> bool:
    """Tell whether `a` is a Dask array, without importing Dask."""
    return hasattr(a, "__dask_graph__") and hasattr(a, "chunks")


def in_numbers(cls: Class) -> Class:
    """Let the capabilities that a class defines answer in numbers where its data are in blocks: one graph an answer."""

    def answering(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def answer(self: Any, *arguments: Any, **keywords: Any) -> Any:
            found = method(self, *arguments, **keywords)
            return computed(found) if is_blocks(self.inputs) else found

        return answer

    for name in (*CAPABILITIES, "predict"):
        if callable(method := cls.__dict__.get(name)):
            setattr(cls, name, answering(method))
    return cls


def computed(values: Any) -> Any:
    """Return the numbers of Dask arrays in tuples, lists, dicts and dataclasses, all from one graph."""
    import dask

    return dask.compute(values)[0]


def taken(inputs: Any, targets: Any) -> tuple[Any, Any]:
    """Return X in blocks of whole rows, float64 where it is computed, and y in the same blocks; nothing is read.

    Raises
    ------
    ArgumentTypeError, ArgumentError, ShapeError
        X is not in blocks, its chunks are unknown, or the shapes do not fit.
    """
    import dask.array as da

    if not is_blocks(inputs):
        raise ArgumentTypeError(f"data: y is a Dask array, so X must be one, got {type(inputs).__qualname__}")
    if not is_blocks(targets):
        targets = np.array(targets)
    for name, a in (("X", inputs), ("y", targets)):
        if any(isinstance(n, float) and math.isnan(n) for n in a.shape):
            raise ArgumentError(f"data: the chunks of {name} are unknown; call {name}.compute_chunk_sizes()")
    if inputs.ndim != 2 or 0 in inputs.shape or targets.shape[:1] != inputs.shape[:1]:
        raise ShapeError(
            f"data: wanted X of shape (n, d) and y of n entries, got {inputs.shape} and {targets.shape}"
        )
    inputs = inputs.rechunk({1: -1}).astype(np.float64)
    rows = inputs.chunks[0]
    if is_blocks(targets):
        return inputs, targets.rechunk({0: rows})
    return inputs, da.from_array(targets, chunks=(rows, *targets.shape[1:]))


def check_finite(inputs: Any, targets: Any) -> None:
    """Raise unless all is finite: one pass over the data."""
    import dask.array as da

    if not all(computed([da.isfinite(a).all() for a in (inputs, targets)])):
        raise NonFiniteError("data: contains NaN or infinity")


def class_indices(targets: Any) -> tuple[np.ndarray, Any]:
    """Return the sorted classes, from one pass over the targets, and each target's index among them, in blocks."""
    import dask.array as da

    classes = computed(da.unique(targets))
    return classes, targets.map_blocks(lambda block: np.searchsorted(classes, block), dtype=np.int64)


def one_hot(index: Any, classes: int) -> Any:
    """Return rows with a single 1 at `index`, in the same blocks."""
    return (index[:, None] == np.arange(classes)[None, :]).astype(np.float64)


def with_intercept(inputs: Any) -> Any:
    """Return inputs with a last feature of constant 1."""
    import dask.array as da

    ones = da.ones((inputs.shape[0], 1), chunks=(inputs.chunks[0], 1))
    return da.concatenate([inputs, ones], axis=1).rechunk({1: -1})


def top_singular_value(inputs: Any) -> float:
    """Return the largest singular value by Lanczos, to rounding: a pass over the data a product."""
    if min(inputs.shape) <= 2:
        short = inputs if inputs.shape[0] > inputs.shape[1] else inputs.T
        return math.sqrt(float(np.linalg.norm(computed(short.T @ short), 2)))
    operator = scipy.sparse.linalg.LinearOperator(
        inputs.shape, dtype=np.float64, matvec=lambda v: computed(inputs @ v.ravel()),
        rmatvec=lambda u: computed(inputs.T @ u.ravel()),
    )  # fmt: skip
    start = np.ones(min(inputs.shape))
    return float(scipy.sparse.linalg.svds(operator, 1, v0=start, return_singular_vectors=False)[0])
