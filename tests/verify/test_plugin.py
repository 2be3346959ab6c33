"""The pytest plugin and the command line."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from refopt.cli import main

TEST = """
import numpy as np

def sgd(x, g, state, lr=0.1):
    return x - lr * g, None

def wrong(x, g, state, lr=0.1):
    return x + lr * g, None

def test_right(refopt_oracle):
    assert refopt_oracle(sgd, "sgd", steps=5).agrees

def test_wrong(refopt_oracle):
    refopt_oracle(wrong, "sgd", steps=5)
"""


def run_pytest(folder: pathlib.Path, *options: str) -> str:
    (folder / "test_mine.py").write_text(TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", *options, str(folder)],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    return done.stdout


def test_fixture(tmp_path: pathlib.Path) -> None:
    """With --refopt the right one passes and the wrong one fails with diagnosis and report."""
    out = run_pytest(tmp_path, "--refopt")
    assert "1 failed, 1 passed" in out
    assert "wrong is sgd on" not in out
    assert "wrong is sgd with the gradient's sign turned" in out
    assert "First at step 1" in out
    assert "2 skipped" in run_pytest(tmp_path)


def test_command_line(tmp_path: pathlib.Path, capsys: Any) -> None:
    """`refopt verify file.py:name sgd` says what it is, and its exit status whether it agrees."""
    file = tmp_path / "mine.py"
    file.write_text(TEST)
    assert main(["verify", f"{file}:sgd", "sgd", "--steps", "5"]) == 0
    assert "is sgd as its paper has it" in capsys.readouterr().out
    plot = tmp_path / "errors.svg"
    assert main(["verify", f"{file}:wrong", "sgd", "--steps", "5", "--plot", str(plot), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["explained_by"] == ["gradient-negated"] and answer["agrees"] is False
    assert answer["step"] == 1 and plot.exists()
    assert main(["verify", f"{file}:sgd", "sgd", "--dialect", "torch", "--lr", "0.2"]) == 0
    assert main(["verify", "scipy.linalg:expm", "spd-exp"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "no_such_module:f", "sgd"], "no_such_module"),
        (["verify", "math:no_such", "sgd"], "math has no 'no_such'"),
        (["verify", "math.py:sin", "sgd"], "no file"),
        (["verify", "scipy.linalg:expm", "adom"], "adom"),
    ],
)
def test_bad_usage(arguments: list[str], words: str, capsys: Any) -> None:
    """One line on standard error, status 2."""
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
