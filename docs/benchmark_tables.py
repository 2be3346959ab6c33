"""The tables and pictures of the benchmarks, made from what was recorded (`asv_bench/results`): ``docs/made/*.md``."""

from __future__ import annotations

import datetime
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from asv_bench.record import Record, load
from charts import dots, figure

POWERS = {1_000: "10³", 100_000: "10⁵", 10_000_000: "10⁷"}


def provenance(record: Record, name: str) -> str:
    """Return who measured: day, command, machine and versions, and what was not kept."""
    day = datetime.date.fromisoformat(record.date) if record.date else None
    when = f"{day.day} {day:%B %Y}" if day else "on a day that was not kept"
    cores = f"{record.cores} cores" if record.cores else ""
    machine = " of ".join(filter(None, (cores, record.processor))) or "a machine that was not kept"
    busy = "" if record.others is None else f", of which other jobs had {100 * record.others:.0f} %"
    versions = ", ".join(f"{k} {v}" for k, v in record.versions.items()) if record.versions else "not kept"
    note = f" {record.note}" if record.note else ""
    return f"*Recorded {when} by `{record.command}` on {machine}{busy}. Versions: {versions}.{note} Data: `asv_bench/results/{name}.json`.*"


def number(value: Any, form: str = ".2f") -> str:
    """Return a number, a range, or nothing."""
    if value is None:
        return ""
    return " to ".join(format(v, form) for v in value) if isinstance(value, list) else format(value, form)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def page(record: Record, name: str, *parts: str) -> str:
    """Return parts with what they were made from."""
    return "\n\n".join([*parts, provenance(record, name)]) + "\n"


def shown(picture: str, words: str) -> str:
    """Return a picture in Markdown."""
    return f'<div class="curves">{figure(picture, words)}</div>'


def elementwise() -> str:
    """Return the ratios of the elementwise methods by size and dtype."""
    record = load("elementwise")
    cells: dict[tuple[str, str], dict[tuple[str, int], Any]] = {}
    wanted: dict[tuple[str, int], Any] = {}
    for row in record.dicts():
        ours, peer = row["what"].split(" / ")
        method, size, dtype = ours.split()
        cells.setdefault((method, peer), {})[dtype, int(size)] = row["value"]
        wanted[dtype, int(size)] = row["at_most"]
    columns = sorted(wanted, key=lambda key: (-int(key[0][5:]), key[1]))
    rows = [[m, p, *(number(found.get(c)) for c in columns)] for (m, p), found in cells.items()]
    rows.append(["*wanted, at most*", "", *(number(wanted[c], "g") for c in columns)])
    titles = [f"{dtype}: {POWERS[size]}" for dtype, size in columns]
    values = {m: [found.get(("float32", n)) for n in POWERS] for (m, _), found in cells.items()}
    words = "A step's time over the peer's, float32; left of 1 is faster"
    series = [f"{p} parameters" for p in POWERS.values()]
    return page(
        record,
        "elementwise",
        shown(dots(values, series, words, words), words),
        table(["", "peer", *titles], rows),
    )


def ratios(name: str) -> str:
    """Return a table of whatever `asv_bench.table` or `asv_bench.tracks` measured in one group."""
    record = load(name)

    def measured(r: dict[str, Any]) -> str:
        both = r["value"] if isinstance(r["value"], list) else [r["value"]]
        value = number([float(f"{v:.3g}") for v in both], "g")
        # Others had the cores in every round: first deciles are compared.
        return " ".join(filter(None, (value, r.get("unit"), "(disturbed)" if r.get("disturbed") else "")))

    rows = [
        [
            r["what"].replace("10000000 parameters", "10⁷ parameters"),
            measured(r),
            number(r.get("at_most"), "g"),
        ]
        for r in record.dicts()
    ]
    return page(record, name, table(["what", "measured", "wanted, at most"], rows))


def training_loop() -> str:
    """Return the ratio of `minimize` to a plain torch loop."""
    record = load("training_loop")
    rows = [
        [
            number(r["refopt"], ".3f"),
            number(r["torch"], ".3f"),
            number(r["ratio"]),
            number(r["at_most"], "g"),
            str(r["turns"]),
        ]
        for r in record.dicts()
    ]
    header = ["minimize, s", "torch, s", "ratio, median", "wanted, at most", "turns"]
    return page(record, "training_loop", table(header, rows))


