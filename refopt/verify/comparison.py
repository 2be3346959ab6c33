"""`compare`: the same start and the same gradients for another implementation and the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError, RefoptError
from refopt.core.hyper import check_number
from refopt.core.method import Method
from refopt.core.registry import Entry, entry
from refopt.verify.adapt import side
from refopt.verify.reference import Bound, Trajectory, as_dtype, bound, follow, machine_epsilon
from refopt.verify.report import Finding, Report, examine
from refopt.verify.sides import Leaves, Side
from refopt.verify.tapes import SHAPES, Tape, tapes

# Kinds whose members are functions of arrays; `refopt.verify.functions` compares them.
FUNCTIONS = ("matfun", "solver", "transport")
# Values that show what the defaults hide; applied where both sides can be given them.
SHARP: Mapping[str, float] = {"beta1": 0.8, "beta2": 0.6, "beta3": 0.7, "eps": 1e-2, "momentum": 0.7}
DECAY = 0.1
RATE = 0.03
# The further profiles are shorter, and on the tapes that differ most from one another.
SHORT = 50
SHORT_KINDS = ("random", "ill", "zeros", "tiny")


def schedule(t: int) -> float:
    """Return the rate's multiplier in the profile ``schedule``: it changes at every step."""
    return 0.5 + 0.5 / t**0.5


@dataclass(frozen=True)
class Profile:
    """Hyperparameters that both sides are given.

    Parameters
    ----------
    name : str
    given : dict
        By the reference's names; the other side gets them too.
    ours : dict
        What the reference alone is told: the other side has it by itself.
    scheduled : bool
    """

    name: str
    given: Mapping[str, Any]
    ours: Mapping[str, Any] = field(default_factory=dict)
    scheduled: bool = False

    def method(self, name: str, dialect: str, **settings: Any) -> Method:
        """Return the reference under this profile; `settings` win."""
        extra = {"schedule": schedule} if self.scheduled else {}
        return optimizer(name, dialect=dialect, **{**self.ours, **self.given, **extra, **settings})


@dataclass(frozen=True, eq=False)
class Observed:
    """The other side's trajectory on one tape under one profile."""

    profile: Profile
    tape: Tape
    theirs: Leaves
    states: tuple[dict[str, Leaves], ...]


@dataclass(frozen=True, eq=False)
class Observations:
    """All that was seen of the other side."""

    side: Side
    entry: Entry
    dtype: str
    steps: int
    runs: tuple[Observed, ...]
    notes: tuple[str, ...]
    together: bool


def compare(
    other: Any,
    name: str,
    *,
    dialect: str = "paper",
    steps: int = 200,
    dtype: str = "float64",
    seed: int = 0,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    extra_tapes: Iterable[Tape] = (),
    **hyperparameters: Any,
) -> Report:
    """Hold another implementation against the reference.

    Both sides get the same start and the same gradients: eight kinds of tapes (`refopt.verify.tapes`),
    on a scalar, vectors, matrices and a 4-D leaf; where the other side can be given hyperparameters,
    also with low beta2 and large eps, with weight decay, and under a schedule.

    Parameters
    ----------
    other : object
        A torch optimizer (class, instance, or a function of the parameters that makes one), an optax
        transformation (or the function that makes it), a Keras optimizer (class or instance), a refopt
        method, a function ``(x, g, state) -> (x, state)`` of NumPy arrays (state is None at first; its
        further parameters are hyperparameters), a pair ``(init, update)``, an object with such members,
        or a program's command line as a list of str. `functools.partial` may bind keywords.
    name : str
        The reference: a registered optimizer that needs gradients alone, or a matrix function, linear
        solver or transport solver; then `other` is a function of the same positional arguments, and the
        arguments below but `seed` do not apply (see `refopt.verify.functions`).
    dialect : str
    steps : int, range [1, 1000]
    dtype : {"float64", "float32"}
        The other side's precision. The reference runs in float64 in both cases.
    seed : int
        Of the tapes.
    shapes : dict of str to tuple of int, optional
        Leaves to compare on, in place of `refopt.verify.tapes.SHAPES`.
    extra_tapes : iterable of Tape, optional
        Further tapes, for example `refopt.verify.tapes.recorded` of a problem.
    hyperparameters
        By the reference's names. The other side gets those that it can be given; what it has by itself,
        and shows, the reference takes over.

    Returns
    -------
    Report (of a function: FunctionReport)
        ``agrees``, ``step``, ``leaf``, ``index``, ``error``, ``ulps``; ``str(report)`` in words.

    Raises
    ------
    UnknownNameError, HyperparameterError, ArgumentError, ArgumentTypeError, CapabilityError
        An unknown name, dialect or hyperparameter; an `other` that cannot be run; a method that needs
        more than gradients.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> def mine(x, g, state, lr=0.01):
    ...     return x - lr * g, None
    >>> report = refopt.verify.compare(mine, "sgd", steps=20)
    >>> report.agrees
    True
    """
    if entry(name).kind in FUNCTIONS:
        from refopt.verify.functions import compare_function

        return compare_function(other, name, seed=seed, **hyperparameters)  # type: ignore[return-value]
    seen = observe(
        other, name, dialect=dialect, steps=steps, dtype=dtype, seed=seed, shapes=shapes,
        extra_tapes=extra_tapes, **hyperparameters,
    )  # fmt: skip
    findings: list[Finding] = []
    operations = 0
    pairs: list[tuple[Trajectory, Observed]] = []
    for run in seen.runs:
        method = run.profile.method(name, dialect)
        ours = follow(method, run.tape, together=seen.together, states=bool(run.states))
        limit = bound(method, run.tape, ours, machine_epsilon(dtype), together=seen.together)
        operations = limit.operations
        findings += hold(run, ours, limit, dtype)
        pairs.append((ours, run))
    return Report(
        agrees=all(f.agrees for f in findings),
        other=seen.side.name,
        method=name,
        dialect=dialect,
        hyperparameters={**seen.runs[0].profile.ours, **seen.runs[0].profile.given},
        dtype=dtype,
        steps=steps,
        findings=tuple(findings),
        notes=seen.notes,
        operations=operations,
        state=match_states(pairs),
    )


