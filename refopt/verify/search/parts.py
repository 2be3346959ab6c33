"""What was seen is parted, and a part searched alone: leaves that nothing explains yet, tapes on which it stays finite."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from refopt.core.method import LeafRule
from refopt.verify.inputs.problems import Course
from refopt.verify.report import Finding
from refopt.verify.runs.other import Observations
from refopt.verify.search.effort import Effort
from refopt.verify.search.trajectories import Search
from refopt.verify.variants.candidate import Candidate
from refopt.verify.variants.text_edit import BROKEN


@dataclass(frozen=True, eq=False)
class Parted:
    """A variant that explains some of the leaves.

    Parameters
    ----------
    variant : Candidate
    findings : list of Finding
        On the leaves that it explains.
    leaves : tuple of str
        Those.
    axes : tuple of int
        How many axes each of them has.
    rest : Observations
        What was seen of the others.
    """

    variant: Candidate
    findings: list[Finding]
    leaves: tuple[str, ...]
    axes: tuple[int, ...]
    rest: Observations

    def others(self) -> str:
        """Return the other leaves in words."""
        axes = {k: v.ndim for k, v in self.rest.runs[0].tape.x0.items()}
        for word, few, many in (
            ("scalars and vectors", 0, 1),
            ("vectors", 1, 1),
            ("matrices", 2, 2),
            ("kernels", 3, 99),
        ):
            if all(few <= n <= many for n in axes.values()) and not any(few <= n <= many for n in self.axes):
                return f"{word} alone ({', '.join(axes)})"
        return f"the leaves {', '.join(axes)}"


def parted(search: Search, base: list[Candidate]) -> Parted | None:
    """Return the dialect that explains the most of the leaves, where one explains some and none explains all."""
    seen = search.seen
    first = seen.runs[0]
    if isinstance(first.tape, Course) or first.probes is not None or first.profile.groups:
        return None
    if not isinstance(first.profile.method(seen.entry.name, "paper"), LeafRule):
        return None
    found: list[Parted] = []
    alone = {k: Search(_only(seen, (k,)), Effort(1)) for k in first.tape.x0}
    for c in base:
        kept = [k for k, s in alone.items() if _explains(s, c)]
        if 0 < len(kept) < len(first.tape.x0):
            findings = Search(_only(seen, kept), search.effort).explains(c)
            rest = [k for k in first.tape.x0 if k not in kept]
            if findings is not None:
                axes = tuple(first.tape.x0[k].ndim for k in kept)
                found.append(Parted(c, findings, tuple(kept), axes, _only(seen, rest)))
    return max(found, key=lambda p: len(p.leaves), default=None)


def finite_part(seen: Observations) -> tuple[Observations, tuple[str, ...]] | None:
    """Return what was seen where the other side stays finite, and the tapes where it does not; None if that is all or nothing.

    NaN where every gradient so far was zero is looked at elsewhere.
    """
    good, lost = [], dict[str, None]()
    for run in seen.runs:
        idle = run.tape.idle()
        if all(np.all(np.isfinite(v) | idle[k]) for k, v in run.theirs.items()):
            good.append(run)
        else:
            lost[run.tape.name] = None
    if not good or not lost:
        return None
    return dataclasses.replace(seen, runs=tuple(good)), tuple(lost)


def _explains(search: Search, c: Candidate) -> bool:
    try:
        return search.glance(c) <= search.near
    except BROKEN:
        return False


def _only(seen: Observations, leaves: list[str] | tuple[str, ...]) -> Observations:
    """Return what was seen of some leaves; a run without any of them is left out."""
    runs = []
    for run in seen.runs:
        own = [k for k in leaves if k in run.tape.x0]
        if own:
            theirs = {k: run.theirs[k] for k in own}
            runs.append(dataclasses.replace(run, tape=run.tape.only(own), theirs=theirs, states=()))
    return dataclasses.replace(seen, runs=tuple(runs))
