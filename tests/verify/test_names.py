"""What `refopt.verify` offers, whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

import pytest
import refopt.verify


@pytest.mark.parametrize("module", ["compare", "diagnose", "tapes", "precision"])
def test_a_function_stays_in_front_of_its_module(module: str) -> None:
    """An import of the module sets it as the package's attribute; the function is what users call."""
    code = f"""
import importlib, refopt
importlib.import_module("refopt.verify.{module}")
assert not isinstance(refopt.verify.{module}, type(refopt)), "the module"
from refopt.verify import {module}
assert callable({module})
from refopt.verify.{module} import {module} as same
assert same is {module}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_offered_is_there() -> None:
    """Every name of ``__all__``, and no other."""
    for name in refopt.verify.__all__:
        assert getattr(refopt.verify, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = refopt.verify.nothing
