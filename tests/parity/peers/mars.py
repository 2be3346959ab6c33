"""The MARS family beside its authors' code."""

from __future__ import annotations

import refopt

from tests.parity.case import Case
from tests.parity.makers import ours
from tests.streams import schedule

REPOSITORY = "AGI-Arena/MARS@4831e28"


def _others() -> object:
    return refopt.optimizer(
        "adamw",
        dialect="torch",
        lr=3e-3,
        beta1=0.9,
        beta2=0.95,
        eps=1e-2,
        weight_decay=0.1,
        schedule=schedule,
    )


SAYS = "The authors' code with decay and a schedule, 200 steps on two streams, to 1e-12."


def _case(name: str, says: str = SAYS, **kwargs: object) -> Case:
    side = ours(
        name, dialect="official", lr=0.03, beta1=0.8, gamma=0.3, weight_decay=0.1, others=_others(), **kwargs
    )
    return Case(name, "official", REPOSITORY, side, None, says=says)


CASES = [
    _case("mars-adamw", beta2=0.6, eps=1e-2),
    _case("mars-lion"),
    _case(
        "mars-shampoo",
        eps=1e-2,
        says="The authors' code without its bfloat16 cast, with decay and a schedule, 200 steps on two streams, to 1e-12.",
    ),
]
