"""The index of names: up to date, and enough for a look-up."""

from __future__ import annotations

import subprocess
import sys

import refopt
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
