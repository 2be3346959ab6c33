"""`diagnose` for methods that draw: every variant's distribution is held against the other side's.

The other side runs once, RUNS times; every variant is tried on the same runs. A variant is looked at in a
few runs first and, unless those tell it apart, in all. Location and spread of every entry and of each
leaf's sum, after the steps TIMES, are tested as in `refopt.verify.runs.draws`; the levels of all tests of
all variants that may be tried add up to ``FALSE_ALARM``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtri

from refopt.core.errors import RefoptError
from refopt.core.registry import Entry
from refopt.verify.inputs.profiles import Profile
from refopt.verify.inputs.tapes import Tape, make
from refopt.verify.report import Diagnosis
from refopt.verify.runs.draws import FALSE_ALARM, KINDS, RUNS, STEPS, scores, with_sum
from refopt.verify.runs.observe import observe
from refopt.verify.runs.other import run_side
from refopt.verify.runs.reference import follow
from refopt.verify.search.effort import Effort
from refopt.verify.sides.side import Leaves, Side
from refopt.verify.variants.candidate import COMMON, Candidate, dialects, faults, numbers, switches

# The runs of the first look, of a second, and of all; the steps after which the points are compared.
LOOKS = (40, 120, RUNS)


TIMES = (1, 2, STEPS)


# Leaves of several lengths are alike here, and cost time.
LEAVES = {"vector": (7,), "wide": (3, 4)}


# A number of a method that has no common values is tried at these multiples of what it is.
FACTORS = (0.1, 0.5, 2.0, 10.0)


BROKEN = (RefoptError, ArithmeticError, LookupError, ValueError, TypeError)


Sample = dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True, eq=False)
class Fit:
    """A variant that the tests do not tell apart: its largest z, and the mean of their squares."""

    candidate: Candidate
    worst: float
    square: float


@dataclass
class Search:
    """The other side's runs, and what was tried on them."""

    side: Side
    tapes: list[Tape]
    profile: Profile
    dtype: str
    theirs: Sample
    limit: float = 0.0
    tried: int = 0
    effort: Effort = field(default_factory=lambda: Effort(1))
    nearest: Fit | None = None

    def ours(self, c: Candidate, runs: range) -> Sample:
        """Return the variant's points under so many seeds."""
        made = []
        for k in runs:
            seeded = dataclasses.replace(c, settings={**c.settings, "seed": k + 1})
            method = seeded.build(self.profile)
            made.append([follow(method, t, together=self.side.together).points for t in self.tapes])
        return gathered(self.tapes, made)

    def fit(self, c: Candidate) -> Fit | None:
        """Return how well a variant fits; None where a test tells it apart, or where it cannot run."""
        self.tried += 1
        self.effort.spent += 1
        mine: Sample = {}
        for before, upto in zip((0, *LOOKS), LOOKS):
            try:
                more = self.ours(c, range(before, upto))
            except BROKEN:
                return None
            mine = {k: np.concatenate([mine[k], v]) if k in mine else v for k, v in more.items()}
            z = np.concatenate(
                [np.concatenate(scores(v, self.theirs[k][:upto])).ravel() for k, v in mine.items()]
            )
            found = Fit(c, float(z.max()), float(np.mean(np.minimum(z, 1e6) ** 2)))
            if found.worst > self.limit:
                # Each look has its own number of runs: by the first, all can be compared.
                if before == 0 and (self.nearest is None or found.square < self.nearest.square):
                    self.nearest = found
                return None
        return found


def gathered(tapes: list[Tape], made: list[list[Leaves]]) -> Sample:
    """Return the points of many runs after the steps TIMES: (runs, entries, and the leaf's sum)."""
    return {
        (t.name, f"{leaf} after {n}"): with_sum(np.stack([run[i][leaf][n - 1] for run in made]))
        for i, t in enumerate(tapes)
        for leaf in t.x0
        for n in TIMES
    }


def multiples(found: Entry, profile: Profile, spread: float) -> list[Candidate]:
    """Return one candidate for every multiple of a number that has no common values.

    `spread` is what the other side's standard deviations are to the reference's, one of the multiples.
    """
    method = profile.method(found.name, "paper")
    out = []
    for f in dataclasses.fields(found.obj):
        value, allowed = getattr(method, f.name), f.metadata.get("allowed")
        if (
            f.name in COMMON
            or f.name == "seed"
            or not isinstance(allowed, str)
            or not isinstance(value, float)
        ):
            continue
        for factor in dict.fromkeys((spread, *FACTORS)):
            n = float(f"{factor * value:.6g}")
            out.append(
                Candidate((f"{f.name}={n:g}",), (f"with {f.name} = {n:g}",), found.name, settings={f.name: n})
            )
    return out


