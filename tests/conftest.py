"""Fixtures and the rule that every test which is evidence says for what."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest


def _load(name: str) -> Any:
    if name == "numpy":
        return np
    if name == "strict":
        return pytest.importorskip("array_api_strict")
    if name == "jax":
        return _jax()
    return pytest.importorskip("torch")


def _jax() -> Any:
    """JAX's namespace, eager and with 64 bits."""
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.numpy


# Eager JAX compiles every operation for every shape: of the tests over names one in so many runs in `make parity`.
JAX_SHARE = 20


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Leave most of JAX's tests to `make exhaustive`, chosen by name, whatever else is there."""
    for item in items:
        spaces = getattr(item, "callspec", None)
        if (
            spaces is not None
            and spaces.params.get("xp") == "jax"
            and zlib.crc32(item.nodeid.encode()) % JAX_SHARE
        ):
            item.add_marker("exhaustive")


@pytest.fixture(params=["numpy", "strict", "torch", "jax"])
def xp(request: pytest.FixtureRequest) -> Any:
    """An array-API namespace; torch and JAX are skipped where they are not installed (`make parity` has them)."""
    if request.param in ("torch", "jax") and importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed; make parity runs this")
    return _load(request.param)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """The name of a floating-point dtype."""
    return request.param
