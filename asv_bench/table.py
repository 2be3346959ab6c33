"""Every ratio in one run: ``python -m asv_bench.table [GROUP ...] [--record] [--json FILE]``.

Groups: elementwise, copy, leaves, matrix, others, figures; without a name all of them. The rows are
those of `asv_bench.rows`; a star marks a target that is missed, ``disturbed`` a row for which other
processes used the cores in every round (then first deciles are compared, not medians).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

from asv_bench import figures, record, rows
from asv_bench.side_by_side import THREADS, alternate, compare

SECONDS = {"matrix": 0.6}
PEERS = ("numba", "torch", "optax", "jax", "pytorch-optimizer")
COLUMNS = ("what", "value", "unit", "at_most", "seconds", "peer", "spread", "disturbed")


def ratios(group: str, rounds: int, more: int, only: str = "") -> list[dict[str, Any]]:
    """Measure the rows of one group whose titles hold `only`."""
    wanted = [r for r in rows.GROUPS[group]() if only in r.title]
    times = alternate([(r.ours, r.theirs) for r in wanted], SECONDS.get(group, 0.15), rounds, more)
    out = []
    for r in wanted:
        mine, theirs = times[r.ours], times[r.theirs]
        seconds, peer = compare(mine, theirs)
        out.append({
            "group": r.group, "what": r.title, "seconds": seconds, "peer": peer * r.bound,
            "value": seconds / (peer * r.bound), "at_most": r.at_most, "unit": "",
            "rounds": len(mine.seconds), "spread": max(mine.spread, theirs.spread),
            "disturbed": mine.disturbed or theirs.disturbed,
        })  # fmt: skip
    return out


def missed(row: dict[str, Any]) -> bool:
    """Tell whether a row has a target and is above it."""
    return row["at_most"] is not None and row["value"] > row["at_most"]


def line(row: dict[str, Any]) -> str:
    """Return a row as text."""
    target = "" if row["at_most"] is None else f"{row['at_most']:g}{'  *' if missed(row) else ''}"
    times = f"{_time(row['seconds'])} {_time(row['peer'])}" if row["unit"] == "" else f"{'':23}"
    value = f"{row['value']:8.3f}" if row["unit"] == "" else f"{row['value']:5.1f} {row['unit']}"
    return f"{row['what']:58} {times} {value:>8} {target:9} {row['spread']:6.2f}{'  disturbed' if row['disturbed'] else ''}"


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:9.1f} us" if seconds < 1e-2 else f"{1e3 * seconds:9.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--more", type=int, default=2, help="further rounds for rows that disagree")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="the rows whose titles hold it, not the figures"
    )
    record.option(parser)
    options = parser.parse_args()
    if options.record and options.only:
        parser.error("--record writes whole groups: leave --only out")
    begin = time.perf_counter()
    print(f"{THREADS} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at the start")
    print(f"{'what':58} {'refopt':>12} {'peer':>12}    ratio at most    spread")
    every: list[dict[str, Any]] = []
    for group in options.groups or [*rows.GROUPS, "figures"]:
        recorder = record.Recorder(record.command("table"), PEERS)
        if group != "figures":
            found = ratios(group, options.rounds, options.more, options.only)
        else:
            found = [] if options.only else figures.figures()
        for row in found:
            print(line(row), flush=True)
        every += found
        if options.record:
            recorder.write(
                group, COLUMNS, [[row[c] for c in COLUMNS] for row in found], f"{THREADS} threads."
            )
        print(f"load {os.getloadavg()[0]:.2f} after {group}, {time.perf_counter() - begin:.0f} s", flush=True)
    bad = [row["what"] for row in every if missed(row)]
    print(f"{len(bad)} of {sum(row['at_most'] is not None for row in every)} targets are missed")
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"threads": THREADS, "cores": os.cpu_count(), "rows": every}, f, indent=1)


if __name__ == "__main__":
    main()
