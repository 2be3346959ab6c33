"""The array engine: the rule on whole arrays, in whatever library they come from."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, namespace


def run(method: Any, arrays: list[Array], leaves: int, scalars: list[float], donate: bool) -> list[Array]:
    """Apply the rule to each leaf as array code; see `refopt.core.engines.Engine`."""
    rows = [method.rule(namespace(arrays[k]))(*arrays[k::leaves], *scalars) for k in range(leaves)]
    return [a for column in zip(*rows) for a in column]
