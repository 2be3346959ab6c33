"""Benchmarks as data, and the tables and pictures that the site makes of them. Nothing here is timed."""

from __future__ import annotations

import math
import pathlib
import re
import xml.etree.ElementTree as ET

import benchmark_tables
import pytest
import refopt
from asv_bench import record, rows
from asv_bench.table import COLUMNS
from charts import dots

PAGE = (pathlib.Path(benchmark_tables.__file__).parent / "benchmarks.md").read_text(encoding="utf-8")
FILES = sorted(f.stem for f in record.FOLDER.glob("*.json"))


def test_what_is_written_is_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    monkeypatch.setattr(record.sys, "argv", ["growth.py", "--record", "adam"])
    recorder = record.Recorder(record.command("growth"), ("numpy", "no-such-library"))
    recorder.write("one", ("what", "value"), [["a", 1.23456789], ["b", math.inf], ["c", None]], "words")
    found = record.load("one")
    assert found.dicts() == [
        {"what": "a", "value": 1.235},
        {"what": "b", "value": None},
        {"what": "c", "value": None},
    ]
    assert found.command == "python -m asv_bench.growth adam" and found.note == "words"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.date or "") and found.cores
    assert found.versions is not None and {"python", "refopt", "numpy"} <= found.versions.keys()
    assert "no-such-library" not in found.versions
    text = (tmp_path / "one.json").read_text(encoding="utf-8")
    assert '  ["a", 1.235],\n' in text, "a line a row"


@pytest.mark.parametrize("name", FILES)
def test_every_record_says_where_it_is_from(name: str) -> None:
    """The command, and day, machine and versions; where one is missing, the note says so."""
    found = record.load(name)
    assert found.command.startswith("python -m asv_bench.")
    assert all(len(row) == len(found.columns) for row in found.rows) and found.rows
    if None in (found.date, found.versions) or found.processor is None:
        assert "not kept" in found.note
    made = benchmark_tables.MADE[name]()
    assert f"asv_bench/results/{name}.json" in made
    assert all(len(line.split(" | ")) == len(header) for header, *lines in tables(made) for line in lines)


def test_a_busy_share_that_the_system_does_not_tell_is_unknown(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    monkeypatch.setattr(record, "busy_seconds", lambda: math.nan)
    record.Recorder("python -m asv_bench.x").write("x", ("a",), [[1]])
    assert record.load("x").others is None


def tables(text: str) -> list[list[str]]:
    """Return the tables of a page, the header split into its cells."""
    found = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    return [[lines[0].split(" | "), *lines[1:]] for lines in found]  # type: ignore[list-item]


def test_the_page_shows_every_record_and_no_pasted_table() -> None:
    included = re.findall(r"```{include} made/(\w+)\.md\n```", PAGE)
    assert sorted(included) == sorted(benchmark_tables.MADE) == FILES
    assert not re.search(r"^\|", PAGE, re.MULTILINE) and "![" not in PAGE


def test_what_the_scripts_measure_has_its_place() -> None:
    """The rows that `asv_bench.table` would write are those that the page reads."""
    titles = [row["what"] for row in record.load("elementwise").dicts()]
    assert titles == [row.title for row in rows.elementwise()]
    assert {"what", "value", "unit", "at_most"} <= set(COLUMNS)


def test_unknown_and_known_provenance_are_told() -> None:
    bare = record.Record("python -m asv_bench.x", ["a"], [[1]], note="Why.")
    assert benchmark_tables.provenance(bare, "x") == (
        "*Recorded on a day that was not kept by `python -m asv_bench.x` on a machine that was not kept. Versions: not kept. Why."
        " Data: `asv_bench/results/x.json`.*"
    )
    full = record.Record("c", ["a"], [[1]], "2026-11-05", "Z", 2, 0.256, {"numpy": "2.0"})
    assert benchmark_tables.provenance(full, "x") == (
        "*Recorded 5 November 2026 by `c` on 2 cores of Z, of which other jobs had 26 %. Versions: numpy 2.0. Data:"
        " `asv_bench/results/x.json`.*"
    )


def test_a_ratio_is_told_with_its_unit_and_whether_it_was_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["one", 2391.4, "ms", None, True], ["two", [0.55, 0.661], "", 1.3, None]]
    found = record.Record("c", ["what", "value", "unit", "at_most", "disturbed"], rows, note="Not kept.")
    monkeypatch.setattr(benchmark_tables, "load", lambda name: found)
    text = benchmark_tables.ratios("x")
    assert "| one | 2390 ms (disturbed) |  |" in text and "| two | 0.55 to 0.661 | 1.3 |" in text


def test_dots_stand_on_a_logarithmic_scale() -> None:
    picture = ET.fromstring(
        dots({"a": [1.0, 100.0], "b": [10.0, None]}, ["s", "t"], "title", "seconds, here")
    )
    marks = [m for m in picture.iter("path") if m.get("class", "").startswith("dot")]
    at = [float(re.findall(r"[\d.]+", m.get("transform", ""))[0]) for m in marks[2:]]
    assert len(marks) == 2 + 3, "two in the legend; None has none"
    assert math.isclose(at[2], (at[0] + at[1]) / 2, abs_tol=0.11), "ten is half way from one to a hundred"
    assert [t.text for t in picture.iter("text")][-1] == "seconds"


def test_methods_in_the_tables_are_registered() -> None:
    names = {m.name for m in refopt.methods()}
    for name in ("target", "bilevel", "growth"):
        # "ift-neumann, 10 terms": settings stand behind the name.
        assert {row["method"].partition(", ")[0] for row in record.load(name).dicts()} <= names
