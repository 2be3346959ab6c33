"""`diagnose`: what another implementation computes, in one sentence."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refopt.core.errors import RefoptError
from refopt.core.registry import entry
from refopt.verify.candidates import Candidate, dialects, faults, numbers, relatives, switches
from refopt.verify.comparison import FUNCTIONS, hold
from refopt.verify.deviations import Deviation, altered, fields, innermost, refit
from refopt.verify.observation import Observations, Observed, observe
from refopt.verify.reference import bound, follow, machine_epsilon
from refopt.verify.report import Finding

# Steps of the first look at a candidate, and how near it must come to be looked at again.
GLANCE = 4
# What a variant raises that is out of its range, or that its fault breaks altogether.
BROKEN = (RefoptError, ArithmeticError, LookupError, ValueError, TypeError, np.linalg.LinAlgError)
NEAR = {"float64": 1e-7, "float32": 3e-3}


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The answer of `diagnose`; ``str(diagnosis)`` is one sentence.

    Parameters
    ----------
    explained_by : tuple of str
        The dialect, switches (``"decay=coupled"``), numbers (``"eps=1e-07"``) and deviations that
        together reproduce the trajectory to rounding; ``("paper",)`` if nothing needs to be changed;
        empty if nothing that was tried does.
    other, method : str
    sentence : str
    also : tuple of tuple of str
        What explains it as well: these tapes cannot tell them apart.
    seen : tuple of str
        Releases known to have the fault.
    nearest : tuple of str
        The variant that comes nearest, explained or not.
    error : float
        The largest relative difference of the explanation, or of the nearest.
    tried : int
        Variants looked at.
    """

    explained_by: tuple[str, ...]
    other: str
    method: str
    sentence: str
    also: tuple[tuple[str, ...], ...]
    seen: tuple[str, ...]
    nearest: tuple[str, ...]
    error: float
    tried: int

    def __str__(self) -> str:
        return self.sentence


@dataclass
class _Search:
    """The state of one search."""

    seen: Observations
    tried: int = 0
    best: tuple[float, Candidate | None] = (math.inf, None)

    def glance(self, c: Candidate) -> float:
        """Return how far the candidate is off in its first steps, at most; infinite where it cannot run.

        Stops at the first tape on which it is far off.
        """
        self.tried += 1
        worst = 0.0
        for run in self.seen.runs:
            gap = _first_steps(c, run, self.seen.together)
            worst = max(worst, gap)
            if worst > NEAR[self.seen.dtype]:
                break
        return worst

    def examine(self, c: Candidate, eps: float | None = None) -> list[Finding] | None:
        """Return the findings of the whole comparison, or None as soon as one differs."""
        out: list[Finding] = []
        for run in self.seen.runs:
            made = c.build(run.profile)
            ours = follow(run.drive(made), run.tape, together=self.seen.together)
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
            return self.examine(c) if gap <= NEAR[self.seen.dtype] else None
        except BROKEN:
            return None


def _first_steps(c: Candidate, run: Observed, together: bool) -> float:
    tape = run.tape.first(GLANCE)
    ours = follow(run.drive(c.build(run.profile)), tape, together=together)
    worst = 0.0
    for k, v in ours.points.items():
        theirs = run.theirs[k][:GLANCE]
        # Whether what is not finite may be so, the whole comparison decides.
        same = (v == theirs) | ~np.isfinite(theirs)
        with np.errstate(all="ignore"):
            gap = np.where(same, 0.0, np.abs(v - theirs))
        scale = float(np.max(np.abs(np.where(np.isfinite(theirs), theirs, 0.0)))) or 1.0
        size = float(np.max(gap))
        worst = max(worst, size / scale if math.isfinite(size) else math.inf)
    return worst


def diagnose(
    other: Any,
    name: str,
    *,
    steps: int = 60,
    dtype: str = "float64",
    seed: int = 0,
    patience: float = 20.0,
    **hyperparameters: Any,
) -> Diagnosis:
    """Say what another implementation computes.

    Tried are the paper's form, every dialect, every other value of every switch, common values of every
    number, and every known deviation; then dialects with one of these, and pairs; then other methods.

    Parameters
    ----------
    other : object
        As in `compare`.
    name : str
        A registered optimizer that needs gradients alone, or a function as `compare` takes it.
    steps : int, range [1, 1000]
    dtype : {"float64", "float32"}
    seed : int
    patience : float
        Seconds after which no more pairs are tried.
    hyperparameters
        As in `compare`.

    Returns
    -------
    Diagnosis (of a function: FunctionDiagnosis)
        ``explained_by``, and ``str(diagnosis)``: one sentence.

    Raises
    ------
    As `compare`.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> def mine(x, g, state, lr=0.1):
    ...     return x + lr * g, None
    >>> refopt.verify.diagnose(mine, "sgd").explained_by
    ('gradient-negated',)
    """
    if entry(name).kind in FUNCTIONS:
        from refopt.verify.functions import diagnose_function

        return diagnose_function(other, name, seed=seed, **hyperparameters)  # type: ignore[return-value]
    observed = observe(other, name, steps=steps, dtype=dtype, seed=seed, **hyperparameters)
    search = _Search(observed)
    until = time.monotonic() + patience
    found = observed.entry
    told = set(hyperparameters) | set(observed.side.known)
    base = dialects(found)
    for level in _levels(search, base, found, told, until):
        explained: list[tuple[Candidate, list[Finding]]] = []
        for c in level:
            findings = search.explains(c)
            if findings is not None and len(c.names) > 2 and (less := search.explains(c.plain())) is not None:
                # A dialect that a pair was tried on, and that the pair does not need.
                c, findings = c.plain(), less
            if findings is not None:
                explained.append((c, findings))
                if len(c.names) > 1:
                    # Of combinations the first is told; their like are legion.
                    break
        if explained:
            return _told(observed, search, explained)
        if level is base and (rough := _single_precision(search, base)) is not None:
            return rough
    return _unexplained(observed, search)


