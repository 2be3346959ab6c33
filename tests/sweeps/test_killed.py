"""A sweep that is killed, at whatever moment, goes on where it was."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import refopt
from refopt.core.errors import StoreError
from refopt.sweeps import Serial

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are POSIX's")

CALL = """
methods, problems, seeds, grids = ["sgd", "adam"], ("quadratic", {"n": 3}), [0, 1, 2], {"lr": [0.01, 0.02, 0.05, 0.1, 0.2]}
"""

# A process without threads, whose forks are killed by their own hand: at a count of transactions, before one, inside it (its
# rows are written, and not committed), or after it.
KILLED = (
    CALL
    + """
import contextlib, json, os, signal, sqlite3, sys
import refopt
from refopt.sweeps import Serial, store, work

path, log = sys.argv[1:]

def finished():
    base = sqlite3.connect(path)
    there = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    keys = {k for (k,) in base.execute("SELECT key FROM runs")} if there else set()
    base.close()
    return keys

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def attempt(count, where):
    made, run = [0], work.run

    def logged(job):
        with open(log, "a") as f:
            f.write(job.key + "\\n")
        return run(job)

    @contextlib.contextmanager
    def transaction(self):
        made[0] += 1
        due = made[0] == count
        if due and where == "before":
            die()
        self.base.execute("BEGIN IMMEDIATE")
        yield
        if due and where == "inside":
            die()
        self.base.execute("COMMIT")
        if due and where == "after":
            die()

    work.run, store.Store._transaction = logged, transaction
    refopt.sweep(methods, problems, seeds, grids, path, Serial(), steps=3)

said = []
for k in range(20):
    had = finished()
    open(log, "w").close()
    child = os.fork()
    if child == 0:
        attempt(1 + k % 4, ("before", "inside", "after")[k % 3])
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    ran = open(log).read().split()
    said.append([os.WTERMSIG(status), sorted(had), sorted(finished()), ran])
print(json.dumps(said))
"""
)


def test_twenty_kills(tmp_path: pathlib.Path) -> None:
    """Killed 20 times, at counts of transactions: what was finished stays and is never run again; the rows are those of an
    undisturbed sweep."""
    store, log = tmp_path / "s.sqlite", tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(store), str(log)], capture_output=True, text=True, check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    attempts = json.loads(done.stdout)
    for signalled, had, has, ran in attempts:
        assert signalled == signal.SIGKILL
        assert set(had) <= set(has) <= set(had) | set(ran)
        assert not set(had) & set(ran) and len(set(ran)) == len(ran)
        assert len(had) + len(ran) - len(has) <= 1
    scope: dict[str, object] = {}
    exec(CALL, scope)
    call = [scope[k] for k in ("methods", "problems", "seeds", "grids")]
    assert 0 < refopt.Sweep.open(store).left < 30
    found = refopt.sweep(*call, store, Serial(), steps=3)
    alone = refopt.sweep(*call, None, Serial(), steps=3)
    assert len(found.rows) == 30 and refopt.Sweep.open(store).left == 0
    for a, b in zip(found.rows, alone.rows):
        assert (a.key, a.seed, a.settings, a.fun) == (b.key, b.seed, b.settings, b.fun)
        assert all((a.history[k] == b.history[k]).all() for k in ("step", "value", "grad_norm"))


POOL = """
import refopt, sys
if __name__ == "__main__":
    refopt.sweep("sgd", ("quadratic", {"n": 3}), range(120), {"lr": [0.1]}, sys.argv[1], steps=300, record_every=300)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(sent: signal.Signals, tmp_path: pathlib.Path) -> None:
    """Killed, or interrupted as by Ctrl-C, with rows in the store: the worker processes are gone, too, nothing is said of them, and
    the sweep goes on from those rows."""
    script, store = tmp_path / "s.py", tmp_path / "s.sqlite"
    script.write_text(POOL)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(store)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while parent.poll() is None and _rows(store) < 5:
        time.sleep(0.05)
    if sent == signal.SIGKILL:
        parent.kill()
    elif parent.poll() is None:
        os.killpg(parent.pid, sent)
    # The workers hold the other ends of these pipes: they end when the last of them does.
    out, said = parent.communicate()
    assert out == "" and "ExecutorError" not in said
    had = {r.key: r.fun for r in refopt.Sweep.open(store).rows}
    assert len(had) >= 5
    found = refopt.sweep(
        "sgd",
        ("quadratic", {"n": 3}),
        range(120),
        {"lr": [0.1]},
        store,
        Serial(),
        steps=300,
        record_every=300,
    )
    assert len(found.rows) == 120 and had.items() <= {r.key: r.fun for r in found.rows}.items()


def _rows(store: pathlib.Path) -> int:
    try:
        return len(refopt.Sweep.open(store).rows)
    except StoreError:  # not there yet
        return 0
