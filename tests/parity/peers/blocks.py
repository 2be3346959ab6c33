"""adam-mini and scion beside their authors' code."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.parity.case import Arrays, Case
from tests.parity.makers import ours

SCION = "LIONS-EPFL/scion@f58a393"
NORMS = ("column", "row", "sign")


def partition(name: str, leaf: Any) -> str | int:
    """The names of the recorded run: w by row, b whole, k in two heads."""
    return {"w": "row", "b": "tensor", "k": 2}[name]


def _norms(seed: int) -> Arrays:
    out = {}
    for norm in NORMS:
        side = ours(
            "scion", dialect="official", kinds=("random",), shapes={"w": (3, 4)}, lr=0.05, alpha=0.3, radius=3.0,
            norm=norm,
        )  # fmt: skip
        out[norm] = np.asarray(side(seed)["random"])
    return out


CASES = [
    Case(
        "adam-mini", "official", "zyushun/Adam-mini@402aadf",
        ours("adam-mini", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1, blocks=partition), None,
    ),
    Case(
        "scion", "official", SCION,
        ours("scion", dialect="official", lr=0.05, alpha=0.3, radius=3.0, constrained=False), None,
    ),
    Case("scion", "official-norms", SCION, _norms, None),
]  # fmt: skip
