"""The index of names: up to date, and enough for a look-up."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys

import pytest
import refopt
from refopt.core.errors import HyperparameterError
from refopt.core.index import index, scan


def test_it_is_what_the_sources_say() -> None:
    """A name that was added, moved or renamed is in the index."""
    assert list(index().values()) == scan(), "refopt/index.tsv is stale: run `python -m refopt.core.index`"


def test_it_is_what_is_registered() -> None:
    """Reading the sources and importing them give the same names, kinds and papers."""
    registered = {m.name: (m.kind, m.obj.__module__, m.summary) for m in refopt.methods()}
    assert {r.name: (r.kind, r.module, r.summary) for r in index().values()} == registered


def test_a_look_up_imports_one_module() -> None:
    """`refopt.optimizer` loads the method's own module and what that imports, and not the rooms."""
    code = (
        "import sys, refopt; refopt.optimizer('lion', lr=0.1);"
        "print([m for m in sys.modules if m.startswith('refopt.optimizers.') and 'common' not in m])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['refopt.optimizers.first_order', 'refopt.optimizers.first_order.lion']"


def test_entries_pickle() -> None:
    """What `methods` returns goes to other processes."""
    for m in refopt.methods():
        assert pickle.loads(pickle.dumps(m)) is m
        assert copy.deepcopy(m) is m


def test_a_wrappers_misspelt_hyperparameter_is_the_wrappers() -> None:
    """The error names the wrapper, its base, and the nearest of both's hyperparameters."""
    for m in refopt.methods():
        if "base" not in getattr(m.obj, "__dataclass_fields__", ()):
            continue
        own = next(f.name for f in dataclasses.fields(m.obj) if f.name not in ("base", "schedule"))
        with pytest.raises(HyperparameterError, match=f"{m.name}, around .*{own + 'x'!r}.*{own!r}"):
            refopt.optimizer(m.name, **{own + "x": 1})
