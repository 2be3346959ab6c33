"""What a comparison asks of the other implementation, whatever library it is written in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refopt.core.errors import CapabilityError
from refopt.core.method import Method
from refopt.core.oracle import Oracle

Leaves = dict[str, np.ndarray]

# What a report says of a run beside its trajectory.
WRITES = "It writes into the gradient that it is given."
CASTS = "Inside it casts to "


Schedule = Callable[[int], float]


class Run:
    """One run of an implementation, fed with gradients.

    Attributes
    ----------
    reuse : bool
        Hand over every gradient in the memory of the last, as training loops that clear in place do.
    """

    reuse: bool = False

    def step(self, g: Leaves, t: int) -> Leaves:
        """Make step ``t = 1, 2, …`` with the gradient `g`; return the new point, in memory of its own."""
        raise NotImplementedError

    def curved_step(
        self, g: Leaves, hessian: Leaves, t: int
    ) -> tuple[Leaves, Mapping[str, Sequence[np.ndarray]]]:
        """Make a step with a gradient and a Hessian (size, size) a leaf.

        Return the new point, and by leaf the vectors that were multiplied with the Hessian.
        """
        raise CapabilityError("other: it cannot be given Hessian products")

    def asked_step(self, oracle: Oracle, t: int) -> Leaves:
        """Make step `t` of a course: ask `oracle` for what is needed; return the new point."""
        raise CapabilityError(
            "other: it cannot ask for gradients, residuals and the like at points of its own"
        )

    def state(self) -> dict[str, Leaves]:
        """Return the state arrays that it shows, by name and leaf; empty if it shows none."""
        return {}

    def notes(self) -> list[str]:
        """Return what a report should say of the run beside its trajectory."""
        return []

    def close(self) -> None:
        """Give back what the run holds (a process)."""


@dataclass(frozen=True)
class Side:
    """An implementation, ready to be run from any start.

    Parameters
    ----------
    name : str
        What a report calls it.
    begin : callable
        ``begin(x0, hyper, schedule) -> Run``: `x0` a dict of NumPy arrays (its dtype is the run's),
        `hyper` reference names and values, all of them in `takes`; `schedule` the rate's multiplier
        at step 1, 2, …, None if constant (always None where not `schedulable`).
    takes : frozenset of str
        Hyperparameters, by the reference's names, that it can be given.
    known : dict
        Those that it has by itself, by the reference's names, as far as they can be read.
    schedulable : bool
    together : bool
        It takes several leaves at once. False: every leaf is a run of its own.
    unread : tuple of str
        Numbers of its own that are none of the reference's hyperparameters: they keep its values.
    costly : bool
        Every run costs a process: it is asked what a comparison needs, and no more.
    grouped : callable, optional
        ``grouped(parts)`` returns the same with parameter groups (`refopt.verify.sides.groups`), where it can be
        given them; None: it is given each leaf's numbers, or has groups of its own.
    as_is : callable, optional
        ``as_is("bfloat16")`` returns the same with parameters and gradients in that dtype, no cast taken out. Such a
        side's steps may be given gradients of some leaves alone: the others have none.
    """

    name: str
    begin: Callable[[Leaves, Mapping[str, Any], Schedule | None], Run]
    takes: frozenset[str] = frozenset()
    known: Mapping[str, Any] = field(default_factory=dict)
    schedulable: bool = False
    together: bool = True
    unread: tuple[str, ...] = ()
    costly: bool = False
    grouped: Callable[[tuple[Any, ...]], Side] | None = None
    as_is: Callable[[str], Side] | None = None


def asks(method: Method) -> bool:
    """Tell whether a method needs more than the gradient, or gradient and Hessian, where it stands."""
    if tuple(method.needs) == ("grad", "hvp") and type(method).update is not Method.update:
        return False
    exact = bool(getattr(method, "exact", False))
    return type(method).update is Method.update or tuple(method.needs) != ("grad",) or exact


def ancestors(value: Any) -> set[tuple[str, str]]:
    """Return (top-level module, class name) of a class or an instance's class and of its bases."""
    cls = value if isinstance(value, type) else type(value)
    return {(c.__module__.partition(".")[0], c.__name__) for c in cls.__mro__}


def unwrap(other: Any) -> tuple[Any, dict[str, Any]]:
    """Return what a `functools.partial` holds, and its keywords."""
    kept: dict[str, Any] = {}
    while isinstance(other, functools.partial) and not other.args:
        kept, other = {**other.keywords, **kept}, other.func
    return other, kept
