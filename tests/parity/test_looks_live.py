"""Looks at torch optimizers that no tape of gradients shows."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import refopt
from refopt.verify.runs.looks import FROZEN, SHORT

from tests.parity.test_verify_live import need

pytestmark = pytest.mark.live


def _text(other: Any, name: str, dialect: str) -> str:
    return str(refopt.verify.compare(other, name, dialect=dialect, steps=3))


def test_muon_on_bfloat16() -> None:
    """torch 2.13's Muon normalises its own momentum where parameters are bfloat16 and nesterov is off."""
    muon = need("torch").optim.Muon
    text = _text(functools.partial(muon, nesterov=False), "muon", "torch")
    assert SHORT in text and "its momentum_buffer by" in text, text
    assert SHORT not in _text(muon, "muon", "torch")


def test_a_leaf_that_is_frozen_for_a_while() -> None:
    """torch counts the steps of each parameter; pytorch_optimizer counts those of the group, and corrects by them."""
    adamw, peer = need("torch").optim.AdamW, need("pytorch_optimizer").AdaBelief
    assert FROZEN not in _text(adamw, "adamw", "torch")
    text = _text(peer, "adabelief", "kozistr")
    assert f"{FROZEN} for two steps is left alone, but goes on otherwise" in text, text
