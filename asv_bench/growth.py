"""Fitted exponents of time and memory, held to what the papers state: ``python -m asv_bench.growth [METHOD ...] [--record]``.

Read from the registry: every ``costs=`` of a registration, and for every optimizer with ``state_copies=k``
that its state is k arrays like the parameters and grows as they do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import refopt
from refopt.core.cost import Cost
from refopt.core.registry import Entry, entry, methods

from asv_bench import record
from asv_bench.quiet import quietest

# Other jobs on the cores slow the larger sizes down: a bad exponent must be found as often.
ATTEMPTS = 3


class WorseThanStated(AssertionError):
    """A method's cost grows faster than its paper says."""


@dataclass(frozen=True)
class Fit:
    """A measured growth beside the stated one."""

    name: str
    cost: Cost
    exponent: float
    values: tuple[float, ...]

    @property
    def worse(self) -> bool:
        return not self.exponent <= self.cost.exponent + self.cost.slack

    def __str__(self) -> str:
        c = self.cost
        sizes = ", ".join(f"{n}: {v:.3g}" for n, v in zip(c.sizes, self.values))
        return (
            f"{self.name}: {c.measure} grow as {c.variable}^{self.exponent:.2f}, stated {c.exponent:g}"
            f" ({c.where}){', WORSE' if self.worse else ''} [{sizes}]"
        )


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the exponent of the power law that fits best in the logarithms.

    Raises
    ------
    ValueError
        A value that is not positive and finite: nothing can be said, and silence would pass for a pass.
    """
    if not all(v > 0 and math.isfinite(v) for v in values):
        raise ValueError(f"wanted positive measurements, got {list(values)}")
    return float(np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(values, float)), 1)[0])


def bytes_of(value: Any) -> int:
    """Return the bytes of all arrays in nested dicts, lists and tuples."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(bytes_of, value.values()))
    return sum(map(bytes_of, value)) if isinstance(value, (list, tuple)) else 0


def state_cost(method: Entry) -> Cost:
    """Return the growth that ``state_copies`` declares: linear in the number of parameters."""
    o = refopt.optimizer(method.name)

    def setup(n: int) -> Any:
        x = np.ones((n // 8, 8))
        return lambda: {"state": dict(o.init(x))}

    return Cost(
        "d", 1.0, f"state_copies={method.extra['state_copies']}", setup, (2**9, 2**12, 2**15), "bytes", 0.02
    )


def costs(method: Entry) -> Iterator[Cost]:
    """Yield what a registration declares."""
    yield from method.extra.get("costs", ())
    if method.extra.get("state_copies", 0) > 0:
        yield state_cost(method)


def least_seconds(call: Callable[[], Any], seconds: float) -> float:
    """Return the least time of a call, by the clock or by the processor if that is less.

    Where other jobs have the cores, the clock counts their turns, and only for calls longer than a turn, which
    would pass for growth. Threads that wait count for the processor, so that on idle cores the clock is less.
    """
    call()
    least, until = math.inf, time.perf_counter() + seconds
    runs = 0
    while runs < 3 or time.perf_counter() < until:
        clock, own = time.perf_counter(), time.process_time()
        call()
        least = min(least, time.perf_counter() - clock, time.process_time() - own)
        runs += 1
    return least


def measured(cost: Cost, size: int, seconds: float) -> float:
    """Return the seconds or bytes of one size."""
    call = cost.setup(size)
    if cost.measure == "bytes":
        return float(bytes_of(call()))
    return quietest(lambda: least_seconds(call, seconds))[0]


def fit(name: str, cost: Cost, seconds: float = 0.2, attempts: int = ATTEMPTS) -> Fit:
    """Measure all sizes of a declared cost; again, and the least of each, while it seems worse than stated."""
    found, values = None, [math.inf] * len(cost.sizes)
    for _ in range(attempts if cost.measure == "seconds" else 1):
        values = [min(v, measured(cost, n, seconds)) for v, n in zip(values, cost.sizes)]
        found = Fit(name, cost, slope(cost.sizes, values), tuple(values))
        if not found.worse:
            break
    assert found is not None
    return found


def check(found: Sequence[Fit]) -> None:
    """Raise `WorseThanStated`, naming every method that grows too fast."""
    bad = [str(f) for f in found if f.worse]
    if bad:
        raise WorseThanStated("\n".join(bad))


def declared() -> list[tuple[str, Cost]]:
    """Return every declared cost, by the name of its method."""
    return [(m.name, c) for m in methods() for c in costs(m)]


def main() -> None:
    options = record.of_methods(__doc__)
    recorder, found = record.Recorder(record.command("growth")), []
    for name, cost in [(n, c) for n, c in declared() if not options.names or entry(n).name in options.names]:
        found.append(fit(name, cost))
        print(found[-1], flush=True)
    if options.record:
        rows = [
            [f.name, f.cost.measure, f.cost.variable, f.exponent, f.cost.exponent, f.cost.where]
            for f in found
        ]
        recorder.write("growth", ("method", "measure", "variable", "exponent", "stated", "where"), rows)
    check(found)
    print(f"{len(found)} exponents, none above what is stated")


if __name__ == "__main__":
    main()
