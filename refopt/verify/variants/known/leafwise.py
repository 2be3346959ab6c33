"""Faults of what a whole leaf has in common: its second moment, its trust ratio, its blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.optimizers.common import averages
from refopt.optimizers.common.trust import leaf_norm
from refopt.verify.variants.deviation import Around, altered, deviation, fields, rewritten, with_shared
from refopt.verify.variants.known.averages_and_roots import count_averages, nth


def _one_number(norm: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Average one number a leaf in place of the squares; what stands around keeps the leaves apart."""

    def change(method: Any) -> Any:
        calls = count_averages(method)
        if calls < 2:
            return None

        def ema(average: Any, new: Any, beta: Any, complement: Any) -> Any:
            return averages.ema(average, norm(new) * np.ones_like(new), beta, complement)

        changed = with_shared(method, "ema", lambda m: nth(1, ema, calls))
        return None if changed is None else Around(changed)

    return change


deviation(
    "second-average-of-the-leaf", "with the mean of the whole leaf's squares in its second average", stage="text"
)(_one_number(np.mean))  # fmt: skip


deviation(
    "second-average-of-the-norm", "with the leaf's squared norm in its second average", stage="text"
)(_one_number(np.sum))  # fmt: skip


def _ratio(change: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda method: with_shared(method, "trust_ratio", lambda m: change)


def _unguarded(size: Any, denominator: Any) -> Any:
    return size / denominator


def _unguarded_ratio(method: Any) -> Any:
    """Take the guard out of LAMB's ratio, or of LARS's."""
    if not hasattr(method, "_local"):
        return _ratio(_unguarded)(method)

    def local(self: Any, w: Any, g: Any, u: Any, rate: float) -> Any:
        size = leaf_norm(w)
        below = leaf_norm(u) if self.joint else leaf_norm(g) + self.weight_decay * size
        return self.trust * size / (below + self.eps)

    return rewritten(method, _local=local)


def _stuck(size: Any, denominator: Any) -> Any:
    return np.where(denominator > 0.0, size / np.where(denominator > 0.0, denominator, 1.0), 0.0)


deviation(
    "ratio-unguarded", "with its ratio also where the leaf's or the step's norm is zero: a leaf that starts at zero stays there",
    stage="text", seen=("pytorch-lamb 1.0.0",),
)(_unguarded_ratio)  # fmt: skip


deviation(
    "ratio-zero-where-a-norm-is",
    "with a ratio of zero where the leaf's or the step's norm is zero",
    stage="text",
)(_ratio(_stuck))


def _blocks(blocks: str) -> Callable[[Any], Any]:
    return lambda method: altered(method, blocks=blocks) if "blocks" in fields(method) else None


for _name, _words in (("tensor", "a leaf"), ("row", "a row"), ("entry", "an entry")):
    deviation(
        f"blocks={_name}", f"with one second moment {_words}", stage="settings", only=("adam-mini",)
    )(_blocks(_name))  # fmt: skip
