"""Run two sides in alternating processes and compare the medians.

Thread pools of two libraries in one process spin against each other (a torch step beside a Numba
step showed 8 ms where each alone took 0.1), so every measurement has a process of its own, the sides
take turns, and only medians are compared.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

ROUNDS = 3


def median_seconds(code: str) -> float:
    """Run `code` in a fresh process; it prints a list of seconds as JSON on its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return statistics.median(json.loads(done.stdout.splitlines()[-1]))


def ratio(ours: str, theirs: str, rounds: int = ROUNDS) -> float:
    """Return the median of ours over the median of theirs, from alternating processes."""
    pairs = [(median_seconds(ours), median_seconds(theirs)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)


TIMING = """
import json, time
def measure(step, seconds={seconds}, least=5):
    step()
    until = time.perf_counter() + seconds / 4
    while time.perf_counter() < until:
        step()
    out, until = [], time.perf_counter() + seconds
    while len(out) < least or time.perf_counter() < until:
        start = time.perf_counter()
        step()
        out.append(time.perf_counter() - start)
    print(json.dumps(out))
"""
