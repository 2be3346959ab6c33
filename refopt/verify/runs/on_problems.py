"""Observing a side that asks for more than one gradient at the current point, on courses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, ArgumentTypeError, RefoptError
from refopt.core.method import Method
from refopt.core.params import leaves, max_abs
from refopt.core.registry import entry
from refopt.verify.inputs.problems import Asking, Course, courses, oracle
from refopt.verify.inputs.profiles import Profile, profiles_for, schedule
from refopt.verify.inputs.tapes import Tape
from refopt.verify.runs.other import Observations, Observed
from refopt.verify.runs.reference import as_dtype
from refopt.verify.sides.adapt import asking_side
from refopt.verify.sides.side import Leaves, Run, Side
from refopt.verify.variants.candidate import with_base
from refopt.verify.variants.deviation import innermost, refit

STEPS = 40


# The least of a course that is compared, and the gradient over its first at which one ends: then what
# is accepted and what is not (Levenberg-Marquardt) is decided by rounding.
LEAST = 4


CONVERGED = {"float64": 1e-5, "float32": 1e-3}


# A side that is handed a batch uses all of it, unless it can be told otherwise.
WHOLE: Mapping[str, float] = {"statistics_share": 1.0, "model_share": 1.0}


def observe_asked(
    other: Any,
    name: str,
    dialect: str,
    steps: int,
    dtype: str,
    seed: int,
    extra: Iterable[Tape],
    hyperparameters: Mapping[str, Any],
    label: str = "",
) -> Observations:
    """Run the other side on every course, under every profile; arguments as of `observe`.

    Raises
    ------
    ArgumentError
        One of `extra` is a tape of gradients and no `Course`.
    """
    shared = {k: v for k, v in WHOLE.items() if k in {f.name for f in dataclasses.fields(entry(name).obj)}}
    given: dict[str, Any] = {**shared, **hyperparameters}
    base = optimizer(name, dialect=dialect, **given)
    built = isinstance(given.get("base"), Method)
    found = entry(name) if built else with_base(entry(name), base)
    needs = tuple(dict.fromkeys(base.needs))
    it = asking_side(other, found.obj, needs)
    it = dataclasses.replace(it, name=label or it.name)
    given = {k: v for k, v in given.items() if k in hyperparameters or k not in it.known}
    profiles = profiles_for(it, found, base, given)
    own = courses(
        needs, min(steps, STEPS), seed=seed, flat=not it.together, own=entry(name).extra.get("calm_problem")
    )
    for tape in (further := list(extra)):
        if not isinstance(tape, Course):
            raise ArgumentError(
                f"extra_tapes: {name} asks at points of its own; wanted courses (refopt.verify.inputs.problems.course),"
                f" got a tape of gradients, {tape.name!r}"
            )
    runs = []
    for profile in profiles:
        full = profile is profiles[0]
        method = profile.method(name, dialect)
        for tape in [*own, *(further if full else ())]:
            runs.append(run_asked(it, until_converged(method, tape, it.together, dtype), profile, dtype))
    notes = list(dict.fromkeys(note for r in runs for note in r.notes))
    notes.append(
        f"Both asked the same problems ({', '.join(dict.fromkeys(c.name for c in own))}) at their own points."
    )
    if not it.schedulable:
        notes.append("Not tried: a schedule; it has no rate that can be set.")
    if not it.takes:
        notes.append("Not tried: other hyperparameters than its own; it cannot be given any.")
    longest = max(len(r.tape) for r in runs)
    return Observations(it, found, dtype, longest, tuple(runs), tuple(notes), it.together)


def until_converged(method: Method, of: Course, together: bool, dtype: str) -> Course:
    """Return the course up to where the method has converged."""
    x: Any = {k: v.copy() for k, v in of.x0.items()} if together else next(iter(of.x0.values())).copy()
    s, first = method.init(x), 0.0
    with np.errstate(all="ignore"):
        for t in range(1, len(of) + 1):
            now = oracle(of, t)
            size = max_abs(now.full.grad(x))
            first = first or size
            if size <= CONVERGED[dtype] * first and t > LEAST:
                return of.first(t - 1)  # type: ignore[return-value]
            x, s = method.step(x, s, now)
            if not all(np.all(np.isfinite(v)) for v in leaves(x).values()):
                break
    return of


def run_asked(it: Side, of: Course, profile: Profile, dtype: str) -> Observed:
    """Run the other side along a course."""
    start = {k: v.copy() for k, v in as_dtype(of, dtype).x0.items()}
    points: dict[str, list[np.ndarray]] = {k: [] for k in start}
    states: list[dict[str, Leaves]] = []
    run = it.begin(start, profile.given, schedule if profile.scheduled else None)
    try:
        with np.errstate(all="ignore"):
            for t in range(1, len(of) + 1):
                for k, v in _step(it, run, of, t).items():
                    points[k].append(np.asarray(v, dtype=np.float64))
                states.append(run.state())
        notes = tuple(run.notes())
    finally:
        run.close()
    return Observed(
        profile, of, {k: np.stack(v) for k, v in points.items()}, tuple(states) if any(states) else (),
        drive=lambda made: refit(made, Asking(innermost(made), of)), notes=notes,
    )  # fmt: skip


def _step(it: Side, run: Run, of: Course, t: int) -> Leaves:
    try:
        return run.asked_step(oracle(of, t), t)
    except RefoptError:
        raise
    except Exception as error:
        raise ArgumentTypeError(
            f"other: {it.name} could not make step {t} of {of.name!r}:"
            f" {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        ) from error
