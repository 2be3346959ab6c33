"""The other side of a comparison, run along a tape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.errors import CapabilityError
from refopt.core.registry import Entry
from refopt.verify.inputs.hessians import Driven, Probes, curvatures
from refopt.verify.inputs.profiles import Profile, schedule
from refopt.verify.inputs.tapes import Tape
from refopt.verify.runs.reference import as_dtype
from refopt.verify.sides.groups import of_leaf
from refopt.verify.sides.side import Leaves, Side
from refopt.verify.variants.deviation import innermost, refit


@dataclass(frozen=True, eq=False)
class Observed:
    """The other side's trajectory on one tape under one profile.

    ``drive(method)`` makes the reference ready to be followed along the tape: a method that asks for
    Hessian products gets the tape's, with the other side's probes.
    """

    profile: Profile
    tape: Tape
    theirs: Leaves
    states: tuple[dict[str, Leaves], ...]
    drive: Callable[[Any], Any] = lambda method: method
    probes: Probes | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Observations:
    """All that was seen of the other side; `faults` are those that no trajectory shows."""

    side: Side
    entry: Entry
    dtype: str
    steps: int
    runs: tuple[Observed, ...]
    notes: tuple[str, ...]
    together: bool
    faults: tuple[str, ...] = ()


def _own(it: Side, profile: Profile, leaves: list[str]) -> Mapping[str, Any]:
    """Return the numbers of a leaf's group, for a side that runs leaf by leaf and has no groups itself."""
    if not profile.groups or it.together:
        return {}
    found = of_leaf(profile.groups, leaves[0])
    if missing := sorted(found.keys() - it.takes):
        raise CapabilityError(f"param_groups: {it.name} cannot be given {', '.join(missing)}")
    return found


def run_side(
    it: Side, tape: Tape, profile: Profile, dtype: str, curved: bool, *, reuse: bool = False
) -> Observed:
    """Run the other side along a tape."""
    given = as_dtype(tape, dtype)
    groups = [list(tape.x0)] if it.together else [[k] for k in tape.x0]
    points: dict[str, list[np.ndarray]] = {k: [] for k in tape.x0}
    states: list[dict[str, Leaves]] = [{} for _ in tape.gradients]
    hessians = curvatures(tape) if curved else []
    probes, told = Probes(len(tape)), dict[str, None]()
    with np.errstate(all="ignore"):
        for group in groups:
            own = given.only(group)
            start = {k: v.copy() for k, v in own.x0.items()}
            numbers = {**profile.given, **_own(it, profile, group)}
            run = it.begin(start, numbers, schedule if profile.scheduled else None)
            run.reuse = reuse
            try:
                for t, g in enumerate(own.gradients, 1):
                    fresh = {k: v.copy() for k, v in g.items()}
                    if curved:
                        matrices = {k: hessians[t - 1][k].astype(dtype) for k in group}
                        new, drawn = run.curved_step(fresh, matrices, t)
                        probes.add(t, drawn)
                    else:
                        new = run.step(fresh, t)
                    for k, v in new.items():
                        points[k].append(np.asarray(v, dtype=np.float64))
                    for slot, named in run.state().items():
                        states[t - 1].setdefault(slot, {}).update(named)
                told.update(dict.fromkeys(run.notes()))
            finally:
                run.close()
    return Observed(
        profile, tape, {k: np.stack(v) for k, v in points.items()}, tuple(states) if any(states) else (),
        drive=(lambda made: refit(made, Driven(innermost(made), hessians, probes))) if curved else (lambda made: made),
        probes=probes if curved else None, notes=tuple(told),
    )  # fmt: skip
