"""`diagnose`: what another implementation computes, in one sentence."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.verify.inputs.calls.kinds import kind_of
from refopt.verify.inputs.problems import Course
from refopt.verify.measure.sides import apart
from refopt.verify.report import MEASURED, Diagnosis, Finding
from refopt.verify.runs.draws import draws
from refopt.verify.runs.functions import with_steps
from refopt.verify.runs.looks import FROZEN, SHORT, STACK
from refopt.verify.runs.observe import KEEPS, observe
from refopt.verify.runs.other import Observations
from refopt.verify.runs.rounding import machine_epsilon
from refopt.verify.search.draws import diagnose_draws
from refopt.verify.search.effort import Effort, default_effort
from refopt.verify.search.functions import diagnose_function
from refopt.verify.search.levels import levels
from refopt.verify.search.parts import Parted, finite_part, parted
from refopt.verify.search.recognition import recognise
from refopt.verify.search.trajectories import Search
from refopt.verify.sides.elsewhere import hidden
from refopt.verify.sides.groups import check_listed
from refopt.verify.sides.side import CASTS, WRITES
from refopt.verify.variants.candidate import Candidate, dialects
from refopt.verify.variants.text_edit import BROKEN

# The first levels, in which every part has a name.
NAMED = 9

# One tape is longer, for what comes into force late: a rate that falls below its cap, a bound, a warm-up.
LONGEST = 120

# Between these is what single precision does to a trajectory; what is nearer has another cause.
SINGLE = (1e-10, 1e-5)


def diagnose(
    other: Any,
    name: str | None = None,
    *,
    steps: int | None = None,
    dtype: str = "float64",
    seed: int = 0,
    effort: int | None = None,
    patience: float | None = None,
    param_groups: Any = (),
    label: str = "",
    **hyperparameters: Any,
) -> Diagnosis:
    """Say what another implementation computes.

    Tried are the paper's form, every dialect, every other value of every switch, common values of every
    number, and every known deviation; then dialects with one of these; other methods; and small edits of
    the reference's own text, in every dialect, and pairs. Where the method draws random numbers,
    distributions are held together in place of trajectories, and the sentence says how often that errs.

    Parameters
    ----------
    other : object
        As in `compare`.
    name : str, optional
        A registered optimizer that needs gradients alone, or a function as `compare` takes it. None: every
        registered optimizer that needs gradients alone is run beside it, and where it is none of them it is
        held to the one whose `refopt.verify.fingerprint` is nearest.
    steps : int, range [1, 1000], optional
        By default 60; otherwise as in `compare`.
    dtype : {"float64", "float32"}
    seed : int
    effort : int, range [1, inf), optional
        Variants for fitted numbers, for pairs and for small edits, after everything that has a name; of a
        method that draws, for everything beside its dialects; of a function, for all. The answer is the
        same on every machine, and says where a search was cut short. By default
        `refopt.verify.search.effort.default_effort`.
    patience : float, optional
        Seconds after which the search stops wherever it is, and says so. None: it runs to its end.
    param_groups : list of (leaves, dict), optional
        As in `compare`; ways in which groups go wrong are tried too.
    label : str, optional
        As in `compare`.
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
    check_number(seed, "int [0, 9223372036854775807]", "seed")
    if name is None:
        name = recognised_name(other, seed, hyperparameters)
    if (kind := kind_of(name)) is not None:
        return diagnose_function(  # type: ignore[return-value]
            other,
            name,
            kind,
            seed=seed,
            effort=effort,
            patience=patience,
            label=label,
            **with_steps(hyperparameters, steps),
        )
    check_listed(param_groups)
    if draws(name, "paper", hyperparameters) and not param_groups:
        return diagnose_draws(other, name, dtype, seed, effort, patience, label=label, **hyperparameters)
    observed = observe(
        other,
        name,
        steps=60 if steps is None else steps,
        dtype=dtype,
        seed=seed,
        param_groups=param_groups,
        label=label,
        longest=LONGEST if steps is None else 0,
        **hyperparameters,
    )
    found = observed.entry
    search = Search(observed, Effort(default_effort(observed) if effort is None else effort, patience))
    told = set(hyperparameters) | set(observed.side.known)
    base = dialects(found)
    if (explained := _first(search, [base])) is not None:
        return _told(observed, search, explained)
    if (rough := _single_precision(search, base)) is not None:
        return rough
    # What has a name is tried on all leaves: one may be given another's gradient.
    whole, tried = search, iter(levels(search, base, found, told))
    explained = _first(search, itertools.islice(tried, NAMED))
    if explained is None and (part := finite_part(observed)) is not None:
        rest = Search(part[0], search.effort)
        if (there := _first(rest, itertools.islice(levels(rest, base, found, told), NAMED))) is not None:
            return _told(part[0], rest, there, lost=part[1])
    parts = parted(search, base) if explained is None else None
    if parts is not None:
        search = Search(parts.rest, search.effort)
        explained = _first(search, levels(search, base, found, told))
        # What does nothing to the other leaves is not of these alone.
        everywhere = [(c, f) for c, _ in explained or () if (f := whole.explains(c)) is not None]
        explained, parts = (everywhere, None) if everywhere else (explained, parts)
    elif explained is None:
        explained = _first(search, tried)
    if explained is not None:
        return _told(observed, search, explained if parts else _at_bottom(search, base, explained), parts)
    # The nearest of what has a name; a number or an edit could be fitted to rounding.
    near = [
        c for c in (search.best[1],) if c and not c.settings and all(d.stage != "rule" for d in c.changes)
    ]
    return (
        _close(observed, search) or _single_precision(search, near) or _unexplained(observed, search, parts)
    )


