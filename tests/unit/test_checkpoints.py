"""Checkpoints in linear time: rows are written once, a kill at any moment loses nothing, old files are read."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.core import checkpoint as ckpt
from refopt.core.errors import CheckpointError
from refopt.core.rows import MAGIC, RowsFile


def run(path: Any, steps: int = 30, **more: Any) -> Any:
    options = {
        "lr": 0.05,
        "record": "full",
        "record_every": 1,
        "checkpoint": path,
        "checkpoint_every": 4,
        **more,
    }
    return refopt.minimize(refopt.problem("quadratic", n=3), "momentum", steps=steps, **options)


def same(a: Any, b: Any) -> None:
    np.testing.assert_array_equal(a.x, b.x)
    for name, column in a.history.items():
        if name != "seconds":
            np.testing.assert_array_equal(b.history[name], column)


# The process of a run dies at its n-th operation on files: in the middle of a write, before or behind the others.
KILLED = """
import builtins, os, sys
import refopt
from refopt.core import checkpoint, rows

def once(kill, path, record):
    left = kill
    def passed(half=None):
        nonlocal left
        left -= 1
        if left == 0:
            if half is not None:
                half()
            os._exit(9)
    class Slow:
        def __init__(self, f): self.f = f
        def __enter__(self): return self
        def __exit__(self, *a): return self.f.__exit__(*a)
        def __getattr__(self, name): return getattr(self.f, name)
        def write(self, data):
            def half():
                self.f.write(data[: len(data) // 2]); self.f.flush()
            passed(half)
            self.f.write(data); self.f.flush()
        def truncate(self):
            passed(); self.f.truncate(); self.f.flush(); passed()
    def opened(name, mode="r"):
        return Slow(builtins.open(name, mode)) if mode != "rb" else builtins.open(name, mode)
    rows.open = checkpoint.open = opened
    replace, fsync = os.replace, os.fsync
    def replaced(a, b):
        passed(); replace(a, b); passed()
    def synced(n):
        fsync(n); passed()
    os.replace, os.fsync = replaced, synced
    p = refopt.problem("quadratic", n=3)
    r = refopt.minimize(p, "momentum", lr=0.05, steps=21, record=record, record_every=1,
                        checkpoint=path, checkpoint_every=4, resume=True)
    columns = [r.history[c].tobytes().hex() for c in sorted(r.history) if c != "seconds"]
    with builtins.open(path + ".out", "w") as f:
        f.write(r.x.tobytes().hex() + " ".join(columns) + str(r.calls))
    os._exit(0)

def forked(*a):
    process = os.fork()
    if process == 0:
        try:
            once(*a)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

folder, kills, whole = sys.argv[1], 0, {}
# What is imported on first use is imported before the forks.
refopt.minimize("quadratic", "momentum", steps=2, checkpoint=folder + "/first")
for record in ("step", "full"):
    assert forked(0, folder + "/" + record, record) == 0
    whole[record] = builtins.open(folder + "/" + record + ".out").read()
n = 0
while True:
    n += 1
    path, record = f"{folder}/{n}", ("step", "full")[n % 2]
    ended = [forked(n, path, record)]
    if ended[0] == 0:
        break
    # Killed again soon after it was resumed, and again.
    ended += [forked(1 + n % 11, path, record), forked(1 + n % 5, path, record)]
    kills += sum(code == 9 for code in ended)
    assert all(code in (0, 9) for code in ended), ended
    assert forked(0, path, record) == 0, n
    assert builtins.open(path + ".out").read() == whole[record], n
print(kills)
"""


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_killed_at_every_operation_it_resumes_to_the_same_bits(tmp_path: pathlib.Path) -> None:
    """More than 100 kills, each operation on files in turn, and twice more behind it; half of what is written may stand."""
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    (tmp_path / "runs").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, tmp_path / "runs"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 100


def test_each_row_is_written_once(tmp_path: pathlib.Path) -> None:
    """However many checkpoints: the rows' bytes, and the checkpoint itself does not grow with them."""
    sizes, written = [], []
    original = RowsFile._append

    def counted(self: RowsFile, data: bytes, before: int) -> None:
        written.append(len(data))
        sizes.append(path.stat().st_size if path.exists() else None)
        original(self, data, before)

    path = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowsFile, "_append", counted)
        r = run(path, steps=400)
    rows = len(r.history["step"])
    assert rows == 401 and len(written) == 100
    assert sum(written) == 8 * len(r.history) * (rows - 1)  # the last row stands in the checkpoint
    assert (tmp_path / "run.rows").stat().st_size == len(MAGIC) + sum(written)
    # Numbers of more digits, and no more than that.
    assert max(sizes[1:]) - min(sizes[1:]) < 200


def test_files_of_the_first_format_are_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows in the file itself: the run goes on to the same bits, and writes the new form."""
    whole, path = run(tmp_path / "whole"), tmp_path / "old"
    first = run(path, steps=16)
    content = ckpt.load(path)
    content.pop("kept"), content.pop("format")
    content["rows"] = np.stack(list(first.history.values()), axis=1)
    with monkeypatch.context() as patch:
        patch.setattr(ckpt, "FORMAT", ckpt.FIRST)
        ckpt.save(path, content)
    (tmp_path / "old.rows").unlink()
    same(whole, run(path, resume=True))
    assert ckpt.load(path)["format"] == ckpt.FORMAT and (tmp_path / "old.rows").exists()


def test_rows_that_are_not_the_run_s_are_refused(tmp_path: pathlib.Path) -> None:
    """Missing, short, changed, of another run, not refopt's, or written by another process meanwhile."""
    path, beside = tmp_path / "run", tmp_path / "run.rows"
    run(path)
    good = beside.read_bytes()
    for bad, words in ((None, "cannot read"), (good[:-8], "does not hold the 30 rows"), (b"x" + good[1:], "does not hold"),
                       (good[:-1] + b"\x7f", "checksum")):  # fmt: skip
        beside.unlink(missing_ok=True)
        if bad is not None:
            beside.write_bytes(bad)
        with pytest.raises(CheckpointError, match=words):
            run(path, steps=40, resume=True)
    beside.write_bytes(good + b"half a row of a process that was killed")
    assert run(path, steps=40, resume=True).nit == 40
    (tmp_path / "mine.rows").write_bytes(b"a file of somebody's")
    with pytest.raises(CheckpointError, match=r"mine\.rows is in the way"):
        run(tmp_path / "mine")
    assert (tmp_path / "mine.rows").read_bytes() == b"a file of somebody's"

    def other(x: Any) -> None:
        with open(tmp_path / "shared.rows", "ab") as f:
            f.write(b"another process")

    with pytest.raises(CheckpointError, match="changed by another process"):
        run(
            tmp_path / "shared",
            steps=9,
            callback=lambda x: other(x) if (tmp_path / "shared").exists() else None,
        )


def test_a_first_checkpoint_that_fails_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ckpt.os, "replace", fails)
    with pytest.raises(CheckpointError, match="No space left"):
        run(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_an_interrupt_inside_a_checkpoint(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the rows and before the file: what is written then counts one row less, and the run resumes to the same bits."""
    whole = run(tmp_path / "whole")
    replace, calls = os.replace, []

    def interrupted(a: Any, b: Any) -> None:
        calls.append(b)
        if len(calls) == 3:
            raise KeyboardInterrupt
        replace(a, b)

    monkeypatch.setattr(ckpt.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    monkeypatch.undo()
    assert ckpt.load(tmp_path / "run")["step"] == 11
    same(whole, run(tmp_path / "run", resume=True))
