"""Running the other side of a comparison: on every tape, under every profile of hyperparameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError, RefoptError
from refopt.core.hyper import check_number
from refopt.core.method import Method
from refopt.core.registry import Entry, entry
from refopt.optimizers.common.groups import choose
from refopt.verify.adapt import side
from refopt.verify.curvature import Driven, Probes, curvatures, verdict
from refopt.verify.deviations import innermost, refit
from refopt.verify.groups import ByGroup, Part, ignored, of_leaf, resolve
from refopt.verify.groups import note as group_note
from refopt.verify.reference import as_dtype, follow
from refopt.verify.sides import Leaves, Side
from refopt.verify.tapes import SHAPES, Tape, tapes

# Values that show what the defaults hide; applied where both sides can be given them.
SHARP: Mapping[str, float] = {"beta1": 0.8, "beta2": 0.6, "beta3": 0.7, "eps": 1e-2, "momentum": 0.7}
DECAY = 0.1
RATE = 0.03
KEEPS = (
    "It keeps a gradient's memory without a copy: where gradients are written in place, as by"
    " zero_grad(set_to_none=False), its steps are others."
)
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
    groups : tuple of (names, dict)
        Leaves with hyperparameters of their own (`refopt.verify.groups`); empty: all have the same.
    """

    name: str
    given: Mapping[str, Any]
    ours: Mapping[str, Any] = field(default_factory=dict)
    scheduled: bool = False
    groups: tuple[Part, ...] = ()

    def parted(self, make: Callable[[Profile], Any]) -> Any:
        """Return ``make(profile)``; where there are groups, what it makes of each one's numbers, side by side."""
        if not self.groups:
            return make(self)
        return ByGroup(
            [
                (names, make(dataclasses.replace(self, given={**self.given, **hyper}, groups=())))
                for names, hyper in self.groups
            ]
        )

    def method(self, name: str, dialect: str, **settings: Any) -> Method:
        """Return the reference under this profile; `settings` win."""
        extra = {"schedule": schedule} if self.scheduled else {}
        return optimizer(name, dialect=dialect, **{**self.ours, **self.given, **extra, **settings})


