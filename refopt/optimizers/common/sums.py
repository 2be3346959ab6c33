"""Sums over all leaves."""

from __future__ import annotations

import math

from refopt.core.arrays import namespace
from refopt.core.params import Params, leaves


def sum_abs(x: Params) -> float:
    """Return the sum of absolute entries over all leaves, as a Python float."""
    return math.fsum(float(namespace(v).sum(namespace(v).abs(v))) for v in leaves(x).values())
