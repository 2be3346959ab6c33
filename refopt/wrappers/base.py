"""What every wrapper shares: a base method, whose needs and state it carries."""

from __future__ import annotations

from typing import Any

from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params


class Wrapper(Method):
    """A method around a method."""

    base: Any = hyper("sgd",
        words="The method that makes the step; `refopt.optimizer` builds it from a name and hands it the"
        " hyperparameters that the wrapper does not know.", kind="Method or str")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.base, Method):
            raise ArgumentTypeError(
                f"base: wanted a Method (or, through refopt.optimizer, a name), got {self.base!r}"
            )
        if self.schedule is not None:
            raise ArgumentError(f"schedule: the rate is the base's, so give the schedule to {self.base!r}")

    @property
    def needs(self) -> tuple[str, ...]:
        """The wrapper's needs and its base's."""
        return tuple(dict.fromkeys((*self.own_needs, *self.base.needs)))

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's, under ``"base"``."""
        return {"t": 0, "base": self.base.init(x)}

    def stationarity(self, x: Params, s: State, oracle: Oracle) -> float:
        """Return the base's measure."""
        return self.base.stationarity(x, s["base"], oracle)
