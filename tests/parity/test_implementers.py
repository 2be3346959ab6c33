"""The implementers' page, and that of the oracle, beside torch, JAX and Keras."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import subprocess
import sys

import pytest
import refopt

from tests.unit.test_guides import PEERS, blocks, last_value

pytestmark = pytest.mark.live


@pytest.mark.parametrize("library", PEERS)
def test_an_example_with_a_peer(library: str) -> None:
    """Each in a process of its own, as a reader runs it; Keras on torch."""
    for name in {"torch": ("torch",), "jax": ("jax", "optax"), "keras": ("keras", "torch")}[library]:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; make parity runs this")
    (block,) = (b for b in blocks("implementers.md") if f"import {library}\n" in b)
    environment = {**os.environ, "KERAS_BACKEND": "torch", "JAX_PLATFORMS": "cpu"}
    words = [sys.executable, "-W", "ignore", "-c", block]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "agrees with lion" in done.stdout


@pytest.mark.parametrize("what", ["pytorch_optimizer.SAM", "torch.optim.AdamW"])
def test_an_example_of_the_oracle_s_page(what: str) -> None:
    """A wrapper whose base's hyperparameters are its own, and parameter groups: both agree."""
    scope = {"refopt": refopt, "functools": functools}
    for name in ("torch", "pytorch_optimizer"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; make parity runs this")
        scope[name] = importlib.import_module(name)
    (block,) = (b for b in blocks("verify.md") if what in b)
    assert last_value(block, scope).agrees
