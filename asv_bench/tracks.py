"""The ratios of solvers, transport and matrix functions to SciPy, POT and OTT: ``python -m asv_bench.tracks [MODULE ...] [--record]``.

Runs every ``track_`` method of the asv classes in the modules named below, each in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import itertools

from asv_bench import record
from asv_bench.side_by_side import process

MODULES = ("bench_linear", "bench_transport", "bench_matrix")
PEERS = ("numpy", "scipy", "numba", "POT", "ott-jax", "jax", "pyamg")


def tracks(module: str) -> list[tuple[str, str, tuple[object, ...]]]:
    """Return class, method and parameters of every tracked figure of a module."""
    found = []
    for name, cls in inspect.getmembers(importlib.import_module(f"asv_bench.{module}"), inspect.isclass):
        if cls.__module__ != f"asv_bench.{module}":
            continue
        for method in (m for m in dir(cls) if m.startswith("track_")):
            for values in itertools.product(*getattr(cls, "params", ())):
                found.append((name, method, values))
    return found


def run(module: str, name: str, method: str, values: tuple[object, ...]) -> float:
    """Return one figure."""
    case = getattr(importlib.import_module(f"asv_bench.{module}"), name)()
    if hasattr(case, "setup"):
        case.setup(*values)
    return getattr(case, method)(*values)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"left out: {', '.join(MODULES)}")
    record.option(parser)
    options = parser.parse_args()
    for module in options.modules or MODULES:
        recorder, rows = record.Recorder(record.command("tracks"), PEERS), []
        for name, method, values in tracks(module):
            code = (
                f"from asv_bench.tracks import run; print(run({module!r}, {name!r}, {method!r}, {values!r}))"
            )
            title = f"{name}.{method} {' '.join(map(str, values))}"
            try:
                rows.append([title, float(process(["-c", code]))])
                print(f"{title:70} {rows[-1][1]:.3f}", flush=True)
            except RuntimeError as error:
                print(f"{title:70} failed: {str(error).strip().splitlines()[-1]}", flush=True)
        if options.record:
            recorder.write(module, ("what", "value"), rows)


if __name__ == "__main__":
    main()
