"""What an exhibit is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from refopt.verify.sides.side import Leaves, Run, Schedule, Side

Function = Callable[..., tuple[Any, Any]]


@dataclass(frozen=True)
class Exhibit:
    """A published bug, rebuilt by hand beside the rule as it should be.

    Parameters
    ----------
    id : str
    release, fixed : str
        ``package==version``, the first release without the bug; empty where there is none yet.
    where : str
        The issue, pull request or commit.
    wrong : str
    method, dialect : str
        The reference of the right rule.
    diagnosis : tuple of str
        What `diagnose` must say of the buggy one.
    right, buggy : callable or Side
    why_not : str
        Why `tests.museum.releases` cannot run the release, or not as it is; empty: it runs it.
    given : mapping
        Hyperparameters of the comparison.
    """

    id: str
    release: str
    fixed: str
    where: str
    wrong: str
    method: str
    dialect: str
    diagnosis: tuple[str, ...]
    right: Any
    buggy: Any
    why_not: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)


class _Together(Run):
    def __init__(self, update: Function, x0: Leaves, hyper: Mapping[str, Any]) -> None:
        self.update, self.x, self.hyper = update, x0, dict(hyper)
        self.s: Any = None

    def step(self, g: Leaves, t: int) -> Leaves:
        self.x, self.s = self.update(self.x, g, self.s, **self.hyper)
        return {k: np.array(v) for k, v in self.x.items()}


def together(name: str, update: Function, takes: tuple[str, ...]) -> Side:
    """Return a side that is given all leaves at once, as dicts."""

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        return _Together(update, x0, hyper)

    return Side(name=name, begin=begin, takes=frozenset(takes))
