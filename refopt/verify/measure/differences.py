"""In what two fingerprints differ, and in which words it is said."""

from __future__ import annotations

import math
from collections.abc import Mapping

from refopt.verify.measure.experiments import words

# Of exact numbers: what rounding does to them is far less.
TOLERANCE = 1e-5

# The plainest first: a property that explains others stands before them.
ORDER = (
    "degree", "degree_tiny", "degree_huge", "odd", "shrink", "shrink_later", "row", "column", "leaf", "others",
    "turned", "place", "moved", "after", "tail", "step", "second", "steady", "alternating", "past", "past_later",
    "rate", "cut",
)  # fmt: skip


def alike(a: float, b: float) -> bool:
    """Tell whether two measured numbers are the same to rounding."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b), 1.0)


def differing(theirs: Mapping[str, float], ours: Mapping[str, float]) -> tuple[str, ...]:
    """Return the properties that both have and in which they differ, the plainest first."""
    return tuple(k for k in ORDER if k in theirs and k in ours and not alike(theirs[k], ours[k]))


def told(theirs: Mapping[str, float], ours: Mapping[str, float]) -> list[str]:
    """Return a line for every property in which they differ."""
    return [f"{words(k, theirs[k])}; the reference {ours[k]:.4g}." for k in differing(theirs, ours)]
