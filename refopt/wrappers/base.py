"""What every wrapper shares: a base method, whose needs and state it carries."""

from __future__ import annotations

from typing import Any

from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start


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


class AfterStep(Wrapper):
    """A wrapper that does something behind the base's step, whatever the base asked for."""

    def start(self, x: Params) -> State:
        """Return the wrapper's own entries of the state at the start `x`.

        Parameters
        ----------
        x : array or dict of arrays

        Returns
        -------
        dict
        """
        raise NotImplementedError

    def after(self, x: Params, s: State, base: State, t: int) -> tuple[Params, State]:
        """Return the point and the whole state (without ``"t"``) behind step `t`, which led to `x` and `base`.

        Parameters
        ----------
        x : array or dict of arrays
            Where the base's step led.
        s : state
            The wrapper's, before the step.
        base : state
            The base's, behind it.
        t : int

        Returns
        -------
        x, s : the point and the state without ``"t"``
        """
        raise NotImplementedError

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's, under ``"base"``, and the wrapper's own."""
        x = check_start(x, "x")
        return {**super().init(x), **self.start(x)}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base, and act."""
        new, base = self.base.step(x, s["base"], oracle)
        return self._acted(new, s, base)

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Update the base, where it needs gradients alone, and act."""
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        new, base = self.base.update(x, grad, s["base"])
        return self._acted(new, s, base)

    def _acted(self, x: Params, s: State, base: State) -> tuple[Params, State]:
        t = s["t"] + 1
        x, own = self.after(x, s, base, t)
        return x, {"t": t, **own}
