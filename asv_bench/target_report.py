"""The table and the picture of time to target: ``python -m asv_bench.target_report PICTURE``.

Prints the table as Markdown, as it stands in the README, from `target_results.json`.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from asv_bench.target import RESULTS, SPACES


def order(results: dict[str, Any], titles: list[str]) -> list[str]:
    """Return the methods by how many targets they met, then by the geometric mean of the gradients."""
    names = sorted({name for found in results.values() for name in found})

    def key(name: str) -> tuple[int, float]:
        spent = [results[t][name]["gradients"] for t in titles if name in results[t]]
        met = [g for g in spent if g is not None]
        return (-len(met), sum(map(math.log, met)) / len(met) if met else math.inf)

    return sorted(names, key=key)


def cell(row: dict[str, Any] | None) -> str:
    """Return gradients, milliseconds and rate of one method on one problem."""
    if row is None:
        return ""
    rate = "" if row["lr"] is None else f", lr {row['lr']:.2g}"
    if row["gradients"] is None:
        return f"not met{rate}"
    return f"{row['gradients']:.3g} ({1e3 * row['seconds']:.2g} ms{rate})"


def table(results: dict[str, Any], titles: list[str]) -> str:
    """Return the table as Markdown."""
    lines = ["| method | " + " | ".join(titles) + " |", "|---" * (1 + len(titles)) + "|"]
    for name in order(results, titles):
        lines.append(f"| {name} | " + " | ".join(cell(results[t].get(name)) for t in titles) + " |")
    return "\n".join(lines)


def picture(results: dict[str, Any], titles: list[str], path: str) -> None:
    """Draw the gradient equivalents of every method, one mark a problem."""
    from matplotlib.figure import Figure

    names = order(results, titles)
    figure = Figure(figsize=(7, 0.17 * len(names) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    for title, mark in zip(titles, "os^D"):
        met = [
            (results[title][n]["gradients"], len(names) - k)
            for k, n in enumerate(names)
            if n in results[title] and results[title][n]["gradients"] is not None
        ]
        axes.plot(*zip(*met), mark, markersize=4.5, alpha=0.8, label=title)
    axes.set_yticks(range(len(names), 0, -1), names, fontsize=6)
    axes.set_ylim(0, len(names) + 1)
    axes.set_xscale("log")
    axes.set_xlabel("gradient equivalents to the target, at the rate that its own search found")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main(path: str) -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    titles = list(json.loads(SPACES.read_text(encoding="utf-8"))["problems"])
    picture(results, titles, path)
    print(table(results, titles))


if __name__ == "__main__":
    main(*sys.argv[1:])
