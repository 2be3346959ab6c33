"""timm's optimizers: its package needs torchvision at import, its optimizers do not."""

from __future__ import annotations

from typing import Any

from tests.parity.case import Case
from tests.parity.libraries import run_torch, timm_optimizer
from tests.streams import run_refopt, schedule

KINDS = ("random", "ill")


def _case(name: str, ours: dict[str, Any], module: str, cls: str, label: str = "timm", **theirs: Any) -> Case:
    def run(seed: int) -> Any:
        import torch

        # Some of its scalar states are of the default dtype.
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return run_torch(
                lambda p: timm_optimizer(module, cls)(p, lr=0.03, weight_decay=0.1, **theirs),
                seed,
                schedule,
                KINDS,
            )
        finally:
            torch.set_default_dtype(before)

    return Case(
        name, label, "timm",
        lambda seed: run_refopt(name, seed, KINDS, dialect="timm", schedule=schedule, lr=0.03, weight_decay=0.1, **ours), run,
    )  # fmt: skip


BETAS = {"beta1": 0.8, "beta2": 0.6, "eps": 1e-2}
ADAM = {"betas": (0.8, 0.6), "eps": 1e-2}

CASES = [
    _case("sgdw", {"momentum": 0.8, "dampening": 0.3}, "sgdw", "SGDW", momentum=0.8, dampening=0.3),
    _case("nadamw", {**BETAS}, "nadamw", "NAdamW", **ADAM),
    _case("nadam", {**BETAS}, "nadamw", "NAdamW", **ADAM),
    _case(
        "rmsprop",
        {"beta2": 0.8, "momentum": 0.5, "eps": 1e-2},
        "rmsprop_tf",
        "RMSpropTF",
        alpha=0.8,
        momentum=0.5,
        eps=1e-2,
    ),
    _case("novograd", {**BETAS}, "nvnovograd", "NvNovoGrad", **ADAM),
    _case(
        "madgrad",
        {"momentum": 0.8, "eps": 1e-2},
        "madgrad",
        "MADGRAD",
        momentum=0.8,
        eps=1e-2,
        decoupled_decay=True,
    ),
    _case("cautious-adamw", {**BETAS}, "adamw", "AdamWLegacy", **ADAM, caution=True),
]