def hold(run: Observed, ours: Trajectory, limit: Bound, dtype: str) -> list[Finding]:
    """Return one finding a leaf."""
    idle = run.tape.idle()
    return [
        examine(
            run.profile.name,
            run.tape.name,
            k,
            ours.points[k],
            run.theirs[k],
            limit.allowed[k],
            dtype,
            idle[k],
        )
        for k in run.theirs
    ]


def observe(
    other: Any,
    name: str,
    *,
    dialect: str = "paper",
    steps: int = 200,
    dtype: str = "float64",
    seed: int = 0,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    extra_tapes: Iterable[Tape] = (),
    **hyperparameters: Any,
) -> Observations:
    """Run the other side on every tape, under every profile that it can be given."""
    found = entry(name, ("optimizer", "wrapper"))
    check_number(steps, "int [1, 1000]", "steps")
    if dtype not in ("float64", "float32"):
        raise ArgumentError(f"dtype: wanted 'float64' or 'float32', got {dtype!r}")
    base = optimizer(name, dialect=dialect, **hyperparameters)
    if type(base).update is Method.update or tuple(found.needs) != ("grad",):
        raise CapabilityError(
            f"name: {name} needs more than a gradient at the current point ({', '.join(found.needs)});"
            " compare takes methods that are driven by gradients alone"
        )
    it = side(other, found.obj)
    chosen = dict(shapes if shapes is not None else SHAPES)
    first = tapes(1, seed=seed, shapes=chosen, kinds=("random",))[0]
    profiles = _profiles(it, found, base, hyperparameters)
    kept, notes = _leaves(it, found, dialect, profiles[0], as_dtype(first, dtype))
    runs = []
    for profile in profiles:
        full = profile is profiles[0]
        kinds = tapes(steps if full else min(steps, SHORT), seed=seed, shapes=chosen)
        own = [t.only(kept) for t in kinds if full or t.name in SHORT_KINDS]
        for tape in [*own, *(extra_tapes if full else ())]:
            points, states = _run(it, as_dtype(tape, dtype), profile, together=it.together)
            runs.append(Observed(profile, tape, points, states))
    zero = [r for r in runs if any(np.any(~np.isfinite(v) & r.tape.idle()[k]) for k, v in r.theirs.items())]
    if zero:
        notes.append("It is not finite where every gradient so far was zero (0/0); left out there.")
    if not it.schedulable:
        notes.append("Not tried: a schedule; it has no rate that can be set.")
    if not it.takes:
        notes.append("Not tried: other hyperparameters than its own; it cannot be given any.")
    return Observations(it, found, dtype, steps, tuple(runs), tuple(notes), it.together)


