"""Running the other side of a comparison: on every tape, under every profile of hyperparameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError, RefoptError
from refopt.core.groups import choose
from refopt.core.hyper import check_number
from refopt.core.method import Elementwise, LeafRule
from refopt.core.registry import STEPPING, Entry, entry
from refopt.verify.inputs.hessians import verdict
from refopt.verify.inputs.profiles import Profile, profiles_for
from refopt.verify.inputs.tapes import SHAPES, Tape, tapes
from refopt.verify.report import Finding, examine
from refopt.verify.runs.looks import looks, stacked
from refopt.verify.runs.on_problems import observe_asked
from refopt.verify.runs.other import Observations, Observed, run_side
from refopt.verify.runs.reference import Trajectory, as_dtype, follow
from refopt.verify.runs.rounding import Bound, factorises
from refopt.verify.sides.adapt import side
from refopt.verify.sides.elsewhere import asks_elsewhere, hidden, names_questions
from refopt.verify.sides.functions import method_side
from refopt.verify.sides.groups import note as group_note
from refopt.verify.sides.groups import resolve
from refopt.verify.sides.loops import owns_loop
from refopt.verify.sides.side import Side, asks, unwrap
from refopt.verify.variants.candidate import wrong_groups

KEEPS = (
    "It stores the gradient array without copying it, so its steps change if the training loop reuses that memory,"
    " as zero_grad(set_to_none=False) does."
)


# The further profiles are shorter, and on the tapes that differ most from one another.
SHORT = 50


SHORT_KINDS = ("random", "ill", "zeros", "tiny")

# What the first profile shows of these, the others would show again.
FIRST_ALONE = ("twin", "far")


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
    label: str = "",
    longest: int = 0,
    **hyperparameters: Any,
) -> Observations:
    """Run the other side on every tape, under every profile that it can be given.

    The first tape under its own hyperparameters has at least `longest` steps.
    """
    found = entry(name, STEPPING)
    check_number(steps, "int [1, 1000]", "steps")
    if not isinstance(dtype, str) or dtype not in ("float64", "float32"):
        raise ArgumentError(f"dtype: wanted 'float64' or 'float32', got {dtype!r}")
    base = optimizer(name, dialect=dialect, **hyperparameters)
    if param_groups and "seed" in {f.name for f in dataclasses.fields(found.obj)}:
        raise CapabilityError(f"param_groups: {name} draws; distributions are compared on all leaves alike")
    if param_groups and (asks(base) or tuple(found.needs) != ("grad",)):
        raise CapabilityError(
            f"param_groups: are for methods that need gradients alone, {name} asks for more"
        )
    inner = unwrap(other)[0]
    if asks(base) or (tuple(found.needs) == ("grad",) and names_questions(inner) and not owns_loop(inner)):
        return observe_asked(other, name, dialect, steps, dtype, seed, extra_tapes, hyperparameters, label)
    curved = tuple(found.needs) == ("grad", "hvp")
    it = side(other, found.obj)
    it = dataclasses.replace(it, name=label or it.name)
    chosen = dict(shapes if shapes is not None else SHAPES)
    first = tapes(1, seed=seed, shapes=chosen, kinds=("random",))[0]
    profiles = profiles_for(it, found, base, hyperparameters)
    if param_groups:
        parts = resolve(param_groups, found.obj, first.x0)
        profiles = [dataclasses.replace(p, groups=parts) for p in profiles]
        found = dataclasses.replace(found, extra={**found.extra, "group_faults": wrong_groups(found, parts)})
        it = it.grouped(parts) if it.grouped is not None else it
    kept, notes = _leaves(it, found, dialect, profiles[0], as_dtype(first, dtype), curved)
    own_leaves = _treated(found, first.only(kept)) or kept
    if own_leaves != kept and len(profiles) > 1:
        notes.append(
            f"Only with its own hyperparameters: {', '.join(k for k in kept if k not in own_leaves)}; {name} hands them"
            " to another method."
        )
    fewer = [k for k in own_leaves if k not in FIRST_ALONE] or own_leaves
    runs = []
    for profile in profiles:
        full = profile is profiles[0]
        kinds = tapes(steps if full else min(steps, SHORT), seed=seed, shapes=chosen)
        if full and steps < longest and not it.costly:
            kinds[0] = tapes(longest, seed=seed, shapes=chosen, kinds=(kinds[0].name,))[0]
        own = [t.only(kept if full else fewer) for t in kinds if full or t.name in SHORT_KINDS]
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
    if steps > 1 and not curved and not param_groups:
        notes += looks(it, profiles[0].given, factorises(base))
        if isinstance(base, LeafRule) and not isinstance(base, Elementwise):
            notes += stacked(it, profiles[0].given, method_side(profiles[0].method(name, dialect)))
    if asks_elsewhere(base):
        notes.append(hidden(name))
    if it.unread:
        notes.append(f"Left as it has them, since {name} has nothing of that name: {', '.join(it.unread)}.")
    if not it.schedulable:
        notes.append("Not tried: a schedule; it has no rate that can be set.")
    if not it.takes:
        notes.append("Not tried: other hyperparameters than its own; it cannot be given any.")
    faults: tuple[str, ...] = ()
    if curved:
        faults, told = verdict([r.probes for r in runs if r.probes is not None], base)
        notes += told
    return Observations(it, found, dtype, steps, tuple(runs), tuple(notes), it.together, faults)


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


def _keeps_gradients(it: Side, run: Observed, dtype: str) -> bool:
    """Tell whether the first steps change when every gradient comes in the memory of the last."""
    short = run.tape.first(8)
    again = run_side(it, short, run.profile, dtype, False, reuse=True).theirs
    return any(not np.array_equal(v, run.theirs[k][:8], equal_nan=True) for k, v in again.items())


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