def sparse_logistic() -> str:
    """Return sparse logistic regression beside scikit-learn, the fastest first."""
    record = load("sparse_logistic")
    found = sorted(record.dicts(), key=lambda r: math.inf if r["seconds"] is None else r["seconds"])
    rows = [
        [
            r["method"],
            "not met" if r["number"] is None else f"{r['number']} {r['unit']}",
            number(r["seconds"]),
        ]
        for r in found
    ]
    values = {r["method"]: [r["seconds"]] for r in found if r["seconds"] is not None}
    words = "Seconds until f is within 1e-5 of its least value"
    picture = shown(dots(values, ["seconds"], words, words), words)
    return page(
        record,
        "sparse_logistic",
        picture,
        table(["method", "to 1e-5 of the optimum", "seconds, median"], rows),
    )


def bilevel() -> str:
    """Return the methods for two levels by what they ask for."""
    record = load("bilevel")
    problems = list(dict.fromkeys(r["problem"] for r in record.dicts()))
    found: dict[str, dict[str, Any]] = {}
    for r in record.dicts():
        found.setdefault(r["method"], {})[r["problem"]] = r

    def cell(r: dict[str, Any] | None) -> str:
        if r is None or r["outcome"] == "does not fit":
            return ""
        return f"{r['hypergradients']:.3g} (lr {r['lr']:g})" if r["outcome"] == "met" else r["outcome"]

    rows = [[linked(m), *(cell(by.get(p)) for p in problems)] for m, by in found.items()]
    values = {m: [by[p]["hypergradients"] if p in by else None for p in problems] for m, by in found.items()}
    words = "Hypergradient equivalents to the target, at the rate that its own search found"
    return page(
        record,
        "bilevel",
        shown(dots(values, problems, words, words), words),
        table(["method", *problems], rows),
    )


def linked(method: str) -> str:
    """Return a link to a method's page."""
    return f"[{method}](/methods/{method}.rst)"


def order(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the methods by how many targets they met, then by the geometric mean of the gradients."""

    def key(name: str) -> tuple[int, float]:
        met = [row["gradients"] for row in found[name].values() if row["gradients"] is not None]
        return -len(met), sum(map(math.log, met)) / len(met) if met else math.inf

    return sorted(found, key=key)


def time_to_target() -> str:
    """Return what each method asks for until the target of each problem."""
    record = load("target")
    problems = list(dict.fromkeys(r["problem"] for r in record.dicts()))
    found: dict[str, dict[str, Any]] = {}
    for r in record.dicts():
        found.setdefault(r["method"], {})[r["problem"]] = r

    def cell(r: dict[str, Any] | None) -> str:
        if r is None:
            return ""
        rate = "" if r["lr"] is None else f", lr {r['lr']:.2g}"
        return (
            f"not met{rate}"
            if r["gradients"] is None
            else f"{r['gradients']:.3g} ({1e3 * r['seconds']:.2g} ms{rate})"
        )

    names = order(found)
    values = {n: [found[n][p]["gradients"] if p in found[n] else None for p in problems] for n in names}
    words = "Gradient equivalents to the target, at the rate that its own search found"
    rows = [[linked(n), *(cell(found[n].get(p)) for p in problems)] for n in names]
    folded = f"<details><summary>The table</summary>\n\n{table(['method', *problems], rows)}\n\n</details>"
    return page(record, "target", shown(dots(values, problems, words, words), words), folded)


def growth() -> str:
    """Return the fitted exponents beside the stated ones."""
    record = load("growth")
    rows = [
        [
            linked(r["method"]),
            f"{r['measure']} by {r['variable']}",
            number(r["exponent"]),
            number(r["stated"], "g"),
            r["where"],
        ]
        for r in record.dicts()
        # That a state grows as the parameters do is the same line for every method.
        if not r["where"].startswith("state_copies")
    ]
    states = sum(r["where"].startswith("state_copies") for r in record.dicts())
    words = f"{states} methods that state how many copies of the parameters they keep are held to it besides."
    return page(record, "growth", table(["method", "what grows", "exponent", "stated", "where"], rows), words)


MADE: dict[str, Callable[[], str]] = {
    "elementwise": elementwise, "training_loop": training_loop, "sparse_logistic": sparse_logistic, "bilevel": bilevel,
    "target": time_to_target, "growth": growth,
    **{name: (lambda name=name: ratios(name)) for name in ("copy", "leaves", "matrix", "figures", "bench_linear", "second_order")},
}  # fmt: skip


def texts() -> dict[str, str]:
    """Return all made pieces by their files."""
    return {f"made/{name}.md": make() for name, make in MADE.items()}
