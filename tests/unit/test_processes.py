"""Forks, threads and the folder of compiled loops."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import numpy as np
import pytest
import refopt
from refopt.core.engines import numba as engine

pytest.importorskip("numba")
X = np.array([1.0, -2.0, 3.0])


def _step(monkeypatch: pytest.MonkeyPatch, folder: Path) -> np.ndarray:
    """One step of Lion by a loop that this process has not compiled yet."""
    monkeypatch.setenv("REFOPT_CACHE_DIR", str(folder))
    monkeypatch.setattr(engine, "_compiled", {})
    monkeypatch.setattr(engine, "_loops", weakref.WeakKeyDictionary())
    o = refopt.optimizer("lion", engine="numba", lr=0.5)
    return o.update(X, X, o.init(X))[0]


@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_a_damaged_cache_is_made_anew(damage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files cut to nothing or to noise: the same step, and the next process finds good ones."""
    want = _step(monkeypatch, tmp_path)
    files = [*tmp_path.rglob("*.nb[ic]")]
    assert files
    for file in files:
        file.write_bytes(b"" if damage == "cut" else bytes(range(256)) * 9)
    np.testing.assert_array_equal(_step(monkeypatch, tmp_path), want)
    assert all(len(file.read_bytes()) > 2400 for file in tmp_path.rglob("*.nbc"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders have no owners here")
def test_a_folder_that_others_can_write_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is kept is unpickled, so that who can write there could run code."""
    tmp_path.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="others can write"):
        _step(monkeypatch, tmp_path)
    assert not [*tmp_path.rglob("*.nb[ic]")]


def _python(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False,
        env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="fork is the default on Linux alone")
def test_a_forked_child_steps() -> None:
    """After a parallel loop in the parent a pool by fork takes the serial one: the same bits, and it ends."""
    out = _python("""
        import multiprocessing, numpy as np, refopt
        o = refopt.optimizer("lion", engine="numba", lr=0.5)
        x = np.linspace(-1.0, 1.0, 30_000); s = o.init(x)
        def step(k):
            return o.update(x, x, s)[0].tobytes()
        want = step(0)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            print(pool.map_async(step, [1, 2]).get(600) == [want, want])
    """)
    assert out == "True\n"


def test_threads_under_a_layer_that_is_not_safe() -> None:
    """Four threads under Numba's own pool, which ends a process that starts two loops at once."""
    out = _python(
        """
        import threading, numpy as np, refopt
        o = refopt.optimizer("lion", engine="numba", lr=0.5)
        x = np.linspace(-1.0, 1.0, 30_000); s, found = o.init(x), []
        def steps():
            for _ in range(20):
                found.append(o.update(x, x, s)[0].tobytes())
        threads = [threading.Thread(target=steps) for _ in range(4)]
        [t.start() for t in threads]; [t.join() for t in threads]
        print(len(found), len(set(found)))
        """,
        NUMBA_THREADING_LAYER="workqueue",
    )
    assert out == "80 1\n"


def test_methods_are_not_kept() -> None:
    """A method that nobody holds any more is gone, with the schedule that it held."""

    class Schedule:
        def __call__(self, t: int) -> float:
            return 1.0

    schedule = Schedule()
    o = refopt.optimizer("lion", engine="numba", schedule=schedule)
    o.update(X, X, o.init(X))
    gone = weakref.ref(schedule)
    del o, schedule
    gc.collect()
    assert gone() is None


def test_omp_num_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """``OMP_NUM_THREADS`` bounds the engine's threads; what is no number is left to OpenMP."""
    from refopt.core.engines.numba_threads import allowed

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    free = allowed()
    for given, want in (("1", 1), ("1,2", 1), ("1000", free), ("", free), ("many", free)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert allowed() == want
