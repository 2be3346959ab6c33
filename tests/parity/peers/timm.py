"""The timm dialects beside timm's optimizers, recorded from its repository."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.peers.adaptive import ours

PEER = "huggingface/pytorch-image-models@aa4b585"
ADAM = {"lr": 0.03, "beta1": 0.8, "beta2": 0.6, "eps": 1e-2, "weight_decay": 0.1}

CASES = [
    Case(
        "rmsprop", "timm", PEER,
        ours("rmsprop", ("random",), dialect="timm", lr=0.03, beta2=0.7, momentum=0.8, weight_decay=0.1, eps=1e-2),
        None,
    ),
    Case("nadam", "timm", PEER, ours("nadam", ("random",), dialect="timm", **ADAM), None),
    Case(
        "madgrad", "timm", PEER,
        ours("madgrad", ("random",), dialect="timm", lr=0.03, momentum=0.8, eps=1e-2, weight_decay=0.1), None,
    ),
    Case(
        "novograd", "timm", PEER, ours("novograd", ("random",), dialect="timm", grad_averaging=True, **ADAM), None,
        rtol=2e-8, why="timm keeps the average of squared norms in float32",
    ),
]  # fmt: skip
