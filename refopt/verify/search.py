"""The search behind `diagnose`: variants of a method from the plainest to pairs, each held to what was seen."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from refopt.verify.asked import far
from refopt.verify.candidates import Candidate, faults, numbers, relatives, switches
from refopt.verify.comparison import hold
from refopt.verify.deviations import Deviation, altered, fields, innermost, refit
from refopt.verify.first_look import GLANCE, glances
from refopt.verify.fitting import fits, rate_factor
from refopt.verify.observation import Observations, Profile
from refopt.verify.reference import bound, factorises, follow, machine_epsilon
from refopt.verify.report import Finding
from refopt.verify.rewriting import BROKEN, edit_deviations

# Dialects with a switch set otherwise, on which all edits are tried, as on the dialects.
MORE_ROOTS = 4
# How near a candidate must come in its first steps to be looked at again.
NEAR = {"float64": 1e-7, "float32": 3e-3}
# By how much more where matrices are factorised, whose small eigenvalues are rounding.
FACTORISED = 1e4


class Search:
    """The state of one search through variants of a method.

    Parameters
    ----------
    seen : Observations

    Attributes
    ----------
    tried : int
    best : tuple of float and Candidate
        The smallest error in the first steps so far, and what has it.
    """

    def __init__(self, seen: Observations) -> None:
        self.seen = seen
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


def levels(
    search: Search, base: list[Candidate], found: Any, told: set[str], patience: float
) -> Iterable[Iterable[Candidate]]:
    """Yield the candidates from the simplest on, level by level."""
    yield base
    yield switches(found)
    values = numbers(found)
    # A number that the other side tells is less likely to be another one.
    free = [c for c in values if not told & c.settings.keys()]
    rest = [c for c in values if told & c.settings.keys()]
    deviations = faults(found)
    yield deviations
    yield free
    yield rest
    yield _rates(search, base)
    singles = [*switches(found), *deviations, *values]
    own = [c for c in base if c.names != ("paper",)]
    yield _combined(own, singles)
    roots = _by_nearness(search, base) or base[:1]
    run, together = search.seen.runs[0], search.seen.together
    yield _for(
        0.2 * patience, fits(roots, [*switches(found), *deviations], run, told, search.build, together)
    )
    both = itertools.combinations(switches(found), 2)
    yield _for(0.1 * patience, (_together(root, *pair) for pair in both for root in roots))
    yield relatives(found, tuple(r.profile for r in search.seen.runs))
    further = _by_nearness(search, list(_combined(base, switches(found))))
    small = _edits(search, base)
    less, *more = small or [[]]
    yield _for(0.15 * patience, (root.with_(c) for root in (*roots, *further) for c in less))
    # Of named parts before those of edits: what has a name is likelier.
    # The nearest dialect need not be the one that both parts stand on.
    yield _for(0.3 * patience, _in_turn([_pairs(search, root, singles) for root in roots[:2]]))
    yield _for(0.2 * patience, (root.with_(c) for size in more for root in roots for c in size))
    yield _for(
        0.1 * patience, (root.with_(c) for size in more for root in further[:MORE_ROOTS] for c in size)
    )
    yield _for(0.1 * patience, _pairs(search, roots[0], [*singles, *itertools.chain(*small)]))


def _combined(base: list[Candidate], others: list[Candidate]) -> Iterator[Candidate]:
    """Yield every dialect with one of the others."""
    yield from filter(None, (d.with_(c) for d in base for c in others))


def _together(root: Candidate, one: Candidate, other: Candidate) -> Candidate | None:
    """Return a dialect with two things more."""
    first = root.with_(one)
    return None if first is None else first.with_(other)


def _in_turn(sources: list[Iterator[Candidate | None]]) -> Iterator[Candidate | None]:
    """Yield from each in turn, as long as one has anything."""
    for row in itertools.zip_longest(*sources):
        yield from row


def _for(seconds: float, candidates: Iterable[Candidate | None]) -> Iterator[Candidate]:
    """Yield candidates as long as there is time."""
    until = time.monotonic() + seconds
    for c in candidates:
        if time.monotonic() > until:
            return
        if c is not None:
            yield c


def _edits(search: Search, base: list[Candidate]) -> list[list[Candidate]]:
    """Return one candidate for every small edit of what the reference runs through, those of one size together."""
    firsts = {r.profile.name: r for r in reversed(search.seen.runs)}.values()

    def run() -> None:
        for c, first in itertools.product(base, firsts):
            with contextlib.suppress(*BROKEN):
                method = first.drive(search.build(c, first.profile))
                follow(method, first.tape.first(GLANCE), together=search.seen.together)

    names = fields(innermost(search.build(base[0], search.seen.runs[0].profile)))
    numbers_ = (k for k, v in names.items() if isinstance(v, (int, float)) and not isinstance(v, bool))
    found = edit_deviations(run, tuple(numbers_))
    name = search.seen.entry.name
    return [[Candidate((d.name,), (d.what,), name, changes=(d,)) for d in size] for size in found]


def _rates(search: Search, base: list[Candidate]) -> Iterable[Candidate]:
    """Yield the base candidates with the rate multiplied by what the first moves suggest."""
    run = search.seen.runs[0]
    for c in base:
        try:
            factor = rate_factor(run, search.build(c, run.profile), search.seen.together)
        except BROKEN:
            continue
        if factor is None or abs(factor - 1) < 1e-6:
            continue
        names = tuple(n for n in c.names if n != "paper")
        for whole in (True, False):
            d = _faster(factor, decay_too=whole)
            yield replace(c, names=(*names, d.name), words=(*c.words, d.what), changes=(d,))


def _faster(factor: float, *, decay_too: bool) -> Deviation:
    """Return the deviation that multiplies the rate, of the decay too or of the step alone."""

    def change(method: Any) -> Any:
        inner = innermost(method)
        have = fields(inner)
        if not isinstance(have.get("lr"), float):
            return None
        decay = (
            {}
            if decay_too or not have.get("weight_decay")
            else {"weight_decay": have["weight_decay"] / factor}
        )
        return refit(method, altered(inner, lr=have["lr"] * factor, **decay))

    name, what = ("rate", "the rate") if decay_too else ("step", "the step beside the decay")
    return Deviation(f"{name}-times-{factor:g}", f"with {factor:g} times {what}", "settings", change)


def _pairs(search: Search, root: Candidate, singles: list[Candidate]) -> Iterator[Candidate | None]:
    """Yield pairs on a dialect, those first whose parts come near on some tape by themselves."""
    scored = []
    base = _trace(search, root)
    for c in filter(None, (root.with_(c) for c in singles)):
        # While it is scored too, time runs.
        yield None
        own = _trace(search, c)
        # A part that changes nothing here cannot help.
        if own is not None and (base is None or not np.array_equal(own, base)):
            scored.append((float(np.mean(np.log10(own + 1e-16))), c))
    scored.sort(key=lambda pair: pair[0])
    ranked = [c for _, c in scored]
    for i, j in _by_product(len(ranked)):
        yield ranked[i].with_(ranked[j].without(root))


def _by_product(n: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs ``i < j < n``, by the product of their ranks: the first with all, the next with fewer."""
    waiting = [((i + 1) * (i + 2), i, i + 1) for i in range(n - 1)]
    heapq.heapify(waiting)
    while waiting:
        _, i, j = waiting[0]
        yield i, j
        if j + 1 < n:
            heapq.heapreplace(waiting, ((i + 1) * (j + 2), i, j + 1))
        else:
            heapq.heappop(waiting)


def _by_nearness(search: Search, base: list[Candidate]) -> list[Candidate]:
    """Return the dialects, the nearest first, of those that do the same here only the first."""
    traces: list[tuple[float, np.ndarray, Candidate]] = []
    for c in base:
        trace = _trace(search, c)
        if trace is not None and not any(np.array_equal(trace, other) for _, other, _ in traces):
            traces.append((float(np.mean(np.log10(trace + 1e-16))), trace, c))
    return [c for _, _, c in sorted(traces, key=lambda known: known[0])]


def _trace(search: Search, c: Candidate) -> np.ndarray | None:
    """Return the error of a candidate's first steps on every run; None where it cannot run."""
    try:
        return np.minimum(search.errors(c), 1e6)
    except BROKEN:
        return None
