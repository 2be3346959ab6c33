"""Tell whether other processes used the cores while something was timed (Linux; elsewhere unknown)."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# The share of the machine that others may use before a measurement is made again.
QUIET = 0.04
ATTEMPTS = 3


def busy_seconds() -> float:
    """Return the seconds that all cores together have not been idle, since the start; NaN if unknown."""
    try:
        with open("/proc/stat") as f:
            ticks = [int(word) for word in f.readline().split()[1:9]]
    except OSError:
        return float("nan")
    user, nice, system, _idle, _wait, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the processor seconds of this process and of the children that it has waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(r.ru_utime + r.ru_stime for r in both)


def watched(call: Callable[[], T]) -> tuple[T, float]:
    """Return what `call` returns, and the share of all cores that others used meanwhile."""
    busy, own, clock = busy_seconds(), own_seconds(), time.perf_counter()
    value = call()
    elapsed = time.perf_counter() - clock
    foreign = (busy_seconds() - busy) - (own_seconds() - own)
    # The kernel counts in ticks of 10 ms on every core: less than that is nothing.
    slack = (os.cpu_count() or 1) / os.sysconf("SC_CLK_TCK")
    return value, max(0.0, foreign - slack) / (elapsed * (os.cpu_count() or 1))


def quietest(call: Callable[[], T], attempts: int = ATTEMPTS, patience: float = 0.7) -> tuple[T, float]:
    """Repeat `call` until others leave the cores alone; return its quietest result and their share.

    Parameters
    ----------
    call : callable
    attempts : int
    patience : float
        Seconds after which no further attempt is made.
    """
    best: tuple[T, float] | None = None
    until = time.perf_counter() + patience
    for _ in range(attempts):
        found = watched(call)
        if best is None or found[1] < best[1]:
            best = found
        if not found[1] > QUIET or time.perf_counter() > until:
            break
        time.sleep(0.05)
    assert best is not None
    return best
