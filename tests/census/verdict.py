"""What the oracle says of one optimizer that it knows nothing about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refopt.core.registry import entry
from refopt.verify import diagnose
from refopt.verify.report import Diagnosis
from refopt.verify.search.recognition import recognise

STEPS = 30


@dataclass(frozen=True)
class Verdict:
    """An outcome, and what it is in words."""

    outcome: str
    words: str = ""


def judge(thing: Any, effort: int, told: str | None = None, dtype: str = "float64") -> Verdict:
    """Return the verdict on an optimizer, which may be told to be a method."""
    try:
        if told is not None:
            found = _read(diagnose(thing, told, steps=STEPS, effort=effort, dtype=dtype), told)
            alone = "; in single precision, as it keeps its averages" if dtype == "float32" else ""
            return Verdict(found.outcome, found.words + alone)
        near = recognise(thing)
        if not near.name:
            return Verdict("not registered", f"nearest: {', '.join(near.nearest[:3])}")
        return _read(diagnose(thing, near.name, steps=STEPS, effort=effort), near.name)
    except Exception as error:
        # Foreign code that wants a loss, a closure, another shape.
        return Verdict("not run", f"{type(error).__name__}: {_cell((str(error).splitlines() or [''])[0])}")


def _read(answer: Diagnosis, name: str) -> Verdict:
    parts = list(answer.explained_by)
    if not parts:
        measured = answer.sentence.partition("Measured: ")[2]
        return Verdict("unexplained", f"called {name}, or nearest to it. {_cell(whole(measured))}".strip())
    dialects = {p for p in parts if p in entry(name).dialects}
    rest = [p for p in parts if p not in dialects]
    if not rest:
        dialect = "" if parts == ["paper"] else f", dialect {parts[0]!r}"
        return Verdict("agrees", f"{name}{dialect}")
    if "more than rounding explains" in answer.sentence:
        rest.append(f"up to {answer.error:.1g}, which is more than rounding explains")
    about = f"; known from {'; '.join(answer.seen)}" if answer.seen else ""
    return Verdict("differs", f"{name}: {_cell(', '.join(parts))}{_cell(about)}")


def whole(text: str, most: int = 400) -> str:
    """Return the sentences that end within `most` characters."""
    return text if len(text) <= most else text[: text.rfind(". ", 0, most) + 1]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