def _first(
    search: Search, levels: Iterable[Iterable[Candidate]]
) -> list[tuple[Candidate, list[Finding]]] | None:
    """Return what explains everything, of the first level on which something does."""
    for level in levels:
        explained: list[tuple[Candidate, list[Finding]]] = []
        for c in level:
            if search.effort.late():
                break
            findings = search.explains(c)
            if findings is not None and len(c.names) > 2 and (less := search.explains(c.plain())) is not None:
                # A dialect that a pair was tried on, and that the pair does not need.
                c, findings = c.plain(), less
            if findings is not None:
                explained.append((c, findings))
                if len(c.names) > 1 or any(d.stage == "rule" for d in c.changes):
                    # Report only the first combination or edit that fits: many are equivalent.
                    break
        if explained:
            return explained
        if search.effort.struck:
            break
    return None


def _at_bottom(
    search: Search, base: Iterable[Candidate], explained: list[tuple[Candidate, list[Finding]]]
) -> list[tuple[Candidate, list[Finding]]]:
    """Return the explanation, or the dialect whose steps it takes to the bit: then nothing but rounding differs."""
    c, findings = explained[0]
    if not c.changes:
        return explained
    same = next((d for d in base if d.method == c.method and search.same_steps(c, d)), None)
    return explained if same is None else [(same, findings)]


def recognised_name(other: Any, seed: int, hyperparameters: Mapping[str, Any]) -> str:
    """Return the registered optimizer that an implementation is, or is nearest to.

    Raises
    ------
    ArgumentError
        It is none, and is not measured.
    """
    found = recognise(other, seed, **hyperparameters)
    if not (found.name or found.nearest):
        raise ArgumentError(
            "name: wanted, since other takes no registered method's steps, and a program is not measured"
        )
    return found.name or found.nearest[0]


def _largest(findings: Iterable[Finding]) -> float:
    return max(f.error for f in findings)


