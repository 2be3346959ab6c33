"""The keras dialects beside Keras 3.16 (torch backend, float64), recorded from its repository."""

from __future__ import annotations

from typing import Any

from tests.parity.case import Case
from tests.parity.peers.adaptive import ours

PEER = "keras-team/keras@3422977"
ADAM: dict[str, Any] = {"lr": 0.03, "beta1": 0.8, "beta2": 0.6, "eps": 1e-2, "weight_decay": 0.1}
SETTINGS: dict[str, dict[str, Any]] = {
    "adagrad": {"lr": 0.3, "eps": 1e-2, "weight_decay": 0.1},
    "adadelta": {"lr": 0.7, "rho": 0.6, "eps": 1e-2, "weight_decay": 0.1},
    "rmsprop": {
        "lr": 0.03,
        "beta2": 0.6,
        "eps": 1e-2,
        "momentum": 0.7,
        "centered": True,
        "weight_decay": 0.1,
    },
    "nadam": ADAM,
    "amsgrad": ADAM,
    "adam": ADAM,
    "adamw": ADAM,
    "adamax": ADAM,
    "sgd": {"lr": 0.03, "weight_decay": 0.1},
    "momentum": {"lr": 0.03, "momentum": 0.8, "weight_decay": 0.1},
    "nesterov": {"lr": 0.03, "momentum": 0.8, "weight_decay": 0.1},
}

CASES = [
    Case(name, "keras", PEER, ours(name, ("random",), dialect="keras", **settings), None)
    for name, settings in SETTINGS.items()
]
