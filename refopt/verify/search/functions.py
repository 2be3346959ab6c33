"""What another function of arrays computes: known faults, small edits of the reference's text, and pairs."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from refopt.core.errors import ArgumentError
from refopt.core.registry import entry, get
from refopt.verify.function_report import FunctionDiagnosis
from refopt.verify.inputs.calls.case import Case, Fault, Kind, Reference, Unanswered
from refopt.verify.runs.functions import HOPELESS, asked, cannot, compared, own_answer, reference_of, side_of
from refopt.verify.search.effort import Effort
from refopt.verify.sides.functions import label_of
from refopt.verify.variants.text_edit import BROKEN, codes_of, small_edits, swapped, words

# Values that somebody adds somewhere.
SMALL = (0.0, 1e-16, 1e-15, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5)


def diagnose_function(
    other: Any,
    name: str,
    kind: Kind,
    *,
    seed: int = 0,
    effort: int | None = None,
    patience: float | None = None,
    label: str = "",
    **options: Any,
) -> FunctionDiagnosis:
    """Say which dialect, option, known fault, small edit or pair reproduces a function's answers.

    Parameters
    ----------
    other, name, kind, seed, options
        As of `refopt.verify.runs.functions.compare_function`.
    effort, patience
        As of `refopt.verify.diagnose`; effort counts everything that is tried.
    """
    reference, label = reference_of(name, kind), label or label_of(other)
    call, takes = side_of(other, kind)
    found = [
        (c, a) for c, a in asked(kind, name, seed, options, call, takes) if not isinstance(a, Unanswered)
    ]
    if not found:
        raise ArgumentError(f"other: {label} {cannot(kind, name, seed, takes)}")
    cases, theirs = [c for c, _ in found], [a for _, a in found]
    if all(isinstance(answer, Exception) for answer in theirs):
        return _failing(label, name, theirs[0])

    order = list(range(len(cases)))

    def tried(change: Sequence[Fault], enough: float) -> float:
        own = reference
        try:
            for fault in change:
                own = fault.change(own)
        except BROKEN:  # two changes that do not go together
            return math.inf
        return _excess(own, kind, cases, theirs, order, enough)

    spent = Effort(kind.effort if effort is None else effort, patience)
    best: tuple[float, tuple[Fault, ...]] = (math.inf, ())
    changes = _changes(name, kind, lambda: [own_answer(reference, kind, c, c.args) for c in cases])
    for change in spent.rest(changes):
        spent.spent += 1
        excess = tried(change, max(best[0], 1.0))
        if excess <= 1.0:
            names = tuple(f.name for f in change) or ("paper",)
            words = " and ".join(f.what for f in change) or "as the reference has it"
            sentence = f"{label} is {name} {words}: {_all(len(cases))} to rounding."
            return FunctionDiagnosis(names, label, name, sentence, names, excess)
        best = min(best, (excess, change), key=lambda pair: pair[0])
    close = tuple(f.name for f in best[1])
    nearest = " and ".join(f.what for f in best[1]) or "the reference itself"
    off = (
        f"off by {best[0]:.2g} times what rounding allows"
        if math.isfinite(best[0])
        else "which fails on a case"
    )
    return FunctionDiagnosis(
        (), label, name,
        f"Nothing that was tried ({spent.spent} variants of {name}) explains {label}; the"
        f" nearest is {nearest}, {off}.{spent.note()}",
        close, best[0],
    )  # fmt: skip


def _all(cases: int) -> str:
    return f"all {cases} cases agree" if cases > 1 else "the one case agrees"


def _failing(label: str, name: str, error: Exception) -> FunctionDiagnosis:
    """Return what is said of a side that never answers: nothing explains that, whatever else fails."""
    what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    sentence = f"{label} raised in every case of {name}; in the first, {what}."
    return FunctionDiagnosis((), label, name, sentence, (), math.inf)


def _changes(name: str, kind: Kind, run: Callable[[], Any]) -> Iterator[tuple[Fault, ...]]:
    """Yield nothing, dialects, options and faults, a dialect with one of these, small edits, and pairs."""
    registered = "." not in name
    roots = [(), *((d,) for d in (_dialects(name) if registered else ()))]
    single = [*kind.faults, *(_options(name) if registered else ())]
    yield from roots
    for root in roots:
        for fault in single:
            yield (*root, fault)
    small = [
        Fault(f"{edit.old} -> {edit.new or 'nothing'}", words(edit), _with(codes))
        for edit in small_edits(run)
        if (codes := codes_of((edit,))) is not None
    ]
    for root in (*roots, *((c,) for c in kind.conventions)):
        for fault in small:
            yield (*root, fault)
    yield from itertools.combinations(single, 2)


def _dialects(name: str) -> list[Fault]:
    return [
        Fault(key, f"in the dialect {key!r} ({d.library})", _given(d.settings))
        for key, d in entry(name).dialects.items()
        if d.settings
    ]


def _options(name: str) -> list[Fault]:
    """Return one change for other values of every number and switch among the function's options."""
    out = []
    for key, p in inspect.signature(get(name)).parameters.items():
        for value in _other_values(p.default):
            out.append(Fault(f"{key}={value:g}", f"with {key} = {value:g}", _given({key: value})))
    return out


def _other_values(value: Any) -> tuple[float, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value - 1, value + 1, value // 2, 2 * value)
    if isinstance(value, float):
        return tuple(
            v for v in dict.fromkeys((*SMALL, 10 * value, value / 10, 2 * value, value / 2)) if v != value
        )
    return ()


def _given(settings: Mapping[str, Any]) -> Callable[[Reference], Reference]:
    # What a case sets itself, it keeps.
    return lambda reference: lambda *args, **options: reference(*args, **{**settings, **options})


def _with(codes: Any) -> Callable[[Reference], Reference]:
    def change(reference: Reference) -> Reference:
        def run(*args: Any, **options: Any) -> Any:
            with swapped(codes):
                return reference(*args, **options)

        return run

    return change


def _excess(
    reference: Reference,
    kind: Kind,
    cases: Sequence[Case],
    theirs: Sequence[Any],
    order: list[int],
    enough: float,
) -> float:
    """Return the largest ratio of a difference to what is allowed; of what is farther off than `enough`, the first.

    The case that told one variant from the other side tells the next one first: `order` is changed.
    """
    worst = 0.0
    for place in list(order):
        case, answer = cases[place], theirs[place]
        try:
            error, allowed, problem = compared(reference, kind, case, answer)
        except BROKEN:
            return math.inf
        if problem:
            return math.inf
        worst = max(worst, error / (allowed or 1e-16) if error else 0.0)
        if error > HOPELESS + case.slack or worst > enough:
            order.remove(place)
            order.insert(0, place)
            break
    return worst
