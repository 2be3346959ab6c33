"""The array engine: the rule on whole arrays, in whatever library they come from."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, namespace


def run(method: Any, arrays: list[Array], leaves: int, scalars: list[float], donate: bool) -> list[Array]:
    """Apply the rule to each leaf as array code; see `refopt.core.engines.Engine`."""
    rows = []
    for k in range(leaves):
        given = arrays[k::leaves]
        xp = namespace(given[0])
        out = method.rule(xp)(*given, *scalars)
        # A rule may hand on what it was given (the last gradient is a slot of Adan); the caller keeps its own.
        ours = 1 + len(method.given)
        rows.append([xp.asarray(a, copy=True) if any(a is b for b in given[:ours]) else a for a in out])
    return [a for column in zip(*rows) for a in column]
