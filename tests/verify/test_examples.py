"""The protocol's worked examples, in C and JavaScript, beside refopt's Adam."""

from __future__ import annotations

import math
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import refopt
from refopt.core.errors import ProgramError
from refopt.verify.inputs.tapes import make
from refopt.verify.sides.program import program_side

EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "examples"


def _c(tmp_path: pathlib.Path, source: str | None = None) -> list[str]:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    text = tmp_path / "adam.c"
    text.write_text(source or (EXAMPLES / "adam.c").read_text(encoding="utf-8"))
    words = [
        "gcc",
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-pedantic",
        "-Werror",
        "-O2",
        "-o",
        tmp_path / "adam",
        text,
        "-lm",
    ]
    subprocess.run(words, check=True)
    return [str(tmp_path / "adam")]


def _js(tmp_path: pathlib.Path, source: str | None = None) -> list[str]:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    text = tmp_path / "adam.js"
    text.write_text(source or (EXAMPLES / "adam.js").read_text(encoding="utf-8"))
    return ["node", str(text)]


MAKERS = {"c": _c, "js": _js}
HYPER = {"lr": 0.03, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1}


def schedule(t: int) -> float:
    return 0.5 + 0.5 / t


def _units(command: list[str], kind: str, hyper: dict[str, float]) -> tuple[float, float]:
    """Run a program and refopt's adam side by side, 60 steps.

    Returns the largest differences of point and state in machine epsilons: the point's relative to the
    largest entry of its leaf and of the way gone, the state's relative to its own leaf's.
    """
    tape = make(kind, 60)
    run = program_side(command, method="adam").begin(tape.x0, hyper, schedule)
    o = refopt.optimizer("adam", schedule=schedule, **hyper)
    x, s = tape.x0, o.init(tape.x0)
    way = {k: np.zeros_like(v) for k, v in x.items()}
    points, states = [0.0], [0.0]

    def units(a: np.ndarray, b: np.ndarray, scale: float) -> float:
        gap = float(np.max(np.abs(a - b)))
        return gap / scale / np.finfo(float).eps if gap > 0.0 else 0.0

    try:
        for t, g in enumerate(tape.gradients, 1):
            before = x
            x, s = o.update(x, g, s)
            y, shown = run.step(g, t), run.state()
            for k in x:
                way[k] += np.abs(x[k] - before[k])
                points.append(units(y[k], x[k], float(np.max(way[k]) + np.max(np.abs(x[k])))))
                states += [units(shown[n][k], s[n][k], float(np.max(np.abs(s[n][k])))) for n in ("m", "v")]
    finally:
        run.close()
    return max(points), max(states)


# Measured: at most 4.9 units in the point.
@pytest.mark.parametrize("hyper", [{}, HYPER], ids=["defaults", "other"])
@pytest.mark.parametrize("kind", ["random", "zeros", "huge", "tiny"])
@pytest.mark.parametrize("language", MAKERS)
def test_examples(tmp_path: pathlib.Path, language: str, kind: str, hyper: dict[str, float]) -> None:
    """C and JavaScript hold to refopt's adam, points and state, to a few units of rounding."""
    point, state = _units(MAKERS[language](tmp_path), kind, hyper)
    assert point <= 8.0
    assert state <= 8.0


@pytest.mark.parametrize(
    ("language", "line", "wrong"),
    [
        ("c", "pow(hyper.beta2, t)", "pow(hyper.beta2, t + 1)"),
        ("js", "hyper.beta2 ** t", "hyper.beta2 ** (t + 1)"),
        ("c", "(1 - hyper.beta1) * g[i]", "(1 - hyper.beta2) * g[i]"),
        ("js", "+ hyper.eps)", "- hyper.eps)"),
    ],
)
def test_a_wrong_example_is_told(tmp_path: pathlib.Path, language: str, line: str, wrong: str) -> None:
    """The same programs with a line of theirs changed."""
    source = (EXAMPLES / f"adam.{language}").read_text(encoding="utf-8")
    assert source.count(line) == 1
    point, _ = _units(MAKERS[language](tmp_path, source.replace(line, wrong)), "random", HYPER)
    assert point > 1e9


def test_compare_takes_a_program(tmp_path: pathlib.Path) -> None:
    """A command line is an implementation for `compare`: the C program agrees, and its state is found."""
    report = refopt.verify.compare(_c(tmp_path), "adam", steps=20)
    assert report.agrees, str(report)
    assert {k: v[0] for k, v in report.state.items()} == {"m": "m", "v": "v"}
    source = (
        (EXAMPLES / "adam.c")
        .read_text(encoding="utf-8")
        .replace("pow(hyper.beta2, t)", "pow(hyper.beta2, t + 1)")
    )
    assert not refopt.verify.compare(_c(tmp_path, source), "adam", steps=20).agrees


@pytest.mark.parametrize("language", MAKERS)
def test_examples_refuse_float32(tmp_path: pathlib.Path, language: str) -> None:
    """They say why."""
    side = program_side(MAKERS[language](tmp_path), method="adam")
    with pytest.raises(ProgramError, match="at the start it refused: this Adam computes in float64"):
        side.begin({"w": np.zeros(3, dtype=np.float32)}, {}, None)


@pytest.mark.parametrize("language", MAKERS)
def test_examples_pass_on_what_is_not_finite(tmp_path: pathlib.Path, language: str) -> None:
    """An infinite gradient makes NaN, in the answer's words; other leaves' names and entries stay."""
    x0 = {'odd "name" é\\': np.ones((2, 1)), "b": np.array(2.0)}
    run = program_side(MAKERS[language](tmp_path), method="adam").begin(x0, {"lr": 0.1}, None)
    x = run.step({'odd "name" é\\': np.array([[math.inf], [0.0]]), "b": np.array(-math.inf)}, 1)
    run.close()
    np.testing.assert_array_equal(x['odd "name" é\\'], [[math.nan], [1.0]])
    assert math.isnan(x["b"])
    assert run.state()["v"]["b"] == math.inf
