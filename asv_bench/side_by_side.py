"""Run libraries in alternating processes and compare the medians.

Thread pools of two libraries in one process spin against each other (a torch step beside a Numba
step showed 8 ms where each alone took 0.1), and idle OpenMP threads spin on a core that another process
wants. So every library has a process of its own and none runs while another does; the sides take turns,
and medians are compared. What is measured while other processes use the cores is measured again
(`asv_bench.quiet`), and so is a row whose rounds disagree (`SPREAD`). Where every round was disturbed,
the first deciles are compared in place of the medians, for the steps that nobody interrupted, and the row
says so.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from asv_bench.quiet import QUIET

ROUNDS = 3
# Rounds that differ by more than this factor say that another job had a core.
SPREAD = 1.25
MORE_ROUNDS = 4
THREADS = os.environ.get("REFOPT_BENCH_THREADS", "2")

Place = tuple[str, str]  # library, key


def environment() -> dict[str, str]:
    """As many threads for each library, and the repository's root on the path."""
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, THREADS)}


def process(arguments: list[str]) -> str:
    """Run Python in a fresh process and return the last line that it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment()
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:200]} failed:\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


def turn(places: Iterable[Place], seconds: float) -> dict[Place, tuple[float, float, float]]:
    """Measure each place once, one process a library; see `asv_bench.sides.measure`."""
    by_library: dict[str, list[str]] = {}
    for library, key in places:
        by_library.setdefault(library, []).append(key)
    out = {}
    for library, keys in by_library.items():
        found = json.loads(process(["-m", "asv_bench.sides", library, str(seconds), *keys]))
        out.update({(library, key): tuple(value) for key, value in found.items()})
    return out


@dataclass
class Times:
    """The rounds of one place: a step's median and first decile, and the share of the cores others used."""

    seconds: list[float] = field(default_factory=list)
    fast: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)

    def add(self, seconds: float, fast: float, foreign: float) -> None:
        self.seconds.append(seconds)
        self.fast.append(fast)
        self.foreign.append(foreign)

    @property
    def quiet(self) -> list[float]:
        """The medians of the quiet rounds."""
        return [s for s, f in zip(self.seconds, self.foreign) if not f > QUIET]

    @property
    def disturbed(self) -> bool:
        """Tell whether no round was quiet."""
        return not self.quiet

    def value(self, disturbed: bool) -> float:
        """Return the median of the quiet rounds; disturbed, the least first decile."""
        return min(self.fast) if disturbed else statistics.median(self.quiet)

    @property
    def spread(self) -> float:
        """How far the rounds that count are apart, as a factor."""
        rounds = self.quiet or self.fast
        return max(rounds) / min(rounds)

    @property
    def doubtful(self) -> bool:
        """Tell whether fewer than two quiet rounds agree."""
        best = sorted(self.quiet)[:2]
        return len(best) < 2 or best[1] > SPREAD * best[0]


def compare(ours: Times, theirs: Times) -> tuple[float, float]:
    """Return the seconds of both by the same statistic."""
    disturbed = ours.disturbed or theirs.disturbed
    return ours.value(disturbed), theirs.value(disturbed)


def alternate(
    pairs: Iterable[tuple[Place, ...]], seconds: float, rounds: int = ROUNDS, more: int = MORE_ROUNDS
) -> dict[Place, Times]:
    """Measure places in turns; those that belong together are repeated together while one is doubtful."""
    pairs = [tuple(pair) for pair in pairs]
    every = list(dict.fromkeys(place for pair in pairs for place in pair))
    times = {place: Times() for place in every}
    for k in range(rounds + more):
        wanted = every
        if k >= rounds:
            again = {p for p in every if times[p].doubtful}
            wanted = list(dict.fromkeys(p for pair in pairs if again & set(pair) for p in pair))
        if not wanted:
            break
        for place, found in turn(wanted, seconds).items():
            times[place].add(*found)
    return times


def ratio(ours: Place, theirs: Place, seconds: float = 0.5, rounds: int = ROUNDS) -> float:
    """Return the median of ours over the median of theirs."""
    times = alternate([(ours, theirs)], seconds, rounds)
    mine, peer = compare(times[ours], times[theirs])
    return mine / peer


def code_ratio(ours: str, theirs: str, rounds: int = ROUNDS) -> float:
    """The same for two pieces of code that print a list of seconds as JSON on their last line."""
    pairs = [
        [statistics.median(json.loads(process(["-c", code]))) for code in (ours, theirs)]
        for _ in range(rounds)
    ]
    return statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)


TIMING = """
import json
from refopt.cli.bench import timings
def measure(step, seconds={seconds}):
    print(json.dumps(timings(step, seconds)))
"""