@dataclass(frozen=True, eq=False)
class Observed:
    """The other side's trajectory on one tape under one profile.

    ``drive(method)`` makes the reference ready to be followed along the tape: a method that asks for
    Hessian products gets the tape's, with the other side's probes.
    """

    profile: Profile
    tape: Tape
    theirs: Leaves
    states: tuple[dict[str, Leaves], ...]
    drive: Callable[[Any], Any] = lambda method: method
    probes: Probes | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Observations:
    """All that was seen of the other side; `faults` are those that no trajectory shows."""

    side: Side
    entry: Entry
    dtype: str
    steps: int
    runs: tuple[Observed, ...]
    notes: tuple[str, ...]
    together: bool
    faults: tuple[str, ...] = ()


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
    param_groups: Any = (),
    **hyperparameters: Any,
) -> Observations:
    """Run the other side on every tape, under every profile that it can be given."""
    found = entry(name, ("optimizer", "wrapper"))
    check_number(steps, "int [1, 1000]", "steps")
    if dtype not in ("float64", "float32"):
        raise ArgumentError(f"dtype: wanted 'float64' or 'float32', got {dtype!r}")
    base = optimizer(name, dialect=dialect, **hyperparameters)
    from refopt.verify.asked import asks, observe_asked

    if param_groups and "seed" in {f.name for f in dataclasses.fields(found.obj)}:
        raise CapabilityError(f"param_groups: {name} draws; distributions are compared on all leaves alike")
    if param_groups and (asks(base) or tuple(found.needs) != ("grad",)):
        raise CapabilityError(
            f"param_groups: are for methods that need gradients alone, {name} asks for more"
        )
    if asks(base):
        return observe_asked(other, name, dialect, steps, dtype, seed, extra_tapes, hyperparameters)
    curved = tuple(found.needs) == ("grad", "hvp")
    it = side(other, found.obj)
    chosen = dict(shapes if shapes is not None else SHAPES)
    first = tapes(1, seed=seed, shapes=chosen, kinds=("random",))[0]
    profiles = _profiles(it, found, base, hyperparameters)
    if param_groups:
        parts = resolve(param_groups, found.obj, first.x0)
        profiles = [dataclasses.replace(p, groups=parts) for p in profiles]
        found = dataclasses.replace(found, extra={**found.extra, "group_faults": _wrong_groups(found, parts)})
        it = it.grouped(parts) if it.grouped is not None else it
    kept, notes = _leaves(it, found, dialect, profiles[0], as_dtype(first, dtype), curved)
    own_leaves = _treated(found, first.only(kept)) or kept
    if own_leaves != kept and len(profiles) > 1:
        notes.append(
            f"Only with its own hyperparameters: {', '.join(k for k in kept if k not in own_leaves)}; {name} hands them"
            " to another method."
        )
    runs = []
    for profile in profiles:
        full = profile is profiles[0]
        kinds = tapes(steps if full else min(steps, SHORT), seed=seed, shapes=chosen)
        own = [t.only(kept if full else own_leaves) for t in kinds if full or t.name in SHORT_KINDS]
        for tape in [*own, *(extra_tapes if full else ())]:
            runs.append(run_side(it, tape, profile, dtype, curved))
    notes += dict.fromkeys(note for r in runs for note in r.notes)
    if param_groups:
        notes.append(group_note(parts))
    zero = [r for r in runs if any(np.any(~np.isfinite(v) & r.tape.idle()[k]) for k, v in r.theirs.items())]
    if zero:
        notes.append("It is not finite where every gradient so far was zero (0/0); left out there.")
    # A single step keeps nothing.
    if steps > 1 and not curved and _keeps_gradients(it, runs[0], dtype):
        notes.append(KEEPS)
    if not it.schedulable:
        notes.append("Not tried: a schedule; it has no rate that can be set.")
    if not it.takes:
        notes.append("Not tried: other hyperparameters than its own; it cannot be given any.")
    faults: tuple[str, ...] = ()
    if curved:
        faults, told = verdict([r.probes for r in runs if r.probes is not None], base)
        notes += told
    return Observations(it, found, dtype, steps, tuple(runs), tuple(notes), it.together, faults)


def _profiles(it: Side, found: Entry, base: Method, given: Mapping[str, Any]) -> list[Profile]:
    fields = {f.name: f for f in dataclasses.fields(found.obj)}
    can = {k for k in it.takes if k in fields and k not in given}
    # What the other side has no default for, it gets from the reference.
    inner = getattr(base, "base", None)
    wanted = {k: getattr(base, k, getattr(inner, k, None)) for k in it.takes - it.known.keys()}
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
    it: Side, found: Entry, dialect: str, profile: Profile, tape: Tape, curved: bool
) -> tuple[list[str], list[str]]:
    """Return the leaves that both sides take, and a note on those that one of them refuses."""
    try:
        _try(it, found, dialect, profile, tape, curved)
    except CapabilityError:
        raise
    except Exception:
        # Told leaf by leaf below.
        pass
    else:
        return list(tape.x0), []
    kept, refused, reasons = [], [], []
    for leaf in tape.x0:
        try:
            _try(it, found, dialect, profile, tape.only([leaf]), curved)
        except CapabilityError:
            raise
        except RefoptError as error:
            refused.append(f"{leaf} ({error})")
            continue
        except Exception as error:
            refused.append(f"{leaf} ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})")
            reasons.append(error)
            continue
        kept.append(leaf)
    if not kept:
        # The same of every leaf is said once.
        reasons_told = dict.fromkeys(r.partition(" ")[2] for r in refused)
        told = next(iter(reasons_told)) if len(reasons_told) == 1 else "; ".join(refused)
        raise ArgumentTypeError(
            f"other: {it.name} could not make a step on any leaf: {told}. Is it made as its authors make it? A torch"
            " optimizer with arguments of its own is handed over as a function of the parameters,"
            " lambda params: Muon(muon_params=params)"
        ) from (reasons[0] if reasons else None)
    return kept, [f"Left out: {'; '.join(refused)}."] if refused else []


