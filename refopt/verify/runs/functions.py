"""Matrix functions, linear solvers and transport: `compare` and `diagnose` for functions of arrays.

A comparison calls both sides on the same inputs and compares what they answer, within the spread of
the reference's answers to inputs perturbed by one unit of rounding, times a factor for the operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentTypeError, CapabilityError, RefoptError
from refopt.core.registry import entry, get
from refopt.core.rng import generator
from refopt.verify.inputs.calls import KINDS, Case, Kind, Reference
from refopt.verify.report import Answer, FunctionReport
from refopt.verify.runs.rounding import perturbed
from refopt.verify.sides.functions import label_of
from refopt.verify.sides.names import parameters

RUNS = 4


# Operations behind an entry of a product of matrices as small as the cases', in units of rounding.
OPERATIONS = 512.0


# A relative difference that no rounding explains: its bound is not measured.
HOPELESS = 0.05


def kind_of(name: str) -> Kind:
    """Return how functions like `name` are compared.

    Raises
    ------
    CapabilityError
        No cases for it.
    """
    found = entry(name)
    kind = KINDS.get(name) or KINDS.get(found.kind)
    if kind is None:
        raise CapabilityError(f"name: there are no comparisons for {name!r}, a {found.kind}")
    return kind


def compare_function(other: Any, name: str, *, seed: int = 0, **options: Any) -> FunctionReport:
    """Hold a function against a registered matrix function, solver or transport solver.

    Parameters
    ----------
    other : callable
        With the reference's positional arguments. A solver may answer x, ``(x, ...)`` or an object with
        ``x``; transport the plan, ``(plan, ...)`` or an object with ``plan``.
    name : str
    seed : int
    options
        Keywords of both sides, by the reference's names.

    Raises
    ------
    ArgumentTypeError, CapabilityError, UnknownNameError
    """
    kind, reference = kind_of(name), reference_of(name)
    call, takes = callable_side(other)
    answers, left = [], []
    for case in cases_of(kind, name, seed, options):
        if all(spelled(k, kind, takes) for k in case.needs):
            theirs = answer_of(call, kind, case, takes)
            answers.append(Answer(case.name, *compared(reference, kind, case, theirs)))
        else:
            left.append(case.name)
    return FunctionReport(all(a.agrees for a in answers), label_of(other), name, tuple(answers), tuple(left))


def reference_of(name: str) -> Reference:
    """Return the registered function as one that can be wrapped."""
    fn = get(name)

    def run(*args: Any, **options: Any) -> Any:
        return fn(*args, **options)

    return run


def callable_side(other: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
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
    """Return the calls on which `name` is compared, with options of the user's besides."""
    return [
        Case(c.name, c.args, {**c.options, **options}, c.symmetric, c.needs, c.slack)
        for c in kind.cases(name, seed)
    ]


def answer_of(call: Callable[..., Any], kind: Kind, case: Case, takes: Mapping[str, Any]) -> Any:
    """Call the other side; return its answer as an array, or the exception."""
    given = {s: v for k, v in case.options.items() if (s := spelled(k, kind, takes)) is not None}
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in case.args]
    try:
        with np.errstate(all="ignore"):
            return kind.read(call(*copies, **given))
    except Exception as error:
        return error


def own_answer(reference: Reference, kind: Kind, case: Case, args: Sequence[Any]) -> Any:
    """Return the reference's answer, or the error that it raises."""
    try:
        with np.errstate(all="ignore"):
            return kind.read(reference(*args, **case.options))
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
