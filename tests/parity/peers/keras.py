"""Keras 3's optimizers, on its torch backend in float64."""

from __future__ import annotations

from typing import Any

from tests.parity.case import Case
from tests.parity.libraries import run_keras
from tests.streams import run_refopt, schedule

KINDS = ("random", "ill")
LR, WD, EPS = {"lr": 0.03}, {"weight_decay": 0.1}, {"eps": 1e-2}
BETAS = {"beta1": 0.8, "beta2": 0.6}


SAYS = "Keras 3's optimizer with decay and a schedule, 200 steps on two streams, to 1e-12."


def _case(name: str, ours: dict[str, Any], cls: str, **theirs: Any) -> Case:
    def run(seed: int) -> Any:
        return run_keras(
            lambda optimizers: getattr(optimizers, cls)(learning_rate=0.03, weight_decay=0.1, **theirs),
            seed,
            schedule,
            KINDS,
        )

    return Case(
        name, "keras", "keras",
        lambda seed: run_refopt(name, seed, KINDS, dialect="keras", schedule=schedule, **LR, **WD, **ours), run,
        says=SAYS,
    )  # fmt: skip


ADAM = {"beta_1": 0.8, "beta_2": 0.6, "epsilon": 1e-2}

CASES = [
    _case("sgd", {}, "SGD"),
    _case("momentum", {"momentum": 0.8}, "SGD", momentum=0.8),
    _case("nesterov", {"momentum": 0.8}, "SGD", momentum=0.8, nesterov=True),
    _case("adagrad", {**EPS}, "Adagrad", epsilon=1e-2),
    _case("adadelta", {"rho": 0.8, **EPS}, "Adadelta", rho=0.8, epsilon=1e-2),
    _case(
        "rmsprop",
        {"beta2": 0.8, "momentum": 0.5, "centered": True, **EPS},
        "RMSprop",
        rho=0.8,
        momentum=0.5,
        centered=True,
        epsilon=1e-2,
    ),
    _case("nadam", {**BETAS, **EPS}, "Nadam", **ADAM),
    _case("adam", {**BETAS, **EPS}, "Adam", **ADAM),
    _case("adamax", {**BETAS, **EPS}, "Adamax", **ADAM),
    _case("adamw", {**BETAS, **EPS}, "AdamW", **ADAM),
    _case("amsgrad", {**BETAS, **EPS}, "Adam", amsgrad=True, **ADAM),
    _case("lamb", {**BETAS, **EPS}, "Lamb", **ADAM),
    _case("lion", {**BETAS}, "Lion", beta_1=0.8, beta_2=0.6),
]
