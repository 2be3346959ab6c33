"""shampoo beside pytorch_optimizer and jettify's package."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.makers import ours, torch_side

# A matrix with more columns than rows has a Gram sum of full rank along its rows alone until enough
# gradients have come; eps keeps the rest well conditioned.
WHY = (
    "inverse roots by SVD there, by eigh here: eps_machine times the condition number of the sums, up to 1e6"
)
COMMON = {"lr": 0.05, "eps": 1.0, "momentum": 0.3, "weight_decay": 0.1}
RANDOM = ("random",)

CASES = [
    Case(
        "shampoo", "kozistr", "pytorch-optimizer",
        ours("shampoo", dialect="kozistr", kinds=RANDOM, **COMMON),
        torch_side("Shampoo", kinds=RANDOM, lr=0.05, matrix_eps=1.0, momentum=0.3, weight_decay=0.1),
        rtol=1e-9, why=WHY,
    ),
    Case(
        "shampoo", "jettify", "jettify/pytorch-optimizer@19c3e41",
        ours("shampoo", dialect="jettify", kinds=RANDOM, **COMMON), None, rtol=1e-9, why=WHY,
    ),
]  # fmt: skip
