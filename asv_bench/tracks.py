"""The ratios of solvers, transport and matrix functions to SciPy, POT and OTT: ``python -m asv_bench.tracks [MODULE ...]``.

Runs every ``track_`` method of the asv classes in the modules named below, each in a process of its own.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import sys

from asv_bench.side_by_side import process

MODULES = ("bench_linear", "bench_transport", "bench_matrix")


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


def main(modules: list[str]) -> None:
    for module in modules or MODULES:
        for name, method, values in tracks(module):
            code = (
                f"from asv_bench.tracks import run; print(run({module!r}, {name!r}, {method!r}, {values!r}))"
            )
            title = f"{name}.{method} {' '.join(map(str, values))}"
            try:
                print(f"{title:70} {float(process(['-c', code])):.3f}", flush=True)
            except RuntimeError as error:
                print(f"{title:70} failed: {str(error).strip().splitlines()[-1]}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
