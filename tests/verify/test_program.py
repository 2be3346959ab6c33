"""Programs as sides: the protocol, and every way in which a program can fail."""

from __future__ import annotations

import gc
import math
import os
import pathlib
import sys
import textwrap
import time
from typing import Any

import numpy as np
import pytest
from refopt.core.errors import ArgumentError, ArgumentTypeError, ProgramError, RefoptError, ShapeError
from refopt.verify.sides.program import Conversation, program_side
from refopt.verify.sides.side import Side

# Answers every question as asked; a test puts its own lines in place of one of the answers.
PROGRAM = """
import json, math, os, signal, sys, time
def say(answer):
    print(json.dumps(answer), flush=True)
def describe(m): say({"ok": True, "takes": ["lr"], "known": {"lr": 0.5}, "schedule": True})
def start(m):
    global x
    x = m["x"]; say({"ok": True})
def step(m): say({"ok": True, "x": m["g"]})
def stop(m): sys.exit(0)
%s
for line in sys.stdin:
    m = json.loads(line)
    assert m["refopt"] == 1
    globals()[m["do"]](m)
"""


def program(lines: str = "") -> list[str]:
    return [sys.executable, "-c", PROGRAM % textwrap.dedent(lines)]


def begin(side: Side, x0: dict[str, np.ndarray] | None = None, **hyper: Any) -> Any:
    return side.begin({"w": np.zeros((2, 2)), "b": np.zeros(3)} if x0 is None else x0, hyper, None)


G = {"w": np.ones((2, 2)), "b": np.ones(3)}


def gone(pid: int) -> bool:
    """Wait for a process to be no more."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if pathlib.Path(f"/proc/{pid}/stat").exists():
            state = (
                pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            )
            if state == "Z":  # ended; its new parent has not looked yet
                return True
        time.sleep(0.02)
    return False


def test_description() -> None:
    """What the program says of itself."""
    side = program_side(program())
    assert (side.takes, side.known, side.schedulable, side.together) == (
        frozenset({"lr"}), {"lr": 0.5}, True, True,
    )  # fmt: skip
    assert side.name == pathlib.Path(sys.executable).name
    named = program_side(
        program("""
        def describe(m):
            say({"ok": True, "name": m["method"] + " of mine", "together": False, "known": {"upper": "inf"}})
        """),
        method="amsgrad",
    )
    assert (named.name, named.takes, named.known, named.schedulable, named.together) == (
        "amsgrad of mine", frozenset(), {"upper": math.inf}, False, False,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_come_back_to_the_bit(dtype: str) -> None:
    """Any bits, by way of decimals; NaN and infinity as words; a signed zero."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**64, 200, dtype=np.uint64)
    values = bits.view(np.float64) if dtype == "float64" else bits.view(np.float32)
    special = np.array([math.nan, math.inf, -math.inf, -0.0, 0.1, 5e-324], dtype=dtype)
    g = {"w": np.concatenate([values, special]), "b": np.array(np.float64(1 / 3), dtype=dtype)}
    run = begin(program_side(program()), {k: np.zeros_like(v) for k, v in g.items()})
    x = run.step(g, 1)
    run.close()
    for k, v in g.items():
        assert x[k].dtype == v.dtype and x[k].shape == v.shape
        np.testing.assert_array_equal(x[k], v)
        np.testing.assert_array_equal(np.signbit(x[k]), np.signbit(v) & ~np.isnan(v))


def test_what_a_program_is_told() -> None:
    """Start, hyperparameters, shapes, the step's number and the rate's multiplier; and its state comes back."""
    side = program_side(
        program("""
        def start(m):
            global told
            told = m; say({"ok": True})
        def step(m):
            assert told["method"] == "adam" and told["dtype"] == "float64", told
            assert told["hyper"] == {"lr": 0.25, "eps": "inf", "decay": "coupled", "flag": True}, told
            assert told["shapes"] == {"w": [2, 2], "s": []}, told
            assert told["x"] == {"w": [1.0, 2.0, 3.0, 4.0], "s": ["nan"]}, told
            x = {"w": [m["t"], m["lr_multiplier"], 0, 0], "s": [0]}
            say({"ok": True, "x": x, "state": {"m": m["g"]}})
        """),
        method="adam",
    )
    x0 = {"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "s": np.array(math.nan)}
    hyper = {"lr": 0.25, "eps": math.inf, "decay": "coupled", "flag": True}
    run = side.begin(x0, hyper, lambda t: 0.5 / t)
    for t in (1, 2):
        g = {"w": np.full((2, 2), t + 0.5), "s": np.array(-0.0)}
        x = run.step(g, t)
        np.testing.assert_array_equal(x["w"], [[t, 0.5 / t], [0, 0]])
        np.testing.assert_array_equal(run.state()["m"]["w"], g["w"])
    run.close()
    run.close()


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        (["/none/such"], ProgramError, "command: /none/such cannot start .No such file"),
        (["/dev/null"], ProgramError, "cannot start .Permission denied"),
        ("", ArgumentError, "command: is empty"),
        ([], ArgumentError, "command: is empty"),
        ("a 'b", ArgumentError, "cannot be split"),
        (3, ArgumentTypeError, "wanted a str or a list of str, got 3"),
        (["a", 3], ArgumentTypeError, "wanted a str or a list of str"),
    ],
)
def test_commands(command: Any, error: type[Exception], message: str) -> None:
    """A command that is none."""
    with pytest.raises(error, match=message):
        program_side(command)


