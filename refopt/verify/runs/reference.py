"""The reference's trajectory on a tape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.method import Elementwise
from refopt.verify.inputs.tapes import Tape
from refopt.verify.sides.functions import slots
from refopt.verify.sides.side import Leaves
from refopt.verify.variants.deviation import innermost, refit


@dataclass(frozen=True)
class Trajectory:
    """Points and shown state after every step.

    Parameters
    ----------
    points : dict of array
        By leaf, shape (steps, *leaf's).
    states : tuple of dict
        After every step: slot name, leaf, array; empty where they were not asked for.
    """

    points: Leaves
    states: tuple[dict[str, Leaves], ...] = ()


def follow(
    method: Any,
    tape: Tape,
    *,
    together: bool = True,
    states: bool = False,
    noise: Callable[[Any], Any] | None = None,
) -> Trajectory:
    """Run `method` (with ``init`` and ``update``) along a tape in float64.

    Parameters
    ----------
    method : object
    tape : Tape
    together : bool
        All leaves as one dict; False: each leaf a run of its own, as one array.
    states : bool
        Keep the states.
    noise : callable, optional
        Applied to point, state and gradient before every step.
    """
    if isinstance(method, Elementwise):
        return _follow_flat(method, tape, states, noise)
    if not together:
        parts = [
            follow_one(method, {k: tape.x0[k]}, [{k: g[k]} for g in tape.gradients], k, states, noise)
            for k in tape.x0
        ]
        return Trajectory(
            {k: v for part in parts for k, v in part.points.items()},
            tuple(_merge([part.states[i] for part in parts]) for i in range(len(tape) if states else 0)),
        )
    return follow_one(method, tape.x0, list(tape.gradients), None, states, noise)


def _follow_flat(
    method: Elementwise, tape: Tape, states: bool, noise: Callable[[Any], Any] | None
) -> Trajectory:
    """Run an elementwise method on all leaves as one vector: the same bits, in fewer calls."""
    names = list(tape.x0)
    shapes = {k: tape.x0[k].shape for k in names}
    cuts = np.cumsum([tape.x0[k].size for k in names])[:-1]

    def join(named: Leaves) -> np.ndarray:
        return np.concatenate([named[k].ravel() for k in names])

    def part(rows: np.ndarray, lead: tuple[int, ...]) -> Leaves:
        return {
            k: v.reshape((*lead, *shapes[k])) for k, v in zip(names, np.split(rows, cuts, axis=len(lead)))
        }

    one = follow_one(method, {"": join(tape.x0)}, [{"": join(g)} for g in tape.gradients], "", states, noise)
    return Trajectory(
        part(one.points[""], (len(tape),)),
        tuple({slot: part(named[""], ()) for slot, named in state.items()} for state in one.states),
    )


def _merge(states: list[dict[str, Leaves]]) -> dict[str, Leaves]:
    out: dict[str, Leaves] = {}
    for state in states:
        for slot, named in state.items():
            out.setdefault(slot, {}).update(named)
    return out


def follow_one(
    method: Any,
    x0: Leaves,
    gradients: list[Leaves],
    single: str | None,
    states: bool,
    noise: Callable[[Any], Any] | None,
) -> Trajectory:
    """Run along gradients; `single` names the leaf that is handed over as one array."""
    driven = innermost(method)
    if hasattr(driven, "at_leaf"):
        driven = driven.at_leaf(single)
        # What it is told beside a gradient is rounded too.
        driven.noise = noise
        method = refit(method, driven)
    x: Any = {k: v.copy() for k, v in x0.items()} if single is None else x0[single].copy()
    with np.errstate(all="ignore"):
        s = method.init(x)
    points: dict[str, list[np.ndarray]] = {k: [] for k in x0}
    shown = []
    with np.errstate(all="ignore"):
        for t, g in enumerate(gradients):
            # A faulty counter does not change what the tape holds.
            if hasattr(driven, "at_leaf"):
                driven.now = t
            given: Any = g if single is None else g[single]
            if noise is not None:
                x, s, given = noise(x), noise(s), noise(given)
            x, s = method.update(x, given, s)
            for k in x0:
                points[k].append(np.array(x[k] if single is None else x))
            if states:
                found = slots(x, s)
                shown.append(found if single is None else {n: {single: v[""]} for n, v in found.items()})
    return Trajectory({k: np.stack(v) for k, v in points.items()}, tuple(shown))


def as_dtype(tape: Tape, dtype: str) -> Tape:
    """Return the tape in `dtype`; its values are exact in both precisions."""
    kind: Any = np.dtype(dtype)
    return dataclasses.replace(
        tape,
        x0={k: v.astype(kind) for k, v in tape.x0.items()},
        gradients=tuple({k: v.astype(kind) for k, v in g.items()} for g in tape.gradients),
    )
