"""Fixtures and the rule that every test which is evidence says for what."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest


def _load(name: str) -> Any:
    if name == "numpy":
        return np
    if name == "strict":
        return pytest.importorskip("array_api_strict")
    return pytest.importorskip("torch")


@pytest.fixture(params=["numpy", "strict", "torch"])
def xp(request: pytest.FixtureRequest) -> Any:
    """An array-API namespace; torch is skipped where it is not installed (`make parity` has it)."""
    if request.param == "torch" and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed; make parity runs this")
    return _load(request.param)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """The name of a floating-point dtype."""
    return request.param
