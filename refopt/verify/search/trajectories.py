"""The state of one search through variants of a method, each held to the trajectories that were seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refopt.core.method import LeafRule
from refopt.verify.inputs.profiles import Profile
from refopt.verify.report import Finding
from refopt.verify.runs.observe import hold
from refopt.verify.runs.other import Observations
from refopt.verify.runs.reference import follow
from refopt.verify.runs.rounding import Bound, bound, factorises, machine_epsilon
from refopt.verify.search.effort import Effort
from refopt.verify.search.glance import GLANCE, Glance, far, glances, sample
from refopt.verify.variants.candidate import Candidate
from refopt.verify.variants.text_edit import BROKEN

# How near a candidate must come in its first steps to be looked at again.
NEAR = {"float64": 1e-7, "float32": 3e-3}


# By how much more where matrices are factorised, whose small eigenvalues are rounding.
FACTORISED = 1e4


# Nearer than this no rule that was looked at came without being the other side's, computed in another order where
# numbers cancel (a variance as a difference of squares) or with a constant of 1e-6 beside a norm.
CLOSE, STILL_CLOSE, MOST_CLOSE = 1e-8, 1e-6, 20


# How many are kept that are right in their first steps alone, and up to where first looks may be drawn out.
MOST_PARTIAL, LONGEST_GLANCE = 4, 15


# A variant that is only allowed to be farther off than this, relative to its leaf, has lost itself in rounding.
HOPELESS = 0.1


def _largest(points: np.ndarray) -> float:
    finite = np.abs(points[np.isfinite(points)])
    return float(np.max(finite, initial=0.0))


def _unchanged(c: Candidate, profile: Profile) -> tuple[Any, ...]:
    """Return what tells a candidate's method, before it is changed, from others."""
    return (c.method, c.dialect, profile.name, *sorted(c.settings.items()))


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
    close : list of Candidate
        Those that come within `CLOSE` in their first steps, and that rounding does not explain.
    partial : list of Candidate
        Those that rounding explains in their first steps, and not later.
    steps : int
        Steps of a first look.
    """

    def __init__(self, seen: Observations, effort: Effort) -> None:
        self.seen, self.effort = seen, effort
        self.tried = 0
        self.best: tuple[float, Candidate | None] = (math.inf, None)
        self.close: list[Candidate] = []
        self.partial: list[Candidate] = []
        self.steps = GLANCE
        self._departs = 0
        first = seen.runs[0].profile
        self.factorised = factorises(first.method(seen.entry.name, "paper"))
        self.near = (FACTORISED if self.factorised else 1.0) * NEAR[seen.dtype]
        self._glances = glances(seen.runs)
        self._sample = glances(sample(seen))
        self._order = list(range(len(seen.runs)))
        self._made: dict[tuple[Any, ...], Any] = {}
        self._plain: dict[tuple[Any, ...], np.ndarray] = {}
        self._lost: set[int] = set()
        # Where a variant departed late: the run, the leaf, the steps, and what refuted variants did there.
        self._witness: tuple[int, str, int] | None = None
        self._there: set[int] = set()

    def build(self, c: Candidate, profile: Profile) -> Any:
        """Return the candidate under a profile; what it changes is made once."""
        if profile.groups:
            return c.build(profile)
        key = _unchanged(c, profile)
        if key not in self._made:
            self._made[key] = profile.method(c.method, c.dialect, **c.settings)
        return c.changed(self._made[key])

    def errors(self, c: Candidate, enough: float = math.inf) -> np.ndarray:
        """Return how far the candidate is off in its first steps, run by run.

        Stops, and returns fewer, where one is off by more than `enough`.
        """
        return self._errors(c, self._glances, enough)

    def ranking(self, c: Candidate) -> np.ndarray:
        """Return how far the candidate is off in its first steps, on a sample of the runs."""
        return self._errors(c, self._sample, math.inf)

    def _errors(self, c: Candidate, looks: list[Glance], enough: float) -> np.ndarray:
        self.effort.spent += 1
        out: list[float] = []
        for place, glance in enumerate(looks):
            made = self.build(c, glance.profile)
            key = _unchanged(c, glance.profile)
            if made is not self._made.get(key):
                out.extend(glance.errors(made, self.seen.together, enough))
            else:
                # Most deviations do not apply to most methods: what is not changed need not run again.
                known = (*key, place, looks is self._sample, enough)
                if known not in self._plain:
                    self._plain[known] = glance.errors(made, self.seen.together, enough)
                out.extend(self._plain[known])
            if max(out) > enough:
                break
        return np.array(out)

    def glance(self, c: Candidate) -> float:
        """Return how far the candidate is off in its first steps, at most; infinite where it cannot run."""
        self.tried += 1
        return float(np.max(self.errors(c, self.near)))

    def examine(self, c: Candidate, eps: float | None = None) -> list[Finding] | None:
        """Return the findings of the whole comparison, or None as soon as one differs."""
        out: dict[int, list[Finding]] = {}
        # Held to single precision's rounding it may be right all the same.
        if eps is None and (steps := self._at_the_witness(c)) is not None and steps in self._there:
            return None
        for place in list(self._order):
            run = self.seen.runs[place]
            made = self.build(c, run.profile)
            ours = follow(run.drive(made), run.tape, together=self.seen.together)
            # What takes the steps of another that was refuted is refuted, too: most that pass a first look are such.
            same = (place, eps, *(ours.points[k].tobytes() for k in ours.points))
            if hash(same) in self._lost:
                self._refuted(place)
                return None
            if far(run, ours, self.seen.dtype if eps is None else "float32"):
                self._refuted(place)
                return None
            limit = bound(
                made, run.tape, ours, eps or machine_epsilon(self.seen.dtype), together=self.seen.together,
                drive=run.drive,
            )  # fmt: skip
            found = hold(run, ours, limit, self.seen.dtype)
            # Where nothing, or next to nothing, is known of an entry, nothing is explained either.
            if not all(f.agrees and f.error <= HOPELESS for f in found):
                self._refuted(place)
                self._lost.add(hash(same))
                if eps is None:
                    self._testify(c, place, found)
                departs = min((f.step for f in found if f.step is not None), default=0)
                self._departs = max(self._departs, departs if not c.changes and not c.settings else 0)
                return None
            out[place] = found
        return [f for place in sorted(out) for f in out[place]]

    def _at_the_witness(self, c: Candidate) -> int | None:
        """Return what tells a candidate's steps where one departed late; None where a leaf is not by itself."""
        if self._witness is None:
            return None
        place, leaf, steps = self._witness
        run = self.seen.runs[place]
        made = self.build(c, run.profile)
        if not isinstance(made, LeafRule) or type(made).carry is not LeafRule.carry:
            return None
        tape = run.tape.only([leaf]).first(steps)
        return hash(follow(run.drive(made), tape, together=self.seen.together).points[leaf].tobytes())

    def _testify(self, c: Candidate, place: int, found: list[Finding]) -> None:
        """Keep what a refuted candidate did on the leaf that refuted it, if that took long."""
        late = next((f for f in found if f.step is not None), None)
        if self._witness is None and late is not None and late.step is not None and late.step > self.steps:
            self._witness = (place, late.leaf, late.step)
        if self._witness is None or self._witness[0] != place:
            return
        _, leaf, steps = self._witness
        if any(f.leaf == leaf and f.step is not None and f.step <= steps for f in found):
            there = self._at_the_witness(c)
            self._there |= set() if there is None else {there}

    def _refuted(self, place: int) -> None:
        """Have the run that told a candidate from the other side tell the next one first."""
        self._order.remove(place)
        self._order.insert(0, place)

    def look_longer(self) -> None:
        """Have first looks reach the step at which the best dialect departs, where that is not far.

        What is the reference in its first steps and not later is told from nothing else by fewer.
        """
        if self.steps < self._departs <= LONGEST_GLANCE:
            self.steps = self._departs + 1
            self._glances = glances(self.seen.runs, self.steps)
            self._sample = glances(sample(self.seen), self.steps)
            self._plain.clear()

    def same_steps(self, one: Candidate, other: Candidate) -> bool:
        """Tell whether two candidates are at the same points on every run, to the bit."""
        for run in self.seen.runs:
            try:
                a, b = (
                    follow(
                        run.drive(self.build(c, run.profile)), run.tape, together=self.seen.together
                    ).points
                    for c in (one, other)
                )
            except BROKEN:
                # Not every dialect can run here.
                return False
            if not all(np.array_equal(a[k], b[k], equal_nan=True) for k in a):
                return False
        return True

    def close_throughout(self, c: Candidate) -> list[Finding] | None:
        """Return the findings if the candidate stays within `STILL_CLOSE` everywhere, though not to rounding."""
        out: list[Finding] = []
        for run in self.seen.runs:
            ours = follow(run.drive(self.build(c, run.profile)), run.tape, together=self.seen.together)
            allowed = {k: np.full_like(v, STILL_CLOSE * _largest(v)) for k, v in ours.points.items()}
            out += hold(run, ours, Bound(allowed, 0.0, 0), self.seen.dtype)
        return out if all(f.agrees for f in out) else None

    def explains(self, c: Candidate) -> list[Finding] | None:
        """Return the findings if the candidate reproduces everything to rounding."""
        try:
            gap = self.glance(c)
            if gap < self.best[0]:
                self.best = (gap, c)
            # Of a singular matrix's basis the first steps tell nothing; the whole comparison knows by how much.
            whole = gap <= self.near or (self.factorised and not c.changes and not c.settings)
            found = self.examine(c) if whole else None
            if whole and found is None and len(self.partial) < MOST_PARTIAL:
                self.partial.append(c)
            if found is None and gap <= CLOSE and len(self.close) < MOST_CLOSE:
                self.close.append(c)
            return found
        except BROKEN:
            return None
