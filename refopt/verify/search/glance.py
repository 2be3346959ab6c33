"""A first look at a variant: its first steps on every tape, in as few calls as may be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refopt.core.method import Elementwise
from refopt.verify.inputs.problems import Course
from refopt.verify.inputs.profiles import Profile
from refopt.verify.inputs.tapes import KINDS, Tape
from refopt.verify.runs.other import Observations, Observed
from refopt.verify.runs.reference import Trajectory, follow
from refopt.verify.sides.side import Leaves

# Beyond this no rounding carries a run in so many steps: such a candidate's bound is not measured. (A run
# whose every trial is taken can be chaotic; that takes more steps.)
FAR_STEPS = 12


FAR = {"float64": 1e-6, "float32": 3e-2}


# Steps of the first look.
GLANCE = 4

# What variants are ranked on: kinds of leaves and tapes that differ most from one another.
SAMPLE_LEAVES, SAMPLE_TAPES = ("vector", "wide", "far"), ("random", "zeros", "tiny")


@dataclass(frozen=True, eq=False)
class Glance:
    """The first steps of all runs of one length under one profile.

    Parameters
    ----------
    profile : Profile
    runs : tuple of Observed
    one : Tape or None
        All their tapes as one vector, on which an elementwise method runs once; None where the runs
        drive their methods each in its own way.
    theirs : array, shape (steps, entries)
        The other side's points, of all runs and leaves side by side.
    scale : array, shape (entries,)
        The largest of them in the same leaf.
    starts : list of int
        The first entry of every run.
    """

    profile: Profile
    runs: tuple[Observed, ...]
    one: Tape | None
    theirs: np.ndarray
    scale: np.ndarray
    starts: list[int]

    def errors(self, method: Any, together: bool, enough: float = math.inf) -> np.ndarray:
        """Return the largest relative error of a method's first steps, run by run.

        Fewer runs where one is off by more than `enough`.
        """
        if self.one is not None and isinstance(method, Elementwise):
            return np.maximum.reduceat(self._gap(follow(method, self.one).points[""]), self.starts)
        worst = []
        for run, start in zip(self.runs, self.starts):
            # Leaves that are runs of their own are looked at one by one.
            groups = [list(run.tape.x0)] if together else [[k] for k in run.tape.x0]
            worst.append(0.0)
            for names in groups:
                tape = run.tape.only(names).first(self.theirs.shape[0])
                ours = _flat(follow(run.drive(method), tape, together=together).points, len(tape))
                part = slice(start, start + ours.shape[1])
                start = part.stop
                worst[-1] = max(worst[-1], float(np.max(self._gap(ours, part))))
                if worst[-1] > enough:
                    return np.array(worst)
        return np.array(worst)

    def _gap(self, ours: np.ndarray, part: slice = slice(None)) -> np.ndarray:
        """Return the largest relative error of every entry; infinite where it is not finite."""
        theirs = self.theirs[:, part]
        # Whether what is not finite may be so, the whole comparison decides.
        same = (ours == theirs) | ~np.isfinite(theirs)
        with np.errstate(all="ignore"):
            gap = np.where(same, 0.0, np.abs(ours - theirs)).max(axis=0) / self.scale[part]
        return np.where(np.isfinite(gap), gap, np.inf)


def sample(seen: Observations) -> list[Observed]:
    """Return a part of what was seen, on which variants are ranked where a step is dear.

    A few leaves where each is a run of its own, and but for an elementwise method, whose leaves and tapes are one
    vector, a few tapes of every profile.
    """
    first = seen.runs[0]
    if isinstance(first.tape, Course):
        return list(seen.runs)
    plain = isinstance(first.profile.method(seen.entry.name, "paper"), Elementwise)
    leaves = list(first.tape.x0)
    kept = leaves if seen.together else [k for k in leaves if k in SAMPLE_LEAVES] or leaves[:1]
    out = []
    for run in seen.runs:
        if plain or run.tape.name in SAMPLE_TAPES or run.tape.name not in KINDS:
            own = [k for k in kept if k in run.tape.x0] or list(run.tape.x0)
            out.append(replace(run, tape=run.tape.only(own), theirs={k: run.theirs[k] for k in own}))
    return out


def glances(runs: Iterable[Observed], steps: int = GLANCE) -> list[Glance]:
    """Return what is seen at a first look, profile by profile."""
    groups: dict[tuple[int, int], list[Observed]] = {}
    for run in runs:
        groups.setdefault((id(run.profile), min(steps, len(run.tape))), []).append(run)
    return [_glance(tuple(held), first) for (_, first), held in groups.items()]


def _glance(runs: tuple[Observed, ...], steps: int) -> Glance:
    theirs = [{k: v[:steps] for k, v in r.theirs.items()} for r in runs]
    finite = [
        {k: np.where(np.isfinite(v), np.abs(v), 0.0).max() or 1.0 for k, v in p.items()} for p in theirs
    ]
    scale = [np.full(v[0].size, finite[i][k]) for i, p in enumerate(theirs) for k, v in p.items()]
    sizes = [sum(v[0].size for v in p.values()) for p in theirs]
    plain = all(r.probes is None and not isinstance(r.tape, Course) for r in runs)
    return Glance(
        runs[0].profile, runs, _joined([r.tape.first(steps) for r in runs]) if plain else None,
        np.concatenate([_flat(p, steps) for p in theirs], axis=1), np.concatenate(scale),
        [sum(sizes[:i]) for i in range(len(sizes))],
    )  # fmt: skip


def _flat(points: Leaves, steps: int) -> np.ndarray:
    return np.concatenate([v.reshape(steps, -1) for v in points.values()], axis=1)


def _joined(tapes: list[Tape]) -> Tape:
    """Return tapes side by side, as one of a single vector."""

    def join(parts: list[Leaves]) -> Leaves:
        return {"": np.concatenate([v.ravel() for p in parts for v in p.values()])}

    return Tape("all", join([t.x0 for t in tapes]), tuple(join(list(g)) for g in zip(*(t.gradients for t in tapes))))  # fmt: skip


def far(run: Observed, ours: Trajectory, dtype: str) -> bool:
    """Tell whether a candidate is so far off on a course that no bound need be measured; False on a tape."""
    if not isinstance(run.tape, Course):
        return False
    for k, theirs in run.theirs.items():
        with np.errstate(all="ignore"):
            gap = np.max(np.abs(ours.points[k] - theirs)[:FAR_STEPS])
            if gap > FAR[dtype] * max(np.max(np.abs(theirs[:FAR_STEPS])), 1.0):
                return True
    return False
