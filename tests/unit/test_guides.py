"""The guides' examples run as they stand; those that need a peer library, in tests/parity."""

from __future__ import annotations

import ast
import pathlib
import re
import shutil
import subprocess
from typing import Any

import pytest
import refopt
from refopt.verify import write_vectors

DOCS = pathlib.Path(__file__).parents[2] / "docs"
RUST = DOCS / "examples" / "check_adam.rs"


def blocks(page: str) -> list[str]:
    """Return the Python of a page."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_tutorial(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From top to bottom, as one program."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "tutorial"}
    for block in blocks("tutorial.md"):
        exec(compile(block, "tutorial.md", "exec"), scope)
    assert {"study.sqlite", "curves.svg"} <= {f.name for f in tmp_path.iterdir()}
    printed = capsys.readouterr().out
    assert "beta1: wanted" in printed and "tests show that it is right" in printed


def test_a_function_of_arrays(capsys: pytest.CaptureFixture[str]) -> None:
    """The implementers' page begins with NumPy alone: the right one agrees, the slip is explained."""
    first = blocks("implementers.md")[0]
    exec(compile(first, "implementers.md", "exec"), {"__name__": "implementers"})
    assert "eps inside the root" in capsys.readouterr().out


def last_value(block: str, scope: dict[str, Any]) -> Any:
    """Run a block, and return the value of the expression at its end."""
    tree = ast.parse(block)
    assert isinstance(tree.body[-1], ast.Expr)
    end = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
    exec(compile(tree, "guide", "exec"), scope)
    return eval(compile(end, "guide", "eval"), scope)


def test_a_method_that_asks_at_points_of_its_own() -> None:
    """SVRG as docs/verify.md has it agrees."""
    (block,) = (b for b in blocks("verify.md") if "def svrg" in b)
    assert last_value(block, {"refopt": refopt}).agrees


def test_every_example_of_the_implementers_page_is_run() -> None:
    """NumPy here, torch, JAX and Keras in tests/parity, C and JavaScript in test_examples, Rust here, the fixture in test_plugin."""
    found = blocks("implementers.md")
    assert [next((k for k in PEERS if f"import {k}" in b), "") for b in found] == [
        "",
        "torch",
        "jax",
        "keras",
        "",
    ]
    text = (DOCS / "implementers.md").read_text(encoding="utf-8")
    assert {f.name for f in (DOCS / "examples").iterdir()} == set(
        re.findall(r"\]\(examples/([\w.]+)\)", text)
    )


PEERS = ("torch", "jax", "keras")


def rust(folder: pathlib.Path, source: str) -> list[str]:
    """Compile a program without a warning."""
    file = folder / "check_adam.rs"
    file.write_text(source, encoding="utf-8")
    words = ["rustc", "--edition", "2021", "-D", "warnings", "-o", folder / "check_adam", file]
    subprocess.run(words, check=True, capture_output=True)
    return [str(folder / "check_adam")]


def test_adam_in_rust(tmp_path: pathlib.Path) -> None:
    """It agrees with every dialect's vectors; a wrong correction differs, and another method is refused."""
    if shutil.which("rustc") is None:
        pytest.skip("rustc is not installed")
    source = RUST.read_text(encoding="utf-8")
    program = rust(tmp_path, source)

    def run(command: list[str], name: str, dialect: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / f"{name}.{dialect}.json"
        write_vectors(name, file, dialect=dialect)
        return subprocess.run([*command, file], capture_output=True, text=True, check=False)

    for name, dialect in (("adam", "paper"), ("adam", "keras"), ("adamw", "torch"), ("adamw", "optax")):
        done = run(program, name, dialect)
        assert done.returncode == 0 and done.stdout.count("agrees") == 2, done.stdout + done.stderr
    assert run(program, "lion", "paper").returncode == 2
    assert source.count("1.0 - h.beta2.powi(t)") == 1
    wrong = rust(tmp_path, source.replace("1.0 - h.beta2.powi(t)", "1.0 - h.beta2.powi(t + 1)"))
    done = run(wrong, "adam", "paper")
    assert done.returncode == 1 and "DIFFERS" in done.stdout
