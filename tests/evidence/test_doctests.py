"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import refopt
import refopt.problems

MODULES = sorted(
    {m.name for m in pkgutil.walk_packages(refopt.__path__, "refopt.")}
    | {m.name for m in pkgutil.walk_packages(refopt.problems.__path__, "refopt.problems.")}
)
NEEDS_GPU = {"refopt.core.engines.cupy"}
NEEDS = {
    "refopt.adapters.jax_network": "jax",
    "refopt.adapters.torch_module": "torch",
    "refopt.adapters.torch_optimizer": "torch",
}


@pytest.mark.parametrize("name", [m for m in MODULES if m not in NEEDS_GPU])
def test_examples(name: str) -> None:
    """The module's examples give what they print."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    module = importlib.import_module(name)
    failures = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed
    assert failures == 0
