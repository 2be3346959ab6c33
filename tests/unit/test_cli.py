"""The command line."""

from __future__ import annotations

import io
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.cli import main


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"name": "adam", "kind": "optimizer"}.items() <= next(
        r for r in rows if r["name"] == "adam"
    ).items()
    assert main(["list", "--kind", "wrapper"]) == 0
    out = capsys.readouterr().out
    assert "sam" in out
    assert "adam" not in out


def _listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["list", "--json", *words]) == 0
    return [row["name"] for row in json.loads(capsys.readouterr().out)]


def test_list_with_conditions(capsys: pytest.CaptureFixture[str]) -> None:
    """By needs, memory, form of the rule, rate, and words of the documentation."""
    cheap = _listed(capsys, "--needs", "grad", "--memory", "1", "--elementwise")
    assert "lion" in cheap
    assert not {"adam", "adahessian", "muon", "sqrtm-eigh"} & set(cheap)
    assert {"adahessian", "sgd"} <= set(_listed(capsys, "--needs", "grad,hvp", "--kind", "optimizer"))
    assert "muon" in _listed(capsys, "--matrix")
    assert "adam" not in _listed(capsys, "--matrix")
    assert "levenberg-marquardt" in _listed(capsys, "--no-rate")
    assert "adam" not in _listed(capsys, "--no-rate")
    assert "svrg" in _listed(capsys, "--query", "variance reduced gradients")
    assert _listed(capsys, "--query", "zzzzzz") == []
    free = _listed(capsys, "--memory", "0")
    assert "clipped-sgd" in free
    assert "momentum" not in free
    assert main(["list", "--needs", "gard"]) == 2
    assert "Did you mean 'grad'" in capsys.readouterr().err
    assert main(["show", "lion"]) == 0
    assert "elementwise; 1 copy of the parameters in its state" in capsys.readouterr().out


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "adam"]) == 0
    out = capsys.readouterr().out
    for words in (
        "Algorithm 1",
        "1412.6980",
        "beta1",
        "[0, 1)",
        "keras",
        "tests/methods/test_adam.py",
        "grad",
    ):
        assert words in out
    for name, line in (
        ("adam", "return keep * x - step * m / below, m, v"),
        ("kfac", "class KFAC"),
        ("cg", "def cg("),
    ):
        assert main(["show", name, "--code"]) == 0
        assert line in capsys.readouterr().out
    assert main(["show", "adam", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dialects"]["torch"]["settings"] == {"decay": "'coupled'"}


def test_run_with_plot(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    plot = tmp_path / "curve.png"
    words = [
        "run",
        "adam",
        "quadratic",
        "--lr",
        "0.1",
        "--problem.n",
        "7",
        "--steps",
        "20",
        "--plot",
        str(plot),
    ]
    assert main(words) == 0
    assert "grad:20" in capsys.readouterr().out
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_run_json_and_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    words = ["run", "sgd", "quadratic", "--lr=0.1", "--json", "--checkpoint", str(tmp_path / "c"), "--steps"]
    assert main([*words, "5"]) == 0
    assert json.loads(capsys.readouterr().out)["nit"] == 5
    assert main([*words, "8"]) == 2
    assert "exists; --resume goes on from it" in capsys.readouterr().err
    assert main([*words, "8", "--resume", "--problem.seed", "2"]) == 2
    assert "is of another run: its problem's answer at the start" in capsys.readouterr().err
    assert main([*words, "8", "--resume"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["nit"], result["calls"]) == (8, {"grad": 8})


def test_compare_by_budget(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    words = [
        "compare", "adahessian", "adam", "--problem", "mlp", "--problem.widths", "(4,)", "--batch-size", "200",
        "--budget", "3", "--adam.lr", "0.01", "--json", "--plot", str(tmp_path / "c.png"),
    ]  # fmt: skip
    assert main(words) == 0
    results = json.loads(capsys.readouterr().out)
    assert all(3 <= r["gradient_equivalents"] < 3.4 for r in results.values())
    assert results["adam"]["nit"] > 2 * results["adahessian"]["nit"]


def test_diverged_run_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "sgd", "quadratic", "--lr", "1e9", "--steps", "500"]) == 1
    assert "diverged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "adm", "mlp"], "Did you mean 'adam'"),
        (["run", "adam", "mpl"], "'mlp'"),
        (["run", "adam", "quadratic", "--lrr", "1"], "Did you mean 'lr'"),
        (["run", "adam", "quadratic", "--lr"], "--lr: wanted a value"),
        (["run", "adam", "quadratic", "--lr", "-1"], "[0, inf)"),
        (["run", "adam", "quadratic", "0.1"], "unexpected argument '0.1'"),
        (["run", "adam", "quadratic", "--sgd.lr", "1"], "neither 'problem' nor one of adam"),
        (["run", "adam", "quadratic", "--plot", "curve.xyz", "--steps", "1"], "--plot"),
        (["run", "kfac", "quadratic"], "kfac needs layers"),
        (["show", "adamm"], "Did you mean"),
        (["list", "--kind", "optimisers"], "'optimizer'"),
        (["compare", "adam", "adam", "--problem", "quadratic"], "twice"),
    ],
)
def test_bad_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error, exit status 2."""
    assert main(words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_argparse_errors_are_status_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["frobnicate"])
    assert caught.value.code == 2


def _refopt(*words: str, stdout: Any = subprocess.DEVNULL, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "refopt", *words], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
        env={**os.environ, **env},
    )  # fmt: skip


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_behind_the_output() -> None:
    with open("/dev/full", "w") as full:
        done = _refopt("list", stdout=full)
    assert (done.returncode, done.stderr) == (2, "refopt: cannot write the output: No space left on device\n")


def test_a_reader_that_has_seen_enough() -> None:
    """Pipes that close early are no errors, of any command."""
    for command in (("list",), ("show", "adam")):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            done = _refopt(*command, stdout=pipe)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("encoding", "every"), [("ascii", 2), ("cp1252", 20)])
def test_any_encoding(encoding: str, every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are shown, whatever the output can hold."""
    for name in ["", *(m.name for m in refopt.methods()[::every])]:
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["show", name] if name else ["list"]) == 0
        monkeypatch.undo()


