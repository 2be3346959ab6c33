"""pytorch_optimizer (kozistr), on the CPU, with its foreach kernels where it has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from asv_bench.sides import Key
from asv_bench.sides.torch_side import parameters

FORM = ""
CLASSES = {
    "adan": "Adan", "ademamix": "AdEMAMix", "lion": "Lion", "muon": "Muon", "shampoo": "Shampoo", "soap": "SOAP",
}  # fmt: skip
PERIOD = 10  # of SOAP's refresh
# Both sides compute Shampoo's roots at every step, and SOAP's bases at every tenth.
ARGUMENTS = {"shampoo": {"preconditioning_compute_steps": 1}, "soap": {"precondition_frequency": PERIOD}}


def build(key: Key) -> tuple[Callable[[], Any], int]:
    import pytorch_optimizer
    import torch

    cls = getattr(pytorch_optimizer, CLASSES[key.method])
    arguments: dict[str, Any] = dict(ARGUMENTS.get(key.method, {}))
    if "foreach" in inspect.signature(cls).parameters:
        arguments["foreach"] = True
    group: Any = parameters(key)
    if key.method == "muon":
        group = [{"params": group, "use_muon": True}]
    if FORM == "own-dtype":
        torch.Tensor.bfloat16 = torch.Tensor.clone  # type: ignore[method-assign,assignment]
    o = cls(group, **arguments)
    if key.method != "soap":
        return o.step, 1

    def period() -> None:
        for _ in range(PERIOD):
            o.step()

    return period, PERIOD
