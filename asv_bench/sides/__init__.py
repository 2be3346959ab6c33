"""The libraries that are measured beside each other, one module each.

``python -m asv_bench.sides refopt 0.3 adam/1000/float64 ...`` prints, as JSON on its last line, the
median and first decile of the seconds of each key's step, and how much of the machine other processes
used meanwhile; a side's ``FIGURES`` names keys that are measured otherwise. A key is ``method/size/dtype``; a size is ``1000``, ``200*1000`` (so
many leaves) or ``1024x1024``. A side's ``build(key)`` returns the step and how many steps a call makes; it imports
the library, since asv imports every module here, whatever is installed.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
from refopt.cli.bench import timings

from asv_bench.quiet import quietest


@dataclass(frozen=True)
class Key:
    """What is stepped: a method, the shapes of its parameters, a dtype."""

    method: str
    size: str
    dtype: str

    @classmethod
    def read(cls, text: str) -> Key:
        return cls(*text.split("/"))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        count, star, one = self.size.rpartition("*")
        return [tuple(map(int, one.split("x")))] * (int(count) if star else 1)

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)

    def arrays(self, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [rng.standard_normal(shape, dtype=self.dtype) for shape in self.shapes]


def measure(side: Any, text: str, seconds: float) -> tuple[float, float, float]:
    """Return a step's median and first decile in seconds, and the share of the cores that others used."""
    key = Key.read(text)
    if key.method in getattr(side, "FIGURES", {}):
        value, foreign = quietest(lambda: side.FIGURES[key.method](key, seconds))
        return value, value, foreign
    step, steps_a_call = side.build(key)
    times, foreign = quietest(lambda: sorted(timings(step, seconds)))
    return statistics.median(times) / steps_a_call, times[len(times) // 10] / steps_a_call, foreign