def _levels(
    search: _Search, base: list[Candidate], found: Any, told: set[str], until: float
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
    yield filter(None, (d.with_(c) for d in own for c in singles))
    yield relatives(found, tuple(r.profile for r in search.seen.runs))
    yield _pairs(search, singles, until)


def _rates(search: _Search, base: list[Candidate]) -> Iterable[Candidate]:
    """Yield the base candidates with the rate multiplied by what the first moves suggest."""
    run = search.seen.runs[0]
    for c in base:
        try:
            ours = follow(run.drive(c.build(run.profile)), run.tape.first(1), together=search.seen.together)
        except BROKEN:
            continue
        moves = [
            ((run.theirs[k][0] - x0).ravel(), (ours.points[k][0] - x0).ravel())
            for k, x0 in run.tape.x0.items()
        ]
        theirs, mine = (np.concatenate(part) for part in zip(*moves))
        with np.errstate(all="ignore"):
            ratios = (theirs / mine)[np.abs(mine) > 1e-9]
        ratios = ratios[np.isfinite(ratios)]
        if ratios.size == 0:
            continue
        factor = float(np.median(ratios))
        if not 1e-6 < abs(factor) < 1e6 or abs(factor - 1) < 1e-6:
            continue
        factor = float(f"{factor:.6g}")
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


def _pairs(search: _Search, singles: list[Candidate], until: float) -> Iterable[Candidate]:
    """Yield pairs, those first whose parts come near on some tape by themselves."""
    scored = []
    # On the dialect that comes nearest: every library has its own form to begin with.
    root, base = _nearest(search, dialects(search.seen.entry))
    for c in filter(None, (root.with_(c) for c in singles)):
        own = _trace(search, c)
        # A part that changes nothing here cannot help.
        if own is not None and (base is None or not np.array_equal(own, base)):
            scored.append((float(np.mean(np.log10(own + 1e-16))), c))
    scored.sort(key=lambda pair: pair[0])
    ranked = [c for _, c in scored]
    pairs = sorted(itertools.combinations(range(len(ranked)), 2), key=sum)
    for i, j in pairs:
        if time.monotonic() > until:
            return
        pair = ranked[i].with_(ranked[j].without(root))
        if pair is not None:
            yield pair


def _nearest(search: _Search, base: list[Candidate]) -> tuple[Candidate, np.ndarray | None]:
    """Return the dialect that comes nearest, the paper's form first among equals, and its errors."""
    traces = [(c, own) for c in base if (own := _trace(search, c)) is not None]
    if not traces:
        return base[0], None
    return min(traces, key=lambda pair: float(np.mean(np.log10(pair[1] + 1e-16))))


def _trace(search: _Search, c: Candidate) -> np.ndarray | None:
    """Return the error of a candidate's first steps on every run; None where it cannot run."""
    try:
        return np.array([min(_first_steps(c, r, search.seen.together), 1e6) for r in search.seen.runs])
    except BROKEN:
        return None


def _largest(findings: Iterable[Finding]) -> float:
    return max(f.error for f in findings)


def _told(seen: Observations, search: _Search, explained: list[tuple[Candidate, list[Finding]]]) -> Diagnosis:
    c, findings = explained[0]
    error = _largest(findings)
    also = tuple(other.names for other, _ in explained[1:])
    releases = tuple(s for d in c.changes for s in d.seen)
    what = c.words[0] if c.words[0].startswith("not ") else f"{c.method} {' and '.join(c.words)}"
    sentence = f"{seen.side.name} is {what}: all {len(findings)} trajectories agree to rounding (largest relative difference {error:.1g})"
    if releases:
        sentence += f"; known from {'; '.join(releases)}"
    if also:
        sentence += f"; not to be told apart here: {', '.join(' with '.join(names) for names in also)}"
    names = c.names
    if seen.faults:
        names = (*(n for n in names if n != "paper"), *seen.faults)
        note = next(n for n in seen.notes if n.startswith("Its probe"))
        sentence += f". But {note[0].lower()}{note[1:].removesuffix('.')}"
    return Diagnosis(
        names, seen.side.name, seen.entry.name, sentence + ".", also, releases, names, error, search.tried
    )


def _single_precision(search: _Search, base: list[Candidate]) -> Diagnosis | None:
    """Say so where the other side agrees to float32's rounding and no further."""
    seen = search.seen
    if seen.dtype != "float64":
        return None
    for c in base:
        try:
            findings = search.examine(c, machine_epsilon("float32"))
        except BROKEN:
            continue
        if findings is not None and (error := _largest(findings)) < 1e-5:
            names = (*(n for n in c.names if n != "paper"), "single-precision")
            sentence = (
                f"{seen.side.name} is {c.method} {' and '.join(c.words)}, with something in it kept in single"
                f" precision: float64 in, but it agrees to {error:.1g} only."
            )
            return Diagnosis(
                names, seen.side.name, seen.entry.name, sentence, (), (), names, error, search.tried
            )
    return None


def _unexplained(seen: Observations, search: _Search) -> Diagnosis:
    gap, c = search.best
    nearest = c.names if c is not None else ()
    close = "" if c is None else f" {' and '.join(c.words)}"
    sentence = (
        f"Nothing that was tried ({search.tried} variants of {seen.entry.name}, alone and in pairs) explains"
        f" {seen.side.name}; the nearest is {seen.entry.name}{close}, off by {gap:.2g} (relative) within"
        f" {GLANCE} steps."
    )
    return Diagnosis((), seen.side.name, seen.entry.name, sentence, (), (), nearest, gap, search.tried)
