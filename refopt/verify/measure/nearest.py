"""The fingerprints of all registered methods, made once (``python -m refopt.verify.measure``), and who is nearest."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import math
from collections.abc import Iterator, Mapping

from refopt.core.method import Method
from refopt.core.registry import Entry, methods
from refopt.verify.measure.differences import ORDER
from refopt.verify.measure.sides import measured, reference

TABLE = "fingerprints.tsv"

# Beyond this a difference counts no more.
FAR = 1.0


def recognisable() -> list[Entry]:
    """Return the methods that a fingerprint is kept of: gradients are all that they need."""
    return [
        e for e in methods("optimizer") if tuple(e.needs) == ("grad",) and e.obj.update is not Method.update
    ]


def made() -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield name, dialect and numbers of every method and dialect, at its defaults."""
    for e in recognisable():
        for dialect in e.dialects:
            yield e.name, dialect, of(e.name, dialect)


def of(name: str, dialect: str) -> dict[str, float]:
    """Return a method's numbers; of a matrix alone where it does not take a vector (scaled-gd's factors)."""
    it = reference(name, dialect)
    return measured(it) or measured(dataclasses.replace(it, leaves=("matrix",)))


@functools.cache
def table() -> dict[tuple[str, str], dict[str, float]]:
    """Return the numbers that were kept, by name and dialect."""
    text = importlib.resources.files("refopt").joinpath(TABLE).read_text(encoding="utf-8")
    head, *rows = (line.split("\t") for line in text.splitlines())
    return {
        (row[0], row[1]): {k: float(v) for k, v in zip(head[2:], row[2:]) if v} for row in rows
    }  # fmt: skip


def line(name: str, dialect: str, numbers: Mapping[str, float]) -> str:
    """Return a method's line of the table."""
    kept = (_rounded(numbers[k]) if k in numbers else "" for k in ORDER)
    return "\t".join([name, dialect, *kept])


def _rounded(value: float) -> str:
    return "0" if abs(value) < 1e-7 else f"{value:.5g}"


def ranked(numbers: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return all registered methods and dialects, those first whose numbers are nearest.

    Where the rate, betas and eps are others than a method's defaults, numbers that depend on them are
    off; those of kind (degrees, couplings, symmetries) weigh the most.
    """
    return [key for key, _ in sorted(table().items(), key=lambda row: _distance(numbers, row[1]))]


def nearest(numbers: Mapping[str, float], most: int = 5) -> tuple[str, ...]:
    """Return the registered methods whose numbers are nearest, each once; none where nothing was measured."""
    if not numbers:
        return ()
    return tuple(dict.fromkeys(name for name, _ in ranked(numbers)))[:most]


KIND = frozenset({"degree", "odd", "row", "column", "leaf", "others", "place"})


def _distance(theirs: Mapping[str, float], own: Mapping[str, float]) -> float:
    """Return the mean gap over their numbers; one that a method does not have is as far as may be."""
    gaps = [(3.0 if k in KIND else 1.0) * (_gap(v, own[k]) if k in own else FAR) for k, v in theirs.items()]
    return sum(gaps) / len(gaps) if gaps else math.inf


def _gap(a: float, b: float) -> float:
    if not (math.isfinite(a) and math.isfinite(b)):
        return 0.0 if a == b else FAR
    return min(abs(a - b) / (0.05 + 0.5 * max(abs(a), abs(b))), FAR)
