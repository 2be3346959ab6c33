"""Leaves without gradient for a while, parameters in half precision, stacks of matrices: looks at what no tape shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from refopt.verify.runs.looks import FROZEN, SHORT, STACK, looks, stacked
from refopt.verify.sides.side import Leaves, Run, Side
from refopt.verify.variants.known.starts_and_powers import to_bfloat16


class Averaging(Run):
    """A corrected average of gradients, as a torch optimizer would keep it: of each leaf that has a gradient."""

    shared = moves = refuses = in_place = False

    def __init__(self, x0: Leaves, round_to: Any) -> None:
        self.x, self.round = x0, round_to
        self.m = {k: np.zeros_like(v) for k, v in x0.items()}
        self.t = dict.fromkeys(x0, 0)

    def step(self, g: Leaves, t: int) -> Leaves:
        """Move the leaves that have a gradient."""
        if self.refuses and len(g) < len(self.x):
            raise TypeError("unsupported operand: NoneType")
        for k in self.x if self.moves else g:
            now = g.get(k, np.zeros_like(self.x[k]))
            self.t[k] = t if self.shared else self.t[k] + 1
            self.m[k] = self.round(0.9 * self.m[k] + 0.1 * now)
            if self.in_place and self.round is to_bfloat16:
                self.m[k] = self.round(self.m[k] / np.linalg.norm(self.m[k]))
            self.x[k] = self.round(self.x[k] - 0.1 * self.m[k] / (1 - 0.9 ** self.t[k]))
        return {k: v.copy() for k, v in self.x.items()}

    def state(self) -> dict[str, Leaves]:
        """Return the averages."""
        return {"exp_avg": {k: v.copy() for k, v in self.m.items()}}


def _side(run: type[Run], round_to: Any = lambda a: a) -> Side:
    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Any) -> Run:
        return run(x0, round_to)  # type: ignore[call-arg]

    it = Side("mine", begin)
    return (
        it
        if round_to is to_bfloat16
        else dataclasses.replace(it, as_is=lambda dtype: _side(run, to_bfloat16))
    )


def _with(**flags: bool) -> type[Run]:
    return type("Averaging", (Averaging,), flags)


@pytest.mark.parametrize(
    ("flags", "note", "words"),
    [
        ({"shared": True}, FROZEN, "goes on otherwise"),
        ({"moves": True}, FROZEN, "moves on all the same"),
        ({"refuses": True}, FROZEN, "is not taken: TypeError: unsupported operand"),
        ({"in_place": True}, SHORT, "its exp_avg by"),
    ],
)
def test_what_is_noticed(flags: dict[str, bool], note: str, words: str) -> None:
    """A counter that goes on, a leaf that moves, one that is refused, a buffer that is scaled in bfloat16 alone."""
    (told,) = looks(_side(_with(**flags)), {}, False)
    assert told.startswith(note) and words in told


def test_what_is_right() -> None:
    """Nothing is said of a leaf that waits, and of what rounding to eight bits does; nor of a side that is not torch's."""
    assert looks(_side(Averaging), {}, False) == []
    assert looks(dataclasses.replace(_side(_with(moves=True)), as_is=None), {}, False) == []


class Normalised(Run):
    """A step of unit length, of a whole leaf or of each matrix of a stack."""

    each = False

    def __init__(self, x0: Leaves, round_to: Any) -> None:
        self.x = x0

    def step(self, g: Leaves, t: int) -> Leaves:
        """Move every leaf."""
        axes = (-2, -1) if self.each else None
        self.x = {
            k: v - g[k] / np.sqrt(np.sum(g[k] ** 2, axis=axes, keepdims=True)) for k, v in self.x.items()
        }
        return self.x


def test_a_stack_of_matrices() -> None:
    """What normalises each matrix is told from what normalises all of them together, and not from itself."""
    each, whole = _side(type("Each", (Normalised,), {"each": True})), _side(Normalised)
    (told,) = stacked(each, {}, whole)
    assert told.startswith(STACK) and "each by itself; the reference takes it as one matrix" in told
    assert stacked(each, {}, each) == stacked(whole, {}, whole) == []
