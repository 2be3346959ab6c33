"""The guide's sweep under MPI, with two workers. Skipped where the extra `mpi` is not installed (`make parity` has it)."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import refopt
from refopt.sweeps import Serial

ROOT = pathlib.Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")


def test_the_guides_example_under_mpi(tmp_path: pathlib.Path) -> None:
    """Three processes, one of which holds the store; the rows are those of this process, to the bit."""
    pytest.importorskip("mpi4py")
    mpiexec = shutil.which("mpiexec", path=str(pathlib.Path(sys.executable).parent)) or shutil.which(
        "mpiexec"
    )
    if mpiexec is None:
        pytest.skip("no mpiexec")
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "mpi4py" in b)
    (tmp_path / "script.py").write_text(f"import refopt\n{block}")
    words = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", "script.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    there = refopt.Sweep.open(tmp_path / "runs.sqlite")
    here = refopt.sweep("sgd", "quadratic", range(4), {"lr": [0.1]}, None, Serial(), steps=10)
    assert there.left == 0 and {(r.key, r.fun) for r in there.rows} == {(r.key, r.fun) for r in here.rows}
    assert len(there.rows) == 4
