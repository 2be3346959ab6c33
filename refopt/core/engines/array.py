"""The array engine: the rule on whole arrays, in whatever library they come from."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, namespace


def run(method: Any, inputs: list[list[Array]], scalars: list[float], donate: bool) -> list[list[Array]]:
    """Apply the rule to each leaf as array code; see `refopt.core.engines.Engine`."""
    return [list(method.rule(namespace(leaf[0]))(*leaf, *scalars)) for leaf in inputs]
