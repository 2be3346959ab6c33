"""torch.optim on the CPU: FORM is ``fused``, ``foreach`` or ``single``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from asv_bench.sides import Key

FORM = "fused"
CLASSES = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "adagrad": "Adagrad", "muon": "Muon"}
FORMS = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "single": {"foreach": False},
    # Muon's Newton-Schulz as shipped (it casts to bfloat16), and in the parameters' own dtype.
    "bfloat16": {},
    "own-dtype": {},
}


def parameters(key: Key) -> list[Any]:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    out = []
    for x, g in zip(key.arrays(0), key.arrays(1)):
        p = torch.nn.Parameter(torch.from_numpy(x))
        p.grad = torch.from_numpy(g)
        out.append(p)
    return out


def build(key: Key) -> tuple[Callable[[], Any], int]:
    import torch

    if FORM == "own-dtype":
        torch.Tensor.bfloat16 = torch.Tensor.clone  # type: ignore[method-assign,assignment]
    return getattr(torch.optim, CLASSES[key.method])(parameters(key), **FORMS[FORM]).step, 1
