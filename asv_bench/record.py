"""What a benchmark measured, as data: ``asv_bench/results/NAME.json``, written by ``--record`` and read by the site.

A file says who measured it: the command, the day, the kind of processor, how busy others kept it, and the versions. What is not
known of an older figure is null, and the site says that it was not recorded.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from asv_bench.quiet import busy_seconds, own_seconds

FOLDER = pathlib.Path(__file__).parent / "results"
# Whose versions matter to a figure, where they are imported.
LIBRARIES = (
    "numpy", "scipy", "numba", "torch", "jax", "optax", "scikit-learn", "pytorch-optimizer", "POT", "ott-jax", "pyamg",
)  # fmt: skip
IMPORTED = {
    "scikit-learn": "sklearn",
    "pytorch-optimizer": "pytorch_optimizer",
    "POT": "ot",
    "ott-jax": "ott",
}


@dataclass(frozen=True)
class Record:
    """Measurements with where they come from.

    Attributes
    ----------
    command : str
    date : str or None
        ``2026-11-28``.
    processor : str or None
        Its kind, not whose it is.
    cores : int or None
    others : float or None
        The share of the cores that other jobs had meanwhile, in [0, 1].
    versions : dict of str to str, or None
    note : str
        What else a reader must know.
    columns : list of str
    rows : list of lists
    """

    command: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    date: str | None = None
    processor: str | None = None
    cores: int | None = None
    others: float | None = None
    versions: Mapping[str, str] | None = None
    note: str = ""

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows by columns."""
        return [dict(zip(self.columns, row)) for row in self.rows]

    def save(self, name: str) -> None:
        """Write the file, one line a row, so that a change shows where it is."""
        head = {k: v for k, v in vars(self).items() if k != "rows"}
        lines = [f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}," for k, v in head.items()]
        rows = ",\n".join(f"  {json.dumps(list(row), ensure_ascii=False)}" for row in self.rows)
        FOLDER.mkdir(exist_ok=True)
        text = "{\n" + "\n".join(lines) + f'\n "rows": [\n{rows}\n ]\n}}\n'
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def load(name: str) -> Record:
    """Read a file of results."""
    return Record(**json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def processor() -> str | None:
    """Return the kind of processor, where the system says it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            names = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    except OSError:
        names = []
    return next(iter(names), None) or platform.processor() or None


def versions(wanted: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Return Python's and refopt's versions, and those of the libraries that are imported here."""
    found = {"python": platform.python_version(), "refopt": importlib.metadata.version("refopt")}
    for name in wanted:
        if IMPORTED.get(name, name) in sys.modules:
            found[name] = importlib.metadata.version(name)
    return found


def digits(value: Any, n: int = 4) -> Any:
    """Return a number with so many digits; JSON has no infinity, so None for what is not finite."""
    if isinstance(value, float):
        return float(f"{value:.{n}g}") if math.isfinite(value) else None
    return value


@dataclass
class Recorder:
    """Watches a benchmark from its start, and writes what it found where that is wanted.

    Attributes
    ----------
    command : str
    peers : tuple of str
        Libraries that other processes of the benchmark import.
    """

    command: str
    peers: tuple[str, ...] = ()
    began: tuple[float, float, float] = field(
        default_factory=lambda: (busy_seconds(), own_seconds(), time.perf_counter())
    )

    def write(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> None:
        """Write results under a name."""
        busy, own, clock = self.began
        elapsed = (time.perf_counter() - clock) * (os.cpu_count() or 1)
        others = ((busy_seconds() - busy) - (own_seconds() - own)) / elapsed
        found = versions()
        for peer in self.peers:
            try:
                found[peer] = importlib.metadata.version(peer)
            except importlib.metadata.PackageNotFoundError:
                continue
        rounded = [[digits(v) for v in row] for row in rows]
        base = Record(
            self.command, columns, rounded, time.strftime("%Y-%m-%d"), processor(), os.cpu_count(), note=note
        )
        replace(
            base, others=digits(others if math.isnan(others) else max(0.0, others), 2), versions=found
        ).save(name)
        print(f"written: asv_bench/results/{name}.json")


def option(parser: argparse.ArgumentParser) -> None:
    """Add ``--record``."""
    parser.add_argument(
        "--record", action="store_true", help="write the results to asv_bench/results, for the site"
    )


def of_methods(description: str | None) -> argparse.Namespace:
    """Parse the arguments of a benchmark over methods: names, or all, which alone may be recorded."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="*", metavar="METHOD", help="left out: all")
    option(parser)
    options = parser.parse_args()
    if options.record and options.names:
        parser.error("--record writes all methods: name none")
    return options


def command(module: str) -> str:
    """Return the command line of a module as a reader would type it."""
    return " ".join(["python -m", f"asv_bench.{module}", *(a for a in sys.argv[1:] if a != "--record")])
