"""`diagnose`: what another implementation computes, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from refopt.core.hyper import check_number
from refopt.core.registry import entry
from refopt.verify.inputs.calls import COMPARED, FUNCTIONS
from refopt.verify.report import Diagnosis, Finding
from refopt.verify.runs.draws import draws
from refopt.verify.runs.observe import observe
from refopt.verify.runs.other import Observations
from refopt.verify.runs.rounding import machine_epsilon
from refopt.verify.search.draws import diagnose_draws
from refopt.verify.search.effort import Effort, default_effort
from refopt.verify.search.functions import diagnose_function
from refopt.verify.search.glance import GLANCE
from refopt.verify.search.levels import levels
from refopt.verify.search.trajectories import Search
from refopt.verify.variants.candidate import Candidate, dialects
from refopt.verify.variants.text_edit import BROKEN

# Between these is what single precision does to a trajectory; what is nearer has another cause.
SINGLE = (1e-10, 1e-5)


def diagnose(
    other: Any,
    name: str,
    *,
    steps: int = 60,
    dtype: str = "float64",
    seed: int = 0,
    effort: int | None = None,
    patience: float | None = None,
    param_groups: Any = (),
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
    name : str
        A registered optimizer that needs gradients alone, or a function as `compare` takes it.
    steps : int, range [1, 1000]
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
    if entry(name, COMPARED).kind in FUNCTIONS:
        return diagnose_function(other, name, seed=seed, effort=effort, patience=patience, **hyperparameters)  # type: ignore[return-value]
    if draws(name, "paper", hyperparameters) and not param_groups:
        return diagnose_draws(other, name, dtype, seed, effort, patience, **hyperparameters)
    observed = observe(
        other, name, steps=steps, dtype=dtype, seed=seed, param_groups=param_groups, **hyperparameters
    )
    found = observed.entry
    search = Search(observed, Effort(default_effort(observed) if effort is None else effort, patience))
    told = set(hyperparameters) | set(observed.side.known)
    base = dialects(found)
    for level in levels(search, base, found, told):
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
            return _told(observed, search, explained)
        if level is base and (rough := _single_precision(search, base)) is not None:
            return rough
        if search.effort.struck:
            break
    return _unexplained(observed, search)


def _largest(findings: Iterable[Finding]) -> float:
    return max(f.error for f in findings)


def _told(seen: Observations, search: Search, explained: list[tuple[Candidate, list[Finding]]]) -> Diagnosis:
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


def _single_precision(search: Search, base: list[Candidate]) -> Diagnosis | None:
    """Say so where the other side agrees to float32's rounding and no further."""
    seen = search.seen
    if seen.dtype != "float64":
        return None
    for c in base:
        try:
            findings = search.examine(c, machine_epsilon("float32"))
        except BROKEN:
            continue
        if findings is not None and SINGLE[0] < (error := _largest(findings)) < SINGLE[1]:
            names = (*(n for n in c.names if n != "paper"), "single-precision")
            sentence = (
                f"{seen.side.name} is {c.method} {' and '.join(c.words)}, with something in it kept in single"
                f" precision: float64 in, but it agrees to {error:.1g} only."
            )
            return Diagnosis(
                names, seen.side.name, seen.entry.name, sentence, (), (), names, error, search.tried
            )
    return None


def _unexplained(seen: Observations, search: Search) -> Diagnosis:
    gap, c = search.best
    nearest = c.names if c is not None else ()
    close = "" if c is None else f" {' and '.join(c.words)}"
    sentence = (
        f"Nothing that was tried ({search.tried} variants of {seen.entry.name}, alone and in pairs) explains"
        f" {seen.side.name}; the nearest is {seen.entry.name}{close}, off by {gap:.2g} (relative) within"
        f" {GLANCE} steps.{search.effort.note()}"
    )
    return Diagnosis((), seen.side.name, seen.entry.name, sentence, (), (), nearest, gap, search.tried)
