"""What the recorded benchmarks say of a method."""

from __future__ import annotations

from functools import cache

# It puts the repository's root on the path, where the results lie.
import benchmark_tables


@cache
def targets() -> dict[str, dict[str, str]]:
    """Return by name the gradients that a method needed to the target of each problem."""
    found: dict[str, dict[str, str]] = {}
    for row in benchmark_tables.load("target").dicts():
        if row["gradients"] is not None:
            found.setdefault(row["method"], {})[row["problem"]] = f"{row['gradients']:.3g}"
    return found


def cost(name: str) -> list[str]:
    """Return a line of a list."""
    reached = targets().get(name)
    if not reached:
        return []
    text = "; ".join(f"{problem}: {count}" for problem, count in reached.items())
    return [f"- Gradients to the target, the rate searched (:doc:`benchmarks </benchmarks>`): {text}."]
