"""Ratios of the table (`asv_bench.rows`) under asv: refopt's steps over its peers'."""

from __future__ import annotations

import importlib.util

from asv_bench import rows
from asv_bench.figures import first_step_seconds, import_seconds, overhead_seconds
from asv_bench.side_by_side import alternate, compare

# What a side's library is imported as.
MODULES = {"torch": "torch", "kozistr": "pytorch_optimizer", "optax": "optax", "refopt": "numba"}
ROWS = {r.title: r for group in rows.GROUPS.values() for r in group()}


class Ratio:
    """Time of one step over the peer's, or over the bound by memory."""

    params = (list(ROWS),)
    param_names = ("row",)
    timeout = 900
    unit = "ratio"

    def setup(self, title: str) -> None:
        for library in (ROWS[title].ours[0], ROWS[title].theirs[0]):
            module = "torch" if library == "refopt:torch-bfloat16" else MODULES[library.partition(":")[0]]
            if importlib.util.find_spec(module) is None:
                raise NotImplementedError(f"{module} is not installed")

    def track_ratio(self, title: str) -> float:
        """A row's targets are those of `asv_bench.rows`."""
        r = ROWS[title]
        times = alternate([(r.ours, r.theirs)], 0.3)
        ours, theirs = compare(times[r.ours], times[r.theirs])
        return ours / (theirs * r.bound)


class Overheads:
    """Seconds of the import, of the first step with a warm cache, and of the driver."""

    timeout = 300
    unit = "s"

    def track_import(self) -> float:
        """Beyond numpy and scipy.linalg; the target is 0.04."""
        times = import_seconds()
        return times.value(times.disturbed)

    def track_first_step(self) -> float:
        """On the Numba engine, the loop being on disk."""
        times = first_step_seconds()
        return times.value(times.disturbed)

    def track_minimize(self) -> float:
        """Seconds a step beyond oracle and rule; the target is 1e-5."""
        times = overhead_seconds("sgd")
        return times.value(times.disturbed)
