"""Matrix functions, solvers, transport, aggregators, schedules and what else is compared call by call.

A comparison calls both sides on the same inputs and compares what they answer, within the spread of
the reference's answers to inputs perturbed by one unit of rounding, times a factor for the operations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from refopt.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    MissingExtraError,
    RefoptError,
    UnknownNameError,
    nearest,
)
from refopt.core.registry import entry, get
from refopt.core.rng import generator
from refopt.verify.function_report import Answer, FunctionReport
from refopt.verify.inputs.calls.case import Case, Kind, Reference, Unanswered
from refopt.verify.runs.rounding import perturbed
from refopt.verify.sides.functions import label_of
from refopt.verify.sides.names import parameters

RUNS = 4


# Operations behind an entry of a product of matrices as small as the cases', in units of rounding.
OPERATIONS = 512.0


# A relative difference that no rounding explains: its bound is not measured.
HOPELESS = 0.05


def compare_function(
    other: Any,
    name: str,
    kind: Kind,
    *,
    dialect: str = "paper",
    seed: int = 0,
    label: str = "",
    **options: Any,
) -> FunctionReport:
    """Hold a function against a registered one, an operation of a manifold or a preconditioner.

    Parameters
    ----------
    other : callable
        With the reference's positional arguments. A solver may answer x, ``(x, ...)`` or an object with
        ``x``; transport the plan, ``(plan, ...)`` or an object with ``plan``; docs/verify.md has the other kinds.
    name : str
    kind : Kind
    dialect : str
    seed : int
    label : str
    options
        Keywords of both sides, by the reference's names; what the other side cannot be given, it was made with.

    Raises
    ------
    UnknownNameError, ArgumentError, ArgumentTypeError, CapabilityError
    """
    reference, (call, takes) = reference_of(name, kind), side_of(other, kind)
    known = {} if "." in name else entry(name).dialects
    if dialect != "paper" and dialect not in known:
        raise UnknownNameError(f"{name} has no dialect {dialect!r}.{nearest(dialect, known)}")
    seen = asked(kind, name, seed, options, call, takes)
    left = tuple(case.name for case, theirs in seen if isinstance(theirs, Unanswered))
    seen = [pair for pair in seen if not isinstance(pair[1], Unanswered)]
    if not seen:
        raise ArgumentError(f"other: {label or label_of(other)} {cannot(kind, name, seed, takes)}")

    def held(dialect: str) -> tuple[Answer, ...]:
        settings = known[dialect].settings if dialect in known else {}
        answers, refused = [], []
        for case, theirs in seen:
            own = dataclasses.replace(case, options={**settings, **case.options})
            answers.append(Answer(case.name, *compared(reference, kind, own, theirs)))
            if isinstance(theirs, Exception):
                refused.append(own_answer(reference, kind, own, own.args))
        if len(refused) == len(seen) and all(isinstance(e, Exception) for e in refused):
            raise refused[0]
        return tuple(answers)

    answers = held(dialect)
    agrees = all(a.agrees for a in answers)
    others = (d for d in ("paper", *known) if d != dialect and (d == "paper" or known[d].settings))
    elsewhere = "" if agrees else next((d for d in others if all(a.agrees for a in held(d))), "")
    return FunctionReport(agrees, label or label_of(other), name, answers, left, elsewhere)


def with_steps(options: Mapping[str, Any], steps: int | None) -> dict[str, Any]:
    """Return the options of a function, one of which may be called ``steps``."""
    return dict(options) if steps is None else {**options, "steps": steps}


def cannot(kind: Kind, name: str, seed: int, takes: Mapping[str, Any]) -> str:
    """Return why no case of a kind can be asked."""
    wanted = dict.fromkeys(k for c in kind.cases(name, seed) for k in c.needs if not spelled(k, kind, takes))
    if not wanted:
        return "answers nothing that is compared"
    first, *_ = wanted
    return (
        f"takes none of {', '.join(wanted)}; say what it was made with: compare(other, {name!r}, {first}=...)"
    )


def asked(
    kind: Kind, name: str, seed: int, options: Mapping[str, Any], call: Reference, takes: Mapping[str, Any]
) -> list[tuple[Case, Any]]:
    """Return every case with what the other side answers: an array, its error, or `Unanswered`."""
    return [
        (
            c,
            answer_of(call, kind, c, takes)
            if all(spelled(k, kind, takes) for k in c.needs)
            else Unanswered(),
        )
        for c in cases_of(kind, name, seed, options)
    ]


def reference_of(name: str, kind: Kind) -> Reference:
    """Return the registered function as one that can be wrapped."""
    if kind.reference is not None:
        return kind.reference(name)
    fn = get(name)

    def run(*args: Any, **options: Any) -> Any:
        return fn(*args, **options)

    return run


def side_of(other: Any, kind: Kind) -> tuple[Reference, Mapping[str, Any]]:
    """Return the other side as a function, and the options that it takes with their defaults."""
    return (kind.side or callable_side)(other)


def callable_side(other: Any) -> tuple[Reference, dict[str, Any]]:
    """Return the other side, and the options that it takes with their defaults."""
    if not callable(other):
        raise ArgumentTypeError(f"other: wanted a function of arrays, got {type(other).__qualname__}")
    return other, parameters(other)


def spelled(option: str, kind: Kind, takes: Mapping[str, Any]) -> str | None:
    """Return the other side's name of an option, None if it has none."""
    for alias in (option, *kind.aliases.get(option, ())):
        if alias in takes:
            return alias
    return None


