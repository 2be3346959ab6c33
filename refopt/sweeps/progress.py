"""How far a sweep is, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from refopt.sweeps.work import CRASHED, ERROR, Outcome

# Off a terminal a line is written so many times in all.
LINES = 20


class Progress:
    """One line: runs done, failed and left, and about how long those will take.

    Parameters
    ----------
    total : int
    shown : bool or None
        None: on a terminal.
    """

    def __init__(self, total: int, shown: bool | None) -> None:
        self.terminal = sys.stderr is not None and sys.stderr.isatty()
        self.shown = total > 0 and (self.terminal if shown is None else shown)
        self.total, self.done, self.diverged, self.errors = total, 0, 0, 0
        self.began = time.monotonic()
        self.written = -1

    def step(self, outcomes: Sequence[Outcome]) -> None:
        """Count finished runs, and say so."""
        self.done += len(outcomes)
        self.diverged += sum(o.status == "diverged" for o in outcomes)
        self.errors += sum(o.status in (ERROR, CRASHED) for o in outcomes)
        part = self.done * LINES // self.total
        if self.shown and (self.terminal or part > self.written):
            self.written = part
            end = "" if self.terminal else "\n"
            print(f"\r\x1b[K{self}" if self.terminal else str(self), end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line."""
        if self.shown and self.terminal:
            print(file=sys.stderr)

    def __str__(self) -> str:
        left = self.total - self.done
        seconds = (time.monotonic() - self.began) / max(self.done, 1) * left
        about = f", about {_words(seconds)}" if left else ""
        return f"{self.done} of {self.total} runs, {self.diverged} diverged, {self.errors} errors; {left} left{about}"


def _words(seconds: float) -> str:
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
