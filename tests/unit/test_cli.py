"""The command line."""

from __future__ import annotations

import json
import pathlib

import pytest
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
