"""What a paper says of its method's cost, in a form that the benchmarks can hold it to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refopt.core.errors import ArgumentError

MEASURES = ("seconds", "bytes")


@dataclass(frozen=True)
class Cost:
    """A stated growth: the measured exponent may not be larger.

    Declared as ``@register(..., costs=(Cost(...),))``; ``asv_bench/growth.py`` reads it from the registry.

    Parameters
    ----------
    variable : str
        What grows: ``"n"``, ``"sketch size"``, ….
    exponent : float
        The paper's, logarithms left out.
    where : str
        The place in the paper, or the operation that is counted.
    setup : callable
        ``setup(size)`` makes the work of one size and returns a call without arguments: what is timed,
        or what returns the arrays (nested in dicts and tuples) whose bytes are counted.
    sizes : tuple of int
        Increasing; large enough that the leading term is the largest.
    measure : {"seconds", "bytes"}
    slack : float
        How far the fitted exponent may exceed the stated one: logarithms, and caches that are outgrown.
    """

    variable: str
    exponent: float
    where: str
    setup: Callable[[int], Callable[[], Any]]
    sizes: tuple[int, ...]
    measure: str = "seconds"
    slack: float = 0.3

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ArgumentError(f"measure: wanted one of {', '.join(MEASURES)}, got {self.measure!r}")
        if len(self.sizes) < 3 or list(self.sizes) != sorted(set(self.sizes)):
            raise ArgumentError(f"sizes: wanted at least three, increasing, got {self.sizes!r}")
