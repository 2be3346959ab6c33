"""Profiles: the hyperparameters that both sides are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from refopt.core.build import optimizer
from refopt.core.method import Method
from refopt.core.registry import Entry
from refopt.verify.sides.groups import ByGroup, Part
from refopt.verify.sides.side import Side

# Values that show what the defaults hide; applied where both sides can be given them.
SHARP: Mapping[str, float] = {"beta1": 0.8, "beta2": 0.6, "beta3": 0.7, "eps": 1e-2, "momentum": 0.7}


DECAY = 0.1


RATE = 0.03


def schedule(t: int) -> float:
    """Return the rate's multiplier in the profile ``schedule``: it changes at every step."""
    return 0.5 + 0.5 / t**0.5


@dataclass(frozen=True)
class Profile:
    """Hyperparameters that both sides are given.

    Parameters
    ----------
    name : str
    given : dict
        By the reference's names; the other side gets them too.
    ours : dict
        What the reference alone is told: the other side has it by itself.
    scheduled : bool
    groups : tuple of (names, dict)
        Leaves with hyperparameters of their own (`refopt.verify.sides.groups`); empty: all have the same.
    """

    name: str
    given: Mapping[str, Any]
    ours: Mapping[str, Any] = field(default_factory=dict)
    scheduled: bool = False
    groups: tuple[Part, ...] = ()

    def parted(self, make: Callable[[Profile], Any]) -> Any:
        """Return ``make(profile)``; where there are groups, what it makes of each one's numbers, side by side."""
        if not self.groups:
            return make(self)
        return ByGroup(
            [
                (names, make(dataclasses.replace(self, given={**self.given, **hyper}, groups=())))
                for names, hyper in self.groups
            ]
        )

    def method(self, name: str, dialect: str, **settings: Any) -> Method:
        """Return the reference under this profile; `settings` win."""
        extra = {"schedule": schedule} if self.scheduled else {}
        return optimizer(name, dialect=dialect, **{**self.ours, **self.given, **extra, **settings})


def profiles_for(it: Side, found: Entry, base: Method, given: Mapping[str, Any]) -> list[Profile]:
    """Return the profiles under which a side can be run, its own hyperparameters first."""
    fields = {f.name: f for f in dataclasses.fields(found.obj)}
    can = {k for k in it.takes if k in fields and k not in given}
    # What the other side has no default for, it gets from the reference.
    inner = getattr(base, "base", None)
    wanted = {k: getattr(base, k, getattr(inner, k, None)) for k in it.takes - it.known.keys()}
    wanted = {k: v for k, v in wanted.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    shared = {**wanted, **{k: v for k, v in given.items() if k in it.takes}}
    ours = {**it.known, **{k: v for k, v in given.items() if k not in it.takes}}
    out = [Profile("as given", shared, ours)]
    rate = {"lr": RATE} if "lr" in can else {}
    sharp = {k: v for k, v in SHARP.items() if k in can and isinstance(fields[k].default, float)}
    if sharp:
        out.append(Profile("low betas, large eps", {**shared, **rate, **sharp}, ours))
    if "weight_decay" in can:
        out.append(Profile("decay", {**shared, **rate, "weight_decay": DECAY}, ours))
        if shared.get("weight_decay", it.known.get("weight_decay")):
            out.append(Profile("no decay", {**shared, **rate, "weight_decay": 0.0}, ours))
    if it.schedulable and "lr" in fields and not callable(given.get("lr")):
        decay = {"weight_decay": DECAY} if "weight_decay" in can else {}
        known = {"lr": it.known["lr"]} if "lr" in it.known and "lr" in can else {}
        scheduled = {**known, **rate, **shared, **decay}
        out.append(Profile("schedule", scheduled, ours, scheduled=True))
    return out