def ratio(mine: Sample, theirs: Sample) -> float:
    """Return the median ratio of the standard deviations, to two digits; 1 where nothing varies."""
    with np.errstate(all="ignore"):
        parts = [np.std(theirs[k], axis=0) / np.std(v, axis=0) for k, v in mine.items()]
    found = np.concatenate(parts)
    found = found[np.isfinite(found) & (found > 0)]
    return float(f"{np.median(found):.2g}") if found.size else 1.0


def levels(found: Entry, profile: Profile, spread: float) -> list[list[Candidate]]:
    """Return what is tried, from the simplest on: the next where nothing of a level fits."""
    base, deviations = dialects(found), faults(found)
    # What is about this very method, before what is about every method.
    own = [c for c in deviations if any(d.only for d in c.changes)]
    rest = [c for c in deviations if c not in own]
    values = [*numbers(found), *multiples(found, profile, spread)]
    singles = [*switches(found), *own, *rest, *values]
    named = [c for c in base if c.names != ("paper",)]
    pairs = [p for d in named for c in singles if (p := d.with_(c)) is not None]
    return [base, [*switches(found), *own], values, rest, pairs]


def diagnose_draws(
    other: Any,
    name: str,
    dtype: str,
    seed: int,
    effort: int | None,
    patience: float | None,
    **hyperparameters: Any,
) -> Any:
    """Say what another implementation that draws computes, as far as distributions tell.

    Arguments as of `refopt.verify.diagnose`; returns its Diagnosis, whose ``error`` is the largest
    difference in standard errors.
    """
    seen = observe(other, name, steps=1, shapes=LEAVES, dtype=dtype, seed=seed, **hyperparameters)
    it, profile, kept = seen.side, seen.runs[0].profile, list(seen.runs[0].theirs)
    tapes = [make(kind, STEPS, seed=seed, shapes=LEAVES).only(kept) for kind in KINDS]
    made = [[run_side(it, t, profile, dtype, False).theirs for t in tapes] for _ in range(RUNS)]
    search = Search(it, tapes, profile, dtype, gathered(tapes, made))
    base = search.ours(dialects(seen.entry)[0], range(RUNS))
    planned = levels(seen.entry, profile, ratio(base, search.theirs))
    variants = sum(len(level) for level in planned)
    tests = 2 * sum(v.shape[1] for v in search.theirs.values())
    search.limit = float(-ndtri(FALSE_ALARM / (2 * tests * variants * len(LOOKS))))
    search.effort = Effort(variants if effort is None else effort, patience)
    for level in planned:
        # The dialects are tried whatever the effort.
        tried = level if level is planned[0] else search.effort.rest(level)
        fits = sorted(_fits(search, tried), key=lambda f: f.square)
        if fits:
            return _told(search, seen.entry, fits, variants)
    return _unexplained(search, seen.entry, variants)


def _fits(search: Search, level: Iterable[Candidate]) -> list[Fit]:
    return [found for c in level if (found := search.fit(c)) is not None]


def _how(search: Search, variants: int) -> str:
    # A shift of location by d deviations moves the rank sum's z by about d sqrt(3 n / (2 pi)).
    seen = (search.limit + 2.3) / np.sqrt(3 * RUNS / (2 * np.pi))
    return (
        f"This is a statistical answer, from {RUNS} runs: the right one of {variants} variants is missed once in"
        f" {1 / FALSE_ALARM:.0f} diagnoses, and what moves every value by less than {seen:.1g} of its standard"
        " deviation is not seen"
    )


def _told(search: Search, found: Entry, fits: list[Fit], variants: int) -> Any:
    best, *others = fits
    # Among what fits, the paper's form needs nothing changed.
    plain = [f for f in fits if f.candidate.names == ("paper",)]
    if plain:
        best, others = plain[0], [f for f in fits if f is not plain[0]]
    c = best.candidate
    also = tuple(f.candidate.names for f in others)
    sentence = (
        f"{search.side.name} is {c.method} {' and '.join(c.words)}, as far as location and spread tell (at most"
        f" {best.worst:.2g} standard errors apart; limit {search.limit:.2g})"
    )
    if also:
        sentence += f"; not to be told apart here: {', '.join(' with '.join(names) for names in also)}"
    return Diagnosis(
        c.names, search.side.name, found.name, f"{sentence}. {_how(search, variants)}.", also, c.releases,
        c.names, best.worst, search.tried,
    )  # fmt: skip


def _unexplained(search: Search, found: Entry, variants: int) -> Any:
    near = search.nearest
    names = near.candidate.names if near else ()
    words = f" {' and '.join(near.candidate.words)}" if near else ""
    worst = near.worst if near else float("inf")
    sentence = (
        f"None of the {search.tried} variants of {found.name} that were tried has the distribution of"
        f" {search.side.name}; the nearest is {found.name}{words}, {worst:.3g} standard errors apart in"
        f" {LOOKS[0]} runs. {_how(search, variants)}.{search.effort.note()}"
    )
    return Diagnosis((), search.side.name, found.name, sentence, (), (), names, worst, search.tried)
