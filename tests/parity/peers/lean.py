"""sgd-sai, scale, conda and spam beside their authors' code, stable-spam beside pytorch_optimizer."""

from __future__ import annotations

import refopt

from tests.parity.case import Case
from tests.parity.makers import ours, torch_side
from tests.streams import schedule

BETAS = {"beta1": 0.8, "beta2": 0.6}
LAYERS = {"w": (3, 4), "h": (4, 3), "b": (5,)}
MATRICES = {"w": (3, 5), "s": (4, 4), "t": (5, 3)}
ONE = ("random",)

# What the recorded run gave the vector.
VECTORS = refopt.optimizer(
    "adamw", dialect="official", lr=0.01, eps=1e-2, weight_decay=0.1, decay="decoupled", schedule=schedule
)

CASES = [
    Case(
        "sgd-sai", "official", "AnonymousAlethiometer/SGD_SaI@e213080",
        ours("sgd-sai", dialect="official", lr=0.03, momentum=0.8, eps=1e-2, weight_decay=0.1), None,
    ),
    Case(
        "scale", "official", "OptimAI-Lab/Minimalist_LLM_Pretraining@f5bd4e7",
        ours(
            "scale", dialect="official", kinds=ONE, shapes=LAYERS, lr=0.03, momentum=0.8, last_layer=["h"],
            weight_decay=0.1, others=VECTORS,
        ),
        None,
    ),
    Case(
        "conda", "official", "jie040109/Conda@449af71",
        ours(
            "conda", kinds=ONE, shapes=MATRICES, lr=0.03, eps=1e-2, scale=0.25, update_every=15,
            weight_decay=0.1, **BETAS,
        ),
        None,
    ),
    Case(
        "spam", "official", "TianjinYellow/SPAM-Optimizer@e8185fb",
        ours(
            "spam", lr=0.03, eps=1e-2, weight_decay=0.1, threshold=2.0, reset_every=50, warmup=12,
            clip_after=5, **BETAS,
        ),
        None,
    ),
    Case(
        "stable-spam", "kozistr", "pytorch-optimizer",
        ours("stable-spam", lr=0.03, eps=1e-2, weight_decay=0.1, gamma3=0.9, reset_every=30, **BETAS),
        torch_side(
            "StableSPAM", lr=0.03, betas=(0.8, 0.6), eps=1e-2, weight_decay=0.1, gamma1=0.7, gamma2=0.9,
            theta=0.9, update_proj_gap=30,
        ),
    ),
]  # fmt: skip
