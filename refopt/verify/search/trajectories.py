"""The state of one search through variants of a method, each held to the trajectories that were seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refopt.verify.inputs.profiles import Profile
from refopt.verify.report import Finding
from refopt.verify.runs.observe import hold
from refopt.verify.runs.other import Observations
from refopt.verify.runs.reference import follow
from refopt.verify.runs.rounding import bound, factorises, machine_epsilon
from refopt.verify.search.effort import Effort
from refopt.verify.search.glance import far, glances
from refopt.verify.variants.candidate import Candidate
from refopt.verify.variants.text_edit import BROKEN

# How near a candidate must come in its first steps to be looked at again.
NEAR = {"float64": 1e-7, "float32": 3e-3}


# By how much more where matrices are factorised, whose small eigenvalues are rounding.
FACTORISED = 1e4


class Search:
    """The state of one search through variants of a method.

    Parameters
    ----------
    seen : Observations
    effort : Effort

    Attributes
    ----------
    tried : int
    best : tuple of float and Candidate
        The smallest error in the first steps so far, and what has it.
    """

    def __init__(self, seen: Observations, effort: Effort) -> None:
        self.seen, self.effort = seen, effort
        self.tried = 0
        self.best: tuple[float, Candidate | None] = (math.inf, None)
        first = seen.runs[0].profile
        slack = FACTORISED if factorises(first.method(seen.entry.name, "paper")) else 1.0
        self.near = slack * NEAR[seen.dtype]
        self._glances = glances(seen)
        self._made: dict[tuple[Any, ...], Any] = {}

    def build(self, c: Candidate, profile: Profile) -> Any:
        """Return the candidate under a profile; what it changes is made once."""
        if profile.groups:
            return c.build(profile)
        key = (c.method, c.dialect, profile.name, *sorted(c.settings.items()))
        if key not in self._made:
            self._made[key] = profile.method(c.method, c.dialect, **c.settings)
        return c.changed(self._made[key])

    def errors(self, c: Candidate, enough: float = math.inf) -> np.ndarray:
        """Return how far the candidate is off in its first steps, run by run.

        Stops, and returns fewer, where one is off by more than `enough`.
        """
        self.effort.spent += 1
        out: list[float] = []
        for glance in self._glances:
            out.extend(glance.errors(self.build(c, glance.profile), self.seen.together, enough))
            if max(out) > enough:
                break
        return np.array(out)

    def glance(self, c: Candidate) -> float:
        """Return how far the candidate is off in its first steps, at most; infinite where it cannot run."""
        self.tried += 1
        return float(np.max(self.errors(c, self.near)))

    def examine(self, c: Candidate, eps: float | None = None) -> list[Finding] | None:
        """Return the findings of the whole comparison, or None as soon as one differs."""
        out: list[Finding] = []
        for run in self.seen.runs:
            made = self.build(c, run.profile)
            ours = follow(run.drive(made), run.tape, together=self.seen.together)
            if far(run, ours, self.seen.dtype if eps is None else "float32"):
                return None
            limit = bound(
                made, run.tape, ours, eps or machine_epsilon(self.seen.dtype), together=self.seen.together,
                drive=run.drive,
            )  # fmt: skip
            found = hold(run, ours, limit, self.seen.dtype)
            if not all(f.agrees for f in found):
                return None
            out += found
        return out

    def explains(self, c: Candidate) -> list[Finding] | None:
        """Return the findings if the candidate reproduces everything to rounding."""
        try:
            gap = self.glance(c)
            if gap < self.best[0]:
                self.best = (gap, c)
            return self.examine(c) if gap <= self.near else None
        except BROKEN:
            return None