def test_other_arguments() -> None:
    """The timeout is positive, the method registered."""
    with pytest.raises(ArgumentError, match="timeout: wanted a value in"):
        program_side(program(), timeout=0.0)
    with pytest.raises(ArgumentError, match="Did you mean 'adam'"):
        program_side(program(), method="adamm")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("sys.exit('no weights')", "ended with status 1 when asked to describe itself; it said: no weights"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV when asked"),
        ("print('hello', flush=True)", "it answered 'hello': not JSON"),
        ("print('[1]', flush=True)", "it answered '.1.': wanted a JSON object"),
        ("say({'takes': []})", 'wanted "ok": true'),
        ("say({'ok': False, 'error': 'no licence'})", "it refused: no licence"),
        ("say({'ok': True, 'known': {'lr': float('nan')}})", 'NaN is not JSON; write the string "nan"'),
        ("print('\\xff', flush=True)", "not JSON"),
        ("say({'ok': True, 'takes': 'lr'})", "takes: wanted a list of names, got 'lr'"),
        ("say({'ok': True, 'known': 3})", "known: wanted an object of values, got 3"),
        ("say({'ok': True, 'takes': ['beta']})", "adam has no hyperparameter 'beta'. Did you mean"),
        ("say({'ok': True, 'known': {'beta1': 2}})", "adam: beta1: wanted a value in .0, 1., got 2"),
    ],
)
def test_bad_descriptions(answer: str, message: str) -> None:
    """Each is told by what came, and what is wanted."""
    with pytest.raises(ProgramError, match=message):
        program_side(program(f"def describe(m): {answer}"), method="adam")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ("say({'ok': True})", ShapeError, r"at step 2 wanted x with the leaves \['w', 'b'\], got None"),
        (
            "say({'ok': True, 'x': {'w': [1.0] * 4}})",
            ShapeError,
            r"leaves \['w', 'b'\], got an object with \['w'\]",
        ),
        (
            "m['g']['b'].append(1.0); say({'ok': True, 'x': m['g']})",
            ShapeError,
            r"wanted x\['b'\] as a list of 3 numbers, got a list of 4",
        ),
        (
            "m['g']['b'] = 7; say({'ok': True, 'x': m['g']})",
            ShapeError,
            r"x\['b'\] as a list of 3 numbers, got 7",
        ),
        ("m['g']['b'][1] = 'x'; say({'ok': True, 'x': m['g']})", ProgramError, r"x\['b'\].*got 'x'"),
        ("m['g']['b'][1] = True; say({'ok': True, 'x': m['g']})", ProgramError, r"x\['b'\].*got True"),
        ("m['g']['b'][1] = None; say({'ok': True, 'x': m['g']})", ProgramError, r"x\['b'\].*got None"),
        ("say({'ok': True, 'x': m['g'], 'state': 1})", ProgramError, "wanted state as an object, got 1"),
        (
            "say({'ok': True, 'x': m['g'], 'state': {'m': {'w': [1.0]}}})",
            ShapeError,
            r"wanted state\['m'\] with the leaves",
        ),
        ("print('oops', file=sys.stderr); sys.exit(3)", ProgramError, "status 3 at step 2; it said: oops"),
        ("os.close(1); time.sleep(60)", ProgramError, "closed its output at step 2"),
        ("say({'ok': False, 'error': 'diverged'})", ProgramError, "at step 2 it refused: diverged"),
    ],
)
def test_bad_steps(answer: str, error: type[Exception], message: str) -> None:
    """The first step is well; the second is not: which, where, what; and the process is no more."""
    side = program_side(
        program(f"""
        def step(m):
            if m["t"] == 1:
                say({{"ok": True, "x": {{"w": [os.getpid()] * 4, "b": [0] * 3}}}})
            else:
                {answer}
        """)
    )
    run = begin(side)
    pid = int(run.step(G, 1)["w"][0, 0])
    with pytest.raises(error, match=message):
        run.step(G, 2)
    assert gone(pid)
    with pytest.raises(RefoptError):
        run.step(G, 3)
    run.close()


