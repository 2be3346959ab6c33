"""The array engine: the rule on whole arrays, in whatever library they come from."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.errors import DtypeError, ShapeError


def run(method: Any, arrays: list[Array], leaves: int, scalars: list[float], donate: bool) -> list[Array]:
    """Apply the rule to each leaf as array code; see `refopt.core.engines.Engine`."""
    rows = []
    for k in range(leaves):
        given = arrays[k::leaves]
        x = given[0]
        xp = namespace(x)
        if method.elementwise and [a.shape for a in given].count(x.shape) != len(given):
            shapes = ", ".join(str(tuple(a.shape)) for a in given)
            raise ShapeError(f"s: is no state of x, whose shape is {tuple(x.shape)}: got {shapes}")
        out = method.rule(xp)(*given, *scalars)
        if out[0].dtype != x.dtype or out[0].shape != x.shape:
            raise DtypeError(
                f"s: is no state of x, which is {x.dtype} of shape {tuple(x.shape)}: the step would be"
                f" {out[0].dtype} of shape {tuple(out[0].shape)}"
            )
        # A rule may hand on what it was given (the last gradient is a slot of Adan); the caller keeps its own.
        theirs = set(map(id, given[: 1 + len(method.given)]))
        rows.append([xp.asarray(a, copy=True) if id(a) in theirs else a for a in out])
    return [a for column in zip(*rows) for a in column]
