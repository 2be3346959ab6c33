"""What the committed benchmarks say of a method."""

from __future__ import annotations

import pathlib
import re
from functools import cache

FILE = pathlib.Path(__file__).parent / "benchmarks.md"


@cache
def targets() -> dict[str, dict[str, str]]:
    """Return by name the gradients that a method needed to the target of each problem, from the table of the page."""
    found: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if line.startswith("| method | "):
            problems = cells[1:]
        elif not line.startswith("|"):
            problems = []
        elif problems and len(cells) == len(problems) + 1 and re.fullmatch("[a-z0-9-]+", cells[0]):
            reached = {p: c.partition(" (")[0] for p, c in zip(problems, cells[1:]) if re.match(r"\d", c)}
            if reached:
                found[cells[0]] = reached
    return found


def cost(name: str) -> list[str]:
    """Return a line of a list."""
    reached = targets().get(name)
    if not reached:
        return []
    text = "; ".join(f"{problem}: {count}" for problem, count in reached.items())
    return [f"- Gradients to the target, the rate searched (:doc:`benchmarks </benchmarks>`): {text}."]