def _treated(found: Entry, tape: Tape) -> list[str]:
    """Return the leaves that the method treats itself in every dialect.

    What other hyperparameters, or a schedule, mean to the method that the rest is handed to, is for each
    library to say.
    """
    chosen = list(tape.x0)
    for dialect in found.dialects:
        group = getattr(optimizer(found.name, dialect=dialect), "group", "all")
        mine = choose(tape.x0, group)
        chosen = [k for k in chosen if k in mine]
    return chosen


def _try(it: Side, found: Entry, dialect: str, profile: Profile, tape: Tape, curved: bool) -> None:
    run = run_side(it, tape, profile, str(next(iter(tape.x0.values())).dtype), curved)
    method = profile.parted(lambda p: p.method(found.name, dialect))
    follow(run.drive(method), as_dtype(tape, "float64"), together=it.together)


def _wrong_groups(found: Entry, parts: tuple[Part, ...]) -> tuple[Any, ...]:
    from refopt.verify.candidates import Candidate, dialects

    faults = [Candidate((n,), (what,), found.name, groups=wrong) for n, what, wrong in ignored(parts)]
    both = (base.with_(c) for base in dialects(found) for c in faults)
    return tuple(c for c in both if c is not None)


def _own(it: Side, profile: Profile, leaves: list[str]) -> Mapping[str, Any]:
    """Return the numbers of a leaf's group, for a side that runs leaf by leaf and has no groups itself."""
    if not profile.groups or it.together:
        return {}
    found = of_leaf(profile.groups, leaves[0])
    if missing := sorted(found.keys() - it.takes):
        raise CapabilityError(f"param_groups: {it.name} cannot be given {', '.join(missing)}")
    return found


def _keeps_gradients(it: Side, run: Observed, dtype: str) -> bool:
    """Tell whether the first steps change when every gradient comes in the memory of the last."""
    short = run.tape.first(8)
    again = run_side(it, short, run.profile, dtype, False, reuse=True).theirs
    return any(not np.array_equal(v, run.theirs[k][:8], equal_nan=True) for k, v in again.items())


def run_side(
    it: Side, tape: Tape, profile: Profile, dtype: str, curved: bool, *, reuse: bool = False
) -> Observed:
    """Run the other side along a tape."""
    given = as_dtype(tape, dtype)
    groups = [list(tape.x0)] if it.together else [[k] for k in tape.x0]
    points: dict[str, list[np.ndarray]] = {k: [] for k in tape.x0}
    states: list[dict[str, Leaves]] = [{} for _ in tape.gradients]
    hessians = curvatures(tape) if curved else []
    probes, told = Probes(len(tape)), dict[str, None]()
    with np.errstate(all="ignore"):
        for group in groups:
            own = given.only(group)
            start = {k: v.copy() for k, v in own.x0.items()}
            numbers = {**profile.given, **_own(it, profile, group)}
            run = it.begin(start, numbers, schedule if profile.scheduled else None)
            run.reuse = reuse
            try:
                for t, g in enumerate(own.gradients, 1):
                    fresh = {k: v.copy() for k, v in g.items()}
                    if curved:
                        matrices = {k: hessians[t - 1][k].astype(dtype) for k in group}
                        new, drawn = run.curved_step(fresh, matrices, t)
                        probes.add(t, drawn)
                    else:
                        new = run.step(fresh, t)
                    for k, v in new.items():
                        points[k].append(np.asarray(v, dtype=np.float64))
                    for slot, named in run.state().items():
                        states[t - 1].setdefault(slot, {}).update(named)
                told.update(dict.fromkeys(run.notes()))
            finally:
                run.close()
    return Observed(
        profile, tape, {k: np.stack(v) for k, v in points.items()}, tuple(states) if any(states) else (),
        drive=(lambda made: refit(made, Driven(innermost(made), hessians, probes))) if curved else (lambda made: made),
        probes=probes if curved else None, notes=tuple(told),
    )  # fmt: skip
