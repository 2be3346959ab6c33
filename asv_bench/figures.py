"""Single figures: the import, the first step with a warm cache, what `minimize` adds to a step."""

from __future__ import annotations

from typing import Any

from asv_bench.quiet import quietest
from asv_bench.side_by_side import Times, alternate, process

IMPORT = """
import numpy, scipy.linalg, time
begin = time.perf_counter()
import refopt
print(time.perf_counter() - begin)
"""

FIRST_STEP = """
import time
begin = time.perf_counter()
import numpy as np, refopt
o = refopt.optimizer({name!r}, engine="numba")
x = np.ones(10)
o.update(x, x, o.init(x))
print(time.perf_counter() - begin)
"""


def seconds_of(code: str, runs: int = 7) -> Times:
    """Measure what `code` prints, in as many processes."""
    times = Times()
    for _ in range(runs):
        value, foreign = quietest(lambda: float(process(["-c", code])), attempts=2)
        times.add(value, value, foreign)
    return times


def import_seconds() -> Times:
    """Seconds of ``import refopt`` once NumPy and scipy.linalg are there."""
    return seconds_of(IMPORT)


def first_step_seconds(name: str = "adam") -> Times:
    """Seconds from nothing to the first step on the Numba engine, its loop being on disk."""
    process(["-c", FIRST_STEP.format(name=name)])
    return seconds_of(FIRST_STEP.format(name=name), 5)


def overhead_seconds(name: str) -> Times:
    """Seconds a step that `minimize` takes beyond oracle and rule."""
    place = ("refopt", f"minimize-{name}/10/float64")
    return alternate([(place,)], 0.3)[place]


def figures() -> list[dict[str, Any]]:
    """Measure them all, as rows of the table."""
    wanted = [
        ("import refopt beyond numpy and scipy.linalg", import_seconds(), 1e3, "ms", 40.0),
        ("first step of a process, Numba engine, warm cache", first_step_seconds(), 1e3, "ms", None),
        ("minimize beyond oracle and rule, sgd, a step", overhead_seconds("sgd"), 1e6, "us", 10.0),
        ("minimize beyond oracle and rule, adam, a step", overhead_seconds("adam"), 1e6, "us", 10.0),
    ]
    return [
        {"group": "figures", "what": what, "value": scale * times.value(times.disturbed), "at_most": at_most,
         "seconds": times.value(times.disturbed), "peer": None, "unit": unit, "rounds": len(times.seconds),
         "spread": times.spread, "disturbed": times.disturbed}
        for what, times, scale, unit, at_most in wanted
    ]  # fmt: skip
