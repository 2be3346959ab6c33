"""``refopt sweep``."""

from __future__ import annotations

import json
import pathlib

import pytest
import refopt
from refopt.cli import main

FILE = """
methods = ["sgd", {name = "adam", beta1 = 0.8}]
problems = [{name = "quadratic", n = 3}]
seeds = [0, 1]
jobs = 1

[grids]
lr = [0.01, 0.1]

[grids.adam]
eps = [1e-8, 1e-4]

[budget]
steps = 5
"""


@pytest.fixture
def toml(tmp_path: pathlib.Path) -> str:
    """The path of a sweep's file."""
    path = tmp_path / "s.toml"
    path.write_text(FILE)
    return str(path)


def test_sweep_and_its_store(toml: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The runs of the file, a table, and the same from the store alone; figures are written."""
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    store = str(tmp_path / "s.sqlite")
    assert main(["sweep", toml, "--store", store]) == 0
    said = capsys.readouterr()
    assert "12 runs, 0 failed, 0 left" in said.out and "beta1=0.8" in said.out and said.err == ""
    pictures = [str(tmp_path / f"{k}.png") for k in ("curves", "profile", "best")]
    options = [w for k, p in zip(("curves", "profile", "best"), pictures) for w in (f"--{k}", p)]
    assert main(["sweep", store, *options, "--tolerance", "0.3"]) == 0
    again = capsys.readouterr().out
    assert "tolerance 0.3" in again and all(pathlib.Path(p).stat().st_size > 1000 for p in pictures)
    assert main(["sweep", store, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    rows = refopt.Sweep.open(store).rows
    assert [r["fun"] for r in data["rows"]] == [r.fun for r in rows] and data["left"] == 0
    assert [b["settings"] for b in data["best"]] == [
        dict(p.settings) for p in refopt.Sweep.open(store).best().chosen
    ]


def test_divergence_is_a_result_and_an_error_is_not(
    toml: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 0 with a rate that is too large, and JSON without infinities."""
    path = pathlib.Path(toml)
    path.write_text(FILE.replace("lr = [0.01, 0.1]", "lr = [1e200]"))
    assert main(["sweep", toml, "--store", str(tmp_path / "s.sqlite"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out, parse_constant=lambda c: pytest.fail(c))
    assert data["rows"][0]["status"] == "diverged" and data["best"][0]["median"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [(("[grids]", "[grid]"), "no 'grid'. Did you mean 'grids'?"), (("steps = 5", "step = 5"), "no 'step'"),
     (("[budget]", "[budget"), "is no TOML"), (("jobs = 1", "jobs = 0"), "jobs"), (("[0, 1]", "2"), "seeds: wanted a sequence"),
     (('"sgd"', '"sdg"'), "Did you mean 'sgd'"), (("problems =", "seed ="), "no 'seed'")],
)  # fmt: skip
def test_a_bad_file_is_told(
    change: tuple[str, str], says: str, toml: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, status 2, and no store."""
    pathlib.Path(toml).write_text(FILE.replace(*change))
    assert main(["sweep", toml, "--store", str(tmp_path / "s.sqlite")]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert not (tmp_path / "s.sqlite").exists()


def test_what_is_missing_is_told(
    toml: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there, a file without problems, a figure that cannot be written: before any run."""
    assert main(["sweep", str(tmp_path / "none.toml")]) == 2
    pathlib.Path(toml).write_text('methods = ["sgd"]')
    assert main(["sweep", toml]) == 2
    pathlib.Path(toml).write_text(FILE)
    assert (
        main(
            ["sweep", toml, "--store", str(tmp_path / "s.sqlite"), "--curves", str(tmp_path / "no" / "c.png")]
        )
        == 2
    )
    said = capsys.readouterr().err.splitlines()
    assert [w in line for w, line in zip(("cannot be read", "problems is missing", "no folder"), said)] == [
        True
    ] * 3
    assert not (tmp_path / "s.sqlite").exists()