def test_a_number_too_large_for_a_float() -> None:
    """A whole number beyond the range is infinite, as the float of its digits would be."""
    side = program_side(
        program("def step(m): say({'ok': True, 'x': {'w': [-10**400, 10**400, 2**1023, 0]}})")
    )
    run = begin(side, {"w": np.zeros(4)})
    np.testing.assert_array_equal(run.step({"w": np.zeros(4)}, 1)["w"], [-math.inf, math.inf, 2.0**1023, 0])
    run.close()


def test_refused_start_ends_the_process(tmp_path: pathlib.Path) -> None:
    """`begin` raises, and nothing is left behind."""
    side = program_side(
        program(f"""
        def start(m):
            open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
            say({{"ok": False, "error": "float64 only"}})
        """)
    )
    with pytest.raises(ProgramError, match="at the start it refused: float64 only"):
        begin(side)
    assert gone(int((tmp_path / "pid").read_text(encoding="utf-8")))


def test_hyperparameters_that_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function is no JSON; numbers of NumPy and tuples are. The process that had begun is ended."""
    begun = []

    class Seen(Conversation):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            begun.append(self._process)

    monkeypatch.setattr("refopt.verify.sides.program.Conversation", Seen)
    side = program_side(
        program("""
        def start(m):
            assert m["hyper"] == {"lr": 0.5, "n": 3, "betas": [0.9, "nan"]}, m
            say({"ok": True})
        """)
    )
    begin(side, lr=np.float32(0.5), n=np.int64(3), betas=(0.9, math.nan)).close()
    with pytest.raises(ArgumentTypeError, match=r"hyper: lr: .* cannot be told to a program") as raised:
        begin(side, lr=lambda t: 0.5)
    assert len(begun) == 3
    assert begun[-1].poll() is not None
    del raised


def test_a_silent_program_is_ended_with_its_children(tmp_path: pathlib.Path) -> None:
    """No answer in time: the error tells so and what it said, and no process of it lives on."""
    side = program_side(
        program(f"""
        import subprocess
        def step(m):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
            print("thinking", file=sys.stderr, flush=True)
            time.sleep(60)
        """),
        timeout=1.0,
    )
    run = begin(side)
    began = time.monotonic()
    with pytest.raises(
        ProgramError, match=r"no answer at step 1 within 1 s; does it flush .*it said: thinking"
    ):
        run.step(G, 1)
    assert time.monotonic() - began < 10.0
    own, child = map(int, (tmp_path / "pids").read_text(encoding="utf-8").split())
    assert gone(own)
    assert gone(child)


def test_a_program_that_does_not_read(tmp_path: pathlib.Path) -> None:
    """A message that fills the pipe does not hang the comparison either."""
    side = program_side(
        program("""
        def start(m):
            say({"ok": True}); time.sleep(60)
        """),
        timeout=1.0,
    )
    run = begin(side, {"w": np.zeros(3)})
    run._shapes = {"w": (200_000,)}
    with pytest.raises(ProgramError, match="no answer at step 1 within 1 s"):
        run.step({"w": np.full(200_000, 1 / 3)}, 1)


def test_a_talkative_program() -> None:
    """Standard error may be filled without anybody reading it; the error quotes its end."""
    side = program_side(
        program("""
        def step(m):
            sys.stderr.write("noise\\n" * 200_000 + "the end\\n")
            if m["t"] == 2: sys.exit(1)
            say({"ok": True, "x": m["g"]})
        """)
    )
    run = begin(side)
    run.step(G, 1)
    with pytest.raises(ProgramError, match=r"noise \| the end$"):
        run.step(G, 2)


def test_stop_is_polite_then_firm(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may tidy up when it is told to stop; one that does not stop is ended."""
    monkeypatch.setattr("refopt.verify.sides.program.GRACE", 0.5)
    tidy = program_side(program(f"def stop(m): open({str(tmp_path / 'tidy')!r}, 'w'); sys.exit(0)"))
    (tmp_path / "tidy").unlink()  # of the description
    run = begin(tidy)
    run.close()
    assert (tmp_path / "tidy").exists()
    stubborn = program("""
    def step(m): say({"ok": True, "x": {"w": [os.getpid()] * 4, "b": [0] * 3}})
    def stop(m): time.sleep(60)
    """)
    run = begin(program_side(stubborn))
    pid = int(run.step(G, 1)["w"][0, 0])
    run.close()
    assert gone(pid)


def test_a_forgotten_run_is_ended() -> None:
    """Nobody closed it."""
    side = program_side(program("def step(m): say({'ok': True, 'x': {'w': [os.getpid()], 'b': [0]}})"))
    run = begin(side, {"w": np.zeros(1), "b": np.zeros(1)})
    pid = int(run.step({"w": np.zeros(1), "b": np.zeros(1)}, 1)["w"][0])
    del run
    gc.collect()
    assert gone(pid)
