"""What every schedule shares: frozen numbers, checked once, and a call with the step."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar, dataclass_transform

from refopt.core.hyper import check_hyperparameters, check_number


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Base of all schedules: a pure function of the step t = 1, 2, ..., the multiplier of the rate.

    It has no state, pickles, and its repr says all of it, so that a checkpoint knows whose it is.
    A subclass is a frozen, keyword-only dataclass without more words, and gives `at`.
    """

    registered_name: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if inspect.get_annotations(cls) and "__dataclass_fields__" not in cls.__dict__:
            dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        check_hyperparameters(self)

    def __call__(self, t: int) -> float:
        """Return the multiplier of step `t`.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            `t` is not a whole number from 1 on.
        """
        check_number(t, "int [1, inf)", "t")
        return float(self.at(int(t)))

    def at(self, t: int) -> float:
        """Return the multiplier of step `t`, which has been checked.

        Parameters
        ----------
        t : int
            From 1.

        Returns
        -------
        float
        """
        raise NotImplementedError


def ramp(first: float, last: float, share: float) -> float:
    """Return the point at `share` of the straight way from `first` to `last`."""
    return (last - first) * share + first
