"""shampoo beside pytorch_optimizer and jettify's package."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.makers import ours, torch_side

COMMON = {"lr": 0.05, "eps": 1.0, "momentum": 0.3, "weight_decay": 0.1}
RANDOM = ("random",)

CASES = [
    Case(
        "shampoo", "kozistr", "pytorch-optimizer",
        ours("shampoo", dialect="kozistr", kinds=RANDOM, **COMMON),
        torch_side("Shampoo", kinds=RANDOM, lr=0.05, matrix_eps=1.0, momentum=0.3, weight_decay=0.1),
        says="pytorch_optimizer.Shampoo with its odd momentum and decay, 200 steps on leaves of one to four axes, to 1e-12.",
    ),
    Case(
        "shampoo", "jettify", "jettify/pytorch-optimizer@19c3e41",
        ours("shampoo", dialect="jettify", kinds=RANDOM, **COMMON), None,
        says="jettify/pytorch-optimizer's Shampoo with momentum and decay, 200 steps, to 1e-12.",
    ),
]  # fmt: skip