def cases_of(kind: Kind, name: str, seed: int, options: Mapping[str, Any]) -> list[Case]:
    """Return the calls on which `name` is compared, with options of the user's besides.

    What the user states, the other side need not be able to take. Cases that this makes equal are one.
    """
    out: dict[Any, Case] = {}
    for c in kind.cases(name, seed):
        needs = tuple(k for k in c.needs if k not in options)
        label = "as stated" if options.keys() & set(c.needs) else c.name
        new = dataclasses.replace(c, name=label, options={**c.options, **options}, needs=needs)
        out.setdefault((tuple(map(id, c.args)), repr(sorted(new.options.items(), key=str))), new)
    return list(out.values())


def answer_of(call: Reference, kind: Kind, case: Case, takes: Mapping[str, Any]) -> Any:
    """Call the other side; return its answer as an array, or the exception."""
    extras = {k: v for k, v in case.extras.items() if k in takes}
    given = {s: v for k, v in case.options.items() if (s := spelled(k, kind, takes)) is not None}
    copies = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in case.args)
    try:
        with np.errstate(all="ignore"):
            answer = kind.ask(call, copies, {**extras, **given})
            if answer is None:
                raise ArgumentTypeError("other: returned None; is a `return` missing?")
            return kind.read(answer)
    except Exception as error:
        return error


def own_answer(reference: Reference, kind: Kind, case: Case, args: Sequence[Any]) -> Any:
    """Return the reference's answer, or the error that it raises on bad input."""
    try:
        with np.errstate(all="ignore"):
            return kind.read(kind.ask(reference, tuple(args), case.options))
    except MissingExtraError:
        raise
    except RefoptError as error:
        return error


def _spread(reference: Reference, kind: Kind, case: Case, ours: np.ndarray) -> float:
    """Return the largest change of the answer under perturbed arguments."""
    eps, worst = float(np.finfo(np.float64).eps), 0.0
    for run in range(RUNS):
        rng = generator(run, "tape", 2000)
        args = [perturbed(a, rng, eps) for a in case.args]
        if case.symmetric:
            args[0] = (args[0] + np.swapaxes(args[0], -1, -2)) / 2
        other = own_answer(reference, kind, case, args)
        if isinstance(other, np.ndarray) and other.shape == ours.shape:
            worst = max(worst, float(np.max(np.abs(other - ours), initial=0.0)))
    return worst


def compared(reference: Reference, kind: Kind, case: Case, theirs: Any) -> tuple[float, float, str]:
    """Return the relative difference, what is allowed, and why the two cannot be compared."""
    ours = own_answer(reference, kind, case, case.args)
    if isinstance(ours, Exception) and isinstance(theirs, Exception):
        return 0.0, 0.0, ""
    if isinstance(theirs, Exception):
        return math.inf, 0.0, f"it raised {type(theirs).__name__}: {(str(theirs).splitlines() or [''])[0]}"
    if isinstance(ours, Exception):
        return math.inf, 0.0, f"it answers where the reference raises: {ours}"
    if theirs.shape != ours.shape:
        return math.inf, 0.0, f"it answers with shape {theirs.shape}, the reference with {ours.shape}"
    if np.any(lost := ~np.isfinite(ours)) and np.array_equal(lost, ~np.isfinite(theirs)):
        # A variant that is undefined where the other side is.
        ours, theirs = np.where(lost, 0.0, ours), np.where(lost, 0.0, theirs)
    scale = float(np.max(np.abs(ours), initial=0.0)) or 1.0
    gap = float(np.max(np.abs(theirs - ours), initial=0.0))
    if not math.isfinite(gap):
        return math.inf, 0.0, "its answer is not finite"
    if gap / scale > HOPELESS + case.slack:
        return gap / scale, case.slack, ""
    eps = float(np.finfo(np.float64).eps)
    allowed = OPERATIONS * (_spread(reference, kind, case, ours) / scale + eps / 8) + case.slack
    return gap / scale, allowed, ""