def _told(
    seen: Observations,
    search: Search,
    explained: list[tuple[Candidate, list[Finding]]],
    parts: Parted | None = None,
    lost: tuple[str, ...] = (),
) -> Diagnosis:
    c, findings = explained[0]
    if parts is not None:
        findings = [*parts.findings, *findings]
    error = _largest(findings)
    also = tuple(other.names for other, _ in explained[1:])
    what = c.words[0] if c.words[0].startswith("not ") else f"{c.method} {' and '.join(c.words)}"
    if parts is not None:
        first = parts.variant
        what = f"{first.method} {' and '.join(first.words)}, but on {parts.others()}: there {what}"
    sentence = f"{seen.side.name} is {what}: all {len(findings)} trajectories agree to rounding (largest relative difference {error:.1g})"
    sentence += c.known_from()
    if also:
        sentence += f"; not to be told apart here: {', '.join(' with '.join(names) for names in also)}"
    names = c.names
    if parts is not None:
        names = (
            *(n for n in parts.variant.names if n != "paper"),
            *names,
            f"in:{','.join(parts.rest.runs[0].tape.x0)}",
        )
    if lost:
        names = (*(n for n in names if n != "paper"), f"not-finite:{','.join(lost)}")
        sentence += f". But it is not finite on {', '.join(lost)} gradients, where the reference is"
    if seen.faults:
        names = (*(n for n in names if n != "paper"), *seen.faults)
    if note := next((n for n in seen.notes if seen.faults and n.startswith("Its probe")), ""):
        sentence += f". But {note[0].lower()}{note[1:].removesuffix('.')}"
    beside = (hidden(seen.entry.name), KEEPS, WRITES)
    hint = "".join(
        f" But {n[0].lower()}{n[1:]}"
        for n in seen.notes
        if n in beside or n.startswith((CASTS, FROZEN, SHORT, STACK))
    )
    return Diagnosis(
        names,
        seen.side.name,
        seen.entry.name,
        sentence + "." + hint,
        also,
        c.releases,
        names,
        error,
        search.tried,
    )


def _single_precision(search: Search, base: list[Candidate]) -> Diagnosis | None:
    """Say so where the other side agrees to float32's rounding and no further."""
    seen = search.seen
    if seen.dtype != "float64":
        return None
    # A factorisation is off by a few units of the largest entry.
    most = SINGLE[1] * (10.0 if search.factorised else 1.0)
    for c in base:
        try:
            findings = search.examine(c, machine_epsilon("float32") * (4.0 if search.factorised else 1.0))
        except BROKEN:
            continue
        if findings is not None and SINGLE[0] < (error := _largest(findings)) < most:
            names = (*(n for n in c.names if n != "paper"), "single-precision")
            sentence = (
                f"{seen.side.name} is {c.method} {' and '.join(c.words)}, with something in it kept in single"
                f" precision: float64 in, but it agrees to {error:.1g} only{c.known_from()}."
            )
            return Diagnosis(
                names, seen.side.name, seen.entry.name, sentence, (), c.releases, names, error, search.tried
            )
    return None


def _close(seen: Observations, search: Search) -> Diagnosis | None:
    """Say so where a variant is nearer than any other rule has come, and farther than rounding explains."""
    for c in search.close if seen.dtype == "float64" else ():
        try:
            findings = search.close_throughout(c)
        except BROKEN:
            continue
        if findings is not None:
            error = _largest(findings)
            what = c.words[0] if c.words[0].startswith("not ") else f"{c.method} {' and '.join(c.words)}"
            sentence = (
                f"{seen.side.name} is {what}, up to {error:.1g} (relative), which is more than rounding explains: the"
                " same numbers in another order where they cancel, or a small constant besides."
            )
            return Diagnosis(
                c.names, seen.side.name, seen.entry.name, sentence, (), (), c.names, error, search.tried
            )
    return None


def _unexplained(seen: Observations, search: Search, parts: Parted | None) -> Diagnosis:
    gap, c = search.best
    nearest = c.names if c is not None else ()
    close = "" if c is None else f" {' and '.join(c.words)}"
    sentence = (
        f"Nothing that was tried ({search.tried} variants of {seen.entry.name}, alone and in pairs) explains"
        f" {seen.side.name}; the nearest is {seen.entry.name}{close}, off by {gap:.2g} (relative) within"
        f" {search.steps} steps.{search.effort.note()}"
    )
    if parts is not None:
        sentence += (
            f" On {', '.join(parts.leaves)} it is {parts.variant.method} {' and '.join(parts.variant.words)}; it is"
            f" {parts.others()} that nothing explains."
        )
    first = seen.runs[0]
    if not isinstance(first.tape, Course) and first.probes is None:
        # The nearest may be another method, whose dialects are its own.
        dialect = c.dialect if c is not None and c.method == seen.entry.name else "paper"
        lines = apart(seen.side, first.profile, seen.entry.name, dialect)
        sentence += f" Measured: {' '.join(lines[:MEASURED])}" if lines else ""
    return Diagnosis((), seen.side.name, seen.entry.name, sentence, (), (), nearest, gap, search.tried)