def test_no_output_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed standard output is None in Python."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["list"]) == 0
    sys.stdout.close()
    monkeypatch.undo()


def test_an_interrupt_leaves_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    """Ctrl-C in step 8: status 130 and one line, and going on gives the bits of a run that was never stopped."""
    from refopt.core.oracle import Oracle

    words = ["run", "adam", "quadratic", "--steps", "20", "--json", "--checkpoint", str(tmp_path / "run")]
    begin = Oracle.begin

    def interrupted(self: Oracle, step: int, x: Any = None) -> None:
        if step == 8:
            raise KeyboardInterrupt
        begin(self, step, x)

    monkeypatch.setattr(Oracle, "begin", interrupted)
    assert main(words) == 130
    assert capsys.readouterr().err == "refopt: interrupted\n"
    monkeypatch.undo()
    assert main([*words, "--resume"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert main(words[:-2]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert (resumed["x"], resumed["calls"], resumed["nit"]) == (whole["x"], whole["calls"], 20)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "adam", "quadratic", "--seed", "-1"], "seed"),
        (["run", "adam", "quadratic", "--problem.n", "100000000000000"], "out of memory"),
        (["run", "adam", "quadratic", "--plot", "/no/such/folder/x.png"], "--plot"),
        (["run", "adam", "quadratic", "--checkpoint", "/no/such/folder/x"], "checkpoint"),
    ],
)
def test_one_line_and_no_traceback(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--steps", "2"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1


def test_the_result_is_printed_before_the_curves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    assert main(["run", "adam", "quadratic", "--steps", "2", "--plot", str(tmp_path / "x.nonsense")]) == 2
    assert "all 2 steps made" in capsys.readouterr().out


def test_escape_codes_of_others_are_shown_not_obeyed() -> None:
    program = f"{sys.executable} -c \"import sys; sys.stderr.write(chr(27) + '[31mred')\""
    done = _refopt("verify", program, "adam", "--steps", "2")
    assert done.returncode == 2
    assert "\\x1b[31mred" in done.stderr
    assert "\x1b" not in done.stderr


def test_compare_over_seeds_with_validation(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Medians and quartiles over runs that differ in their batches; two processes give the same numbers as one."""
    words = ["compare", "adam", "sgd", "--problem", "logistic", "--batch-size", "32", "--steps", "30", "--lr", "0.05",
        "--seeds", "3", "--validation", "0.3"]  # fmt: skip
    assert main([*words, "--plot", str(tmp_path / "bands.png")]) == 0
    printed = capsys.readouterr().out
    assert "best validation" in printed and (tmp_path / "bands.png").stat().st_size > 1000
    assert main([*words, "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert main([*words, "--json", "--jobs", "2"]) == 0
    two = json.loads(capsys.readouterr().out)
    assert [[r["fun"] for r in rs] for rs in one.values()] == [[r["fun"] for r in rs] for rs in two.values()]
    assert len({r["fun"] for r in one["adam"]}) == 3
    train, kept = refopt.problem("logistic").split(0.3, 0)
    assert (train.n_examples, kept.n_examples) == (398, 171)
    x = refopt.minimize(train, "adam", lr=0.05, batch_size=32, steps=30, seed=1, record=kept)
    assert one["adam"][1]["history"]["value"] == x.history["value"].tolist()


@pytest.mark.parametrize(
    "words",
    [
        ["--seeds", "0"],
        ["--jobs", "0"],
        ["--validation", "1.5"],
        ["--validation", "0.2", "--problem", "quadratic"],
    ],
)
def test_compare_refuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "adam", "--problem", "logistic", "--steps", "1", *words]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_subset_is_the_problem_on_its_rows() -> None:
    """Values and gradients are those of a batch; L is its own; what is known of the whole is not claimed of it."""
    for name in ("logistic", "softmax", "mlp"):
        p = refopt.problem(name, l2=0.0)
        rows = np.array([4, 9, 2])
        part, x = p.subset(rows), p.start()
        assert part.n_examples == 3 and p.n_examples > 3
        np.testing.assert_allclose(part.value(x), p.value(x, batch=rows), rtol=1e-14)
    assert refopt.problem("logistic").subset(np.arange(50)).lipschitz != refopt.problem("logistic").lipschitz
    with pytest.raises(refopt.errors.CapabilityError, match="subset"):
        refopt.problem("quadratic").subset([0])


@pytest.mark.parametrize("text", ["raise RuntimeError('no luck')", "import sys\nsys.exit(3)"])
def test_a_file_that_raises_while_it_is_loaded(
    text: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(text)
    assert main(["verify", f"{tmp_path / 'mine.py'}:f", "adam"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("refopt: other: module") and err.count("\n") == 1
