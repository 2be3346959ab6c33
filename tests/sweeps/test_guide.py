"""The guide's examples run, in their order."""

from __future__ import annotations

import pathlib
import re

import pytest
from refopt.cli import main
from refopt.sweeps import running

GUIDE = (pathlib.Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")


def test_the_guide(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python as it stands, but for other executors; then the TOML file through the command line, and its store."""
    for module in ("matplotlib", "rich"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "cores", lambda: 2)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    scope = {"__name__": "__main__"}
    for block in blocks:
        code = compile(block, "sweeps.md", "exec")
        if "distributed" not in block and "mpi4py" not in block:
            exec(code, scope)
    assert len(blocks) == 6
    assert {"runs.sqlite", "rates.png", "profile.pdf", "curves.svg"} <= {f.name for f in tmp_path.iterdir()}
    (toml,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    pathlib.Path("rates.toml").write_text(toml.replace("jobs = 2", "jobs = 1"))
    assert main(["sweep", "rates.toml"]) == 0 == main(["sweep", "rates.sqlite", "--json"])
    assert "54 runs" in capsys.readouterr().out