def _profiles(it: Side, found: Entry, base: Method, given: Mapping[str, Any]) -> list[Profile]:
    fields = {f.name: f for f in dataclasses.fields(found.obj)}
    can = {k for k in it.takes if k in fields and k not in given}
    # What the other side has no default for, it gets from the reference.
    wanted = {k: getattr(base, k) for k in it.takes - it.known.keys()}
    wanted = {k: v for k, v in wanted.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    shared = {**wanted, **{k: v for k, v in given.items() if k in it.takes}}
    ours = {**it.known, **{k: v for k, v in given.items() if k not in it.takes}}
    out = [Profile("as given", shared, ours)]
    rate = {"lr": RATE} if "lr" in can else {}
    sharp = {k: v for k, v in SHARP.items() if k in can and isinstance(fields[k].default, float)}
    if sharp:
        out.append(Profile("low betas, large eps", {**shared, **rate, **sharp}, ours))
    if "weight_decay" in can:
        out.append(Profile("decay", {**shared, **rate, "weight_decay": DECAY}, ours))
    if it.schedulable and "lr" in fields and not callable(given.get("lr")):
        decay = {"weight_decay": DECAY} if "weight_decay" in can else {}
        known = {"lr": it.known["lr"]} if "lr" in it.known and "lr" in can else {}
        scheduled = {**known, **rate, **shared, **decay}
        out.append(Profile("schedule", scheduled, ours, scheduled=True))
    return out


def _leaves(
    it: Side, found: Entry, dialect: str, profile: Profile, tape: Tape
) -> tuple[list[str], list[str]]:
    """Return the leaves that both sides take, and a note on those that one of them refuses."""
    try:
        _try(it, found, dialect, profile, tape)
    except Exception:
        pass
    else:
        return list(tape.x0), []
    kept, refused, reasons = [], [], []
    for leaf in tape.x0:
        try:
            _try(it, found, dialect, profile, tape.only([leaf]))
        except RefoptError as error:
            refused.append(f"{leaf} ({error})")
            continue
        except Exception as error:
            refused.append(f"{leaf} ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})")
            reasons.append(error)
            continue
        kept.append(leaf)
    if not kept:
        raise ArgumentTypeError(
            f"other: {it.name} could not make a step on any leaf: {'; '.join(refused)}"
        ) from (reasons[0] if reasons else None)
    return kept, [f"Left out: {'; '.join(refused)}."] if refused else []


def _try(it: Side, found: Entry, dialect: str, profile: Profile, tape: Tape) -> None:
    follow(profile.method(found.name, dialect), as_dtype(tape, "float64"), together=it.together)
    _run(it, tape, profile, together=it.together)


def _run(
    it: Side, tape: Tape, profile: Profile, *, together: bool
) -> tuple[Leaves, tuple[dict[str, Leaves], ...]]:
    """Run the other side; its points (steps, *shape) by leaf, and its states."""
    groups = [list(tape.x0)] if together else [[k] for k in tape.x0]
    points: dict[str, list[np.ndarray]] = {k: [] for k in tape.x0}
    states: list[dict[str, Leaves]] = [{} for _ in tape.gradients]
    with np.errstate(all="ignore"):
        for group in groups:
            own = tape.only(group)
            run = it.begin(
                {k: v.copy() for k, v in own.x0.items()},
                profile.given,
                schedule if profile.scheduled else None,
            )
            try:
                for t, g in enumerate(own.gradients, 1):
                    for k, v in run.step({k: v.copy() for k, v in g.items()}, t).items():
                        points[k].append(np.asarray(v, dtype=np.float64))
                    for slot, named in run.state().items():
                        states[t - 1].setdefault(slot, {}).update(named)
            finally:
                run.close()
    return {k: np.stack(v) for k, v in points.items()}, tuple(states) if any(states) else ()


def match_states(pairs: list[tuple[Trajectory, Observed]]) -> dict[str, tuple[str, float]]:
    """Find, for every state array of the other side, the reference's slot that it equals or is nearest to.

    Differences are relative to the largest entry that the slot's leaf has had; above 1e-3 an array is
    none of ours.
    """
    errors: dict[tuple[str, str], float] = {}
    for ours, run in pairs:
        if not ours.states or not run.states:
            continue
        for slot in set.intersection(*(set(s) for s in run.states)):
            if any(run.states[0][slot].keys() != s.keys() for s in ours.states[0].values()):
                continue
            for own in ours.states[0]:
                gap = _gap([s[own] for s in ours.states], [s[slot] for s in run.states])
                errors[slot, own] = max(errors.get((slot, own), 0.0), gap)
    out: dict[str, tuple[str, float]] = {}
    for slot in dict.fromkeys(s for s, _ in errors):
        best = min((e, own) for (s, own), e in errors.items() if s == slot)
        out[slot] = (best[1], best[0]) if best[0] < 1e-3 else ("", best[0])
    return out


def _gap(ours: list[Leaves], theirs: list[Leaves]) -> float:
    worst, scale = 0.0, dict.fromkeys(ours[0], 0.0)
    for mine, yours in zip(ours, theirs):
        for k, v in yours.items():
            scale[k] = max(scale[k], float(np.max(np.abs(mine[k]))))
            gap = float(np.max(np.abs(v - mine[k])))
            if not np.isfinite(gap) or (gap > 0 and scale[k] == 0):
                return np.inf
            worst = max(worst, gap / scale[k] if gap > 0 else 0.0)
    return worst
