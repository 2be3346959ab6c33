"""How much a search tries: counted in variants, so that the answer is the same on every machine."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.method import Elementwise
from refopt.verify.inputs.problems import Course
from refopt.verify.runs.other import Observations

T = TypeVar("T")

# An elementwise method is looked at on all tapes at once, another leaf by leaf, and one that asks runs a
# problem. Measured on a search that found nothing, two cores busy: Adam 23 s, LARS 54 s; ASKING is a guess.
# A method that is given Hessian products runs leaf by leaf and step by step: Sophia 8 ms a variant.
ELEMENTWISE, LEAFWISE, CURVED, ASKING = 40_000, 8_000, 2_000, 2_000


def default_effort(seen: Observations) -> int:
    """Return how many variants of a method are tried where nobody says."""
    first = seen.runs[0]
    if isinstance(first.tape, Course):
        return ASKING
    if first.probes is not None:
        return CURVED
    method = first.profile.method(seen.entry.name, "paper")
    plain = isinstance(method, Elementwise) and not first.profile.groups
    return ELEMENTWISE if plain else LEAFWISE


class Effort:
    """The variants that a search may try, and those that it has tried.

    Parameters
    ----------
    variants : int, range [1, inf)
        For the stages that could go on and on: each has its share.
    patience : float, optional
        Seconds after which the search stops wherever it is. How far it comes then depends on the machine,
        and the answer says that it struck.

    Attributes
    ----------
    spent : int
        First looks at a variant so far.
    cut : bool
        Whether a stage had more to try than its share.
    struck : bool
        Whether patience ended the search.

    Raises
    ------
    HyperparameterError, ArgumentError
    """

    def __init__(self, variants: int, patience: float | None = None) -> None:
        check_number(variants, "int [1, inf)", "effort")
        if patience is not None and not patience > 0:
            raise ArgumentError(f"patience: wanted seconds above 0 or None, got {patience!r}")
        self.variants, self.patience = variants, patience
        self.spent = 0
        self.cut = self.struck = False
        self._until = math.inf if patience is None else time.monotonic() + patience

    def late(self) -> bool:
        """Tell whether patience is at its end; never where there is none."""
        self.struck = self.struck or (self.patience is not None and time.monotonic() > self._until)
        return self.struck

    def share(self, part: float, candidates: Iterable[T | None]) -> Iterator[T]:
        """Yield candidates until this part of the effort is spent, by whoever looks at them."""
        until = self.spent + part * self.variants
        for c in candidates:
            if self.late():
                return
            if self.spent >= until:
                self.cut = True
                return
            if c is not None:
                yield c

    def rest(self, candidates: Iterable[T]) -> Iterator[T]:
        """Yield candidates until all of the effort is spent."""
        return self.share(1.0 - self.spent / self.variants, candidates)

    def note(self) -> str:
        """Say that the search was cut short, and how to go on; empty where everything was tried."""
        if self.struck:
            return (
                f" Stopped after {self.patience:g} s at {self.spent} variants, which depends on the machine;"
                f" without patience it would go on to effort={self.variants}."
            )
        if self.cut:
            return (
                f" Not everything was tried: cut short by effort={self.variants}; effort={4 * self.variants}"
                " would go on."
            )
        return ""
