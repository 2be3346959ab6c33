"""The search behind `diagnose`: variants of a method from the plainest to pairs, each held to what was seen."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from refopt.verify.inputs.problems import Course
from refopt.verify.inputs.tapes import Tape
from refopt.verify.runs.reference import follow
from refopt.verify.search.filters import filters
from refopt.verify.search.fitting import fits, rate_factor
from refopt.verify.search.glance import GLANCE, SAMPLE_LEAVES
from refopt.verify.search.trajectories import Search
from refopt.verify.variants.candidate import Candidate, faults, numbers, of_one_release, relatives, switches
from refopt.verify.variants.deviation import Deviation, altered, fields, innermost, refit
from refopt.verify.variants.text_edit import BROKEN, edit_deviations

# Dialects with a switch set otherwise, on which all edits are tried, as on the dialects.
MORE_ROOTS = 4

# Steps after which a method has done once what it does from time to time.
ONCE = 25

# Parts that are put on a dialect one after another, on how many dialects, by how much of a power of ten
# each must bring the first steps nearer on the average, and among how many the second is looked for.
PARTS, GREEDY_ROOTS, LOWER, LIKELY = 3, 2, 0.05, 40


def levels(
    search: Search, base: list[Candidate], found: Any, told: set[str]
) -> Iterable[Iterable[Candidate]]:
    """Yield the candidates from the simplest on, level by level."""
    yield base
    search.look_longer()
    yield switches(found)
    values = numbers(found)
    # A number that the other side tells is less likely to be another one.
    free = [c for c in values if not told & c.settings.keys()]
    rest = [c for c in values if told & c.settings.keys()]
    deviations = faults(found)
    yield deviations
    yield _combined(base, of_one_release(deviations))
    yield free
    yield rest
    yield _rates(search, base)
    carried = list(filters(search.seen, found.name))
    yield _combined(base, carried)
    singles = [*switches(found), *deviations, *values, *carried]
    own = [c for c in base if c.names != ("paper",)]
    yield _combined(own, singles)
    # What is right in its first steps lacks something that shows later.
    yield search.effort.share(0.05, _combined(list(search.partial), singles))
    roots = _by_nearness(search, base) or base[:1]
    run, together = search.seen.runs[0], search.seen.together
    yield search.effort.share(
        0.2, fits(roots, [*switches(found), *deviations], run, told, search.build, together)
    )
    both = itertools.combinations(switches(found), 2)
    yield search.effort.share(0.1, (_together(root, *pair) for pair in both for root in roots))
    yield relatives(found, tuple(r.profile for r in search.seen.runs))
    further = _by_nearness(search, list(_combined(base, switches(found))))
    small = _edits(search, base)
    less, *more = small or [[]]
    yield search.effort.share(0.15, (root.with_(c) for root in (*roots, *further) for c in less))
    # Of named parts before those of edits: what has a name is likelier.
    # The nearest dialect need not be the one that both parts stand on.
    yield search.effort.share(0.3, _in_turn([_pairs(search, root, singles) for root in roots[:2]]))
    yield search.effort.share(0.1, _in_turn([greedy(search, root, singles) for root in roots[:GREEDY_ROOTS]]))
    yield search.effort.share(0.2, (root.with_(c) for size in more for root in roots for c in size))
    yield search.effort.share(
        0.1, (root.with_(c) for size in more for root in further[:MORE_ROOTS] for c in size)
    )
    yield search.effort.share(0.1, _pairs(search, roots[0], [*singles, *itertools.chain(*small)]))


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


def _edits(search: Search, base: list[Candidate]) -> list[list[Candidate]]:
    """Return one candidate for every small edit of what the reference runs through, those of one size together."""
    firsts = [*{r.profile.name: r for r in search.seen.runs[::-1]}.values()][::-1]

    def run() -> None:
        for c, first in itertools.product(base, firsts):
            with contextlib.suppress(*BROKEN):
                profile = first.profile
                method = first.drive(search.build(c, profile))
                follow(method, first.tape.first(GLANCE), together=search.seen.together)
                if profile is firsts[0].profile and not isinstance(first.tape, Course):
                    # What is done every tenth step is text, too.
                    follow(method, _part(first.tape), together=search.seen.together)

    names = fields(innermost(search.build(base[0], search.seen.runs[0].profile)))
    numbers_ = (k for k, v in names.items() if isinstance(v, (int, float)) and not isinstance(v, bool))
    found = edit_deviations(run, tuple(numbers_))
    name = search.seen.entry.name
    return [[Candidate((d.name,), (d.what,), name, changes=(d,)) for d in size] for size in found]


def _part(tape: Tape) -> Tape:
    """Return some leaves of a tape, for as many steps as it takes until everything has been done once."""
    return tape.only([k for k in SAMPLE_LEAVES if k in tape.x0] or list(tape.x0)[:1]).first(ONCE)


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


def greedy(search: Search, root: Candidate, singles: list[Candidate]) -> Iterator[Candidate | None]:
    """Yield a dialect with one part after another, each the one that brings it nearest, as long as one does.

    After the first, only those are looked at that came nearest as the first.
    """
    now, error = root, _nearness(_trace(search, root))
    for _ in range(PARTS):
        scored = []
        for part in singles:
            if (c := now.with_(part)) is not None:
                # While it is scored too, effort is spent.
                yield None
                scored.append((_nearness(_trace(search, c)), c, part))
        scored.sort(key=lambda row: row[0])
        if not scored or scored[0][0] > error - LOWER:
            return
        error, now = scored[0][:2]
        singles = [part for _, _, part in scored[:LIKELY]]
        yield now


def _nearness(trace: np.ndarray | None) -> float:
    return math.inf if trace is None else float(np.mean(np.log10(trace + 1e-16)))


def _pairs(search: Search, root: Candidate, singles: list[Candidate]) -> Iterator[Candidate | None]:
    """Yield pairs on a dialect, those first whose parts come near on some tape by themselves."""
    scored = []
    base = _trace(search, root)
    for c in filter(None, (root.with_(c) for c in singles)):
        # While it is scored too, effort is spent.
        yield None
        own = _trace(search, c)
        # A part that changes nothing here cannot help.
        if own is not None and (base is None or not np.array_equal(own, base)):
            scored.append((_nearness(own), c))
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
            traces.append((_nearness(trace), trace, c))
    return [c for _, _, c in sorted(traces, key=lambda known: known[0])]


def _trace(search: Search, c: Candidate) -> np.ndarray | None:
    """Return the error of a candidate's first steps on every run; None where it cannot run."""
    try:
        return np.minimum(search.ranking(c), 1e6)
    except BROKEN:
        return None
