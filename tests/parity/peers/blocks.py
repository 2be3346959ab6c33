"""adam-mini and scion beside their authors' code."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.parity.case import Arrays, Case
from tests.parity.makers import ours, torch_side

SCION = "LIONS-EPFL/scion@f58a393"
NORMS = ("column", "row", "sign")
KERNELS = {"wide": (4, 2, 3, 1), "tall": (9, 2, 1, 2), "line": (3, 2, 5)}


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


def _kozistr(seed: int) -> Arrays:
    """pytorch_optimizer's SCION with its Newton-Schulz in float64 in place of bfloat16."""
    import functools

    import torch
    from pytorch_optimizer.optimizer import scion

    cast = scion.zero_power_via_newton_schulz_5
    scion.zero_power_via_newton_schulz_5 = functools.partial(cast, dtype=torch.float64)
    try:
        return torch_side("SCION", lr=0.05, momentum=0.3, scale=3.0)(seed)
    finally:
        scion.zero_power_via_newton_schulz_5 = cast


CASES = [
    Case(
        "adam-mini", "official", "zyushun/Adam-mini@402aadf",
        ours("adam-mini", lr=0.03, beta1=0.8, beta2=0.6, eps=1e-2, weight_decay=0.1, blocks=partition), None,
        says="The authors' code v1.1.1, leaves by row, by head and whole, with decay and a schedule, 200 steps, to 1e-12.",
    ),
    Case(
        "scion", "official", SCION,
        ours("scion", dialect="official", lr=0.05, alpha=0.3, radius=3.0, constrained=False), None,
        says="The authors' code (Auto) without its bfloat16 cast, with averaging and a schedule, 200 steps, to 1e-12.",
    ),
    Case("scion", "official-norms", SCION, _norms, None, says="The authors' column, row and sign norms on a matrix, 200 steps each, to 1e-12."),
    Case(
        "scion", "official-kernels", SCION,
        ours("scion", shapes=KERNELS, dialect="official", lr=0.05, alpha=0.3, radius=3.0, constrained=False), None,
        says="The authors' code on kernels that are not square and of three axes, unconstrained, 200 steps on two streams, to 1e-12.",
    ),
    Case(
        "scion", "kozistr", "pytorch-optimizer",
        ours("scion", dialect="kozistr", lr=0.05, alpha=0.3, radius=3.0), _kozistr,
        says="pytorch_optimizer.SCION without its bfloat16 cast, matrix, kernel and vector, 200 steps on two streams, to 1e-12.",
    ),
]  # fmt: skip
