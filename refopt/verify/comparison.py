"""`compare`: the same start and the same gradients for another implementation and the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.hyper import check_number
from refopt.verify.inputs.calls.kinds import kind_of
from refopt.verify.inputs.problems import Course
from refopt.verify.inputs.tapes import Tape
from refopt.verify.measure.sides import apart
from refopt.verify.report import Finding, Report
from refopt.verify.runs.draws import compare_draws, draws
from refopt.verify.runs.functions import compare_function, with_steps
from refopt.verify.runs.observe import hold, observe
from refopt.verify.runs.other import Observations, Observed
from refopt.verify.runs.reference import Trajectory, follow
from refopt.verify.runs.rounding import bound, machine_epsilon
from refopt.verify.search.effort import Effort
from refopt.verify.search.trajectories import Search
from refopt.verify.sides.groups import check_listed
from refopt.verify.sides.side import Leaves
from refopt.verify.variants.candidate import Candidate, dialects
from refopt.verify.variants.rewritings import rewritings


def compare(
    other: Any,
    name: str,
    *,
    dialect: str = "paper",
    steps: int | None = None,
    dtype: str = "float64",
    seed: int = 0,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    extra_tapes: Iterable[Tape] = (),
    param_groups: Any = (),
    label: str = "",
    **hyperparameters: Any,
) -> Report:
    """Hold another implementation against the reference.

    Both sides get the same start and the same gradients: eight kinds of tapes (`refopt.verify.inputs.tapes`),
    on a scalar, vectors, matrices and a 4-D leaf; where the other side can be given hyperparameters,
    also with low beta2 and large eps, with weight decay, and under a schedule. Where the reference draws
    random numbers (gravity, randomly-scaled-sgdm), the distributions of many runs are compared instead
    (`refopt.verify.runs.draws`).

    Parameters
    ----------
    other : object
        A torch optimizer (class, instance, or a function of the parameters that makes one), an optax
        transformation (or the function that makes it), a Keras optimizer (class or instance), a refopt
        method, a function ``(x, g, state) -> (x, state)`` of NumPy arrays (state is None at first; its
        further parameters are hyperparameters), a pair ``(init, update)``, an object with such members,
        or a program's command line as a list of str. `functools.partial` may bind keywords.
    name : str
        The reference: a registered optimizer that needs gradients alone, or gradients and Hessian
        products (AdaHessian, Sophia): a function `other` then takes ``hvp``, a function of v, as a
        keyword, and a torch optimizer differentiates; the reference gets the probes that the other side
        drew. Or a matrix function, linear solver or transport solver; then `other` is a function of the
        same positional arguments, and the arguments below but `seed` do not apply (see
        `refopt.verify.runs.functions`).
    dialect : str
    steps : int, range [1, 1000], optional
        By default 200. Of a schedule or a function with an option of this name, that option.
    dtype : {"float64", "float32"}
        The other side's precision. The reference runs in float64 in both cases.
    seed : int
        Of the tapes.
    shapes : dict of str to tuple of int, optional
        Leaves to compare on, in place of `refopt.verify.inputs.tapes.SHAPES`.
    extra_tapes : iterable of Tape, optional
        Further tapes, for example `refopt.verify.inputs.tapes.recorded` of a problem.
    param_groups : list of (leaves, dict), optional
        Parameter groups: leaves by shape class (``"vectors"``), names, patterns or a function of name and
        leaf, and the hyperparameters that are theirs. A torch class is given such groups; a function of
        the parameters that makes an optimizer, and an optax transformation, have them by themselves.
    label : str, optional
        What reports call the other side; by default its own name.
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
    check_number(seed, "int [0, 9223372036854775807]", "seed")
    if (kind := kind_of(name)) is not None:
        return compare_function(
            other, name, kind, dialect=dialect, seed=seed, label=label, **with_steps(hyperparameters, steps)
        )  # type: ignore[return-value]
    check_listed(param_groups)
    if draws(name, dialect, hyperparameters) and not param_groups:
        return compare_draws(other, name, dialect, dtype, seed, label=label, **hyperparameters)
    seen = observe(
        other, name, dialect=dialect, steps=200 if steps is None else steps, dtype=dtype, seed=seed, shapes=shapes,
        extra_tapes=extra_tapes, param_groups=param_groups, label=label, **hyperparameters,
    )  # fmt: skip
    held = _held(seen, name, dialect)
    agrees = all(f.agrees for f in held.findings) and not seen.faults
    if not agrees and not seen.faults and (written := _written_otherwise(seen, held, name, dialect)):
        agrees, held = True, written
    return Report(
        agrees=agrees,
        other=seen.side.name,
        method=name,
        dialect=dialect,
        hyperparameters={**seen.runs[0].profile.ours, **seen.runs[0].profile.given},
        dtype=dtype,
        steps=seen.steps,
        findings=tuple(held.findings),
        notes=(*seen.notes, *held.notes),
        operations=held.operations,
        state=match_states(held.pairs),
        agrees_in="" if agrees or seen.faults else _dialect_that_agrees(seen, name, dialect),
        measured=() if agrees else _measured(seen, name, dialect, seed),
    )


@dataclass(frozen=True, eq=False)
class _Held:
    findings: list[Finding]
    operations: int
    pairs: list[tuple[Trajectory, Observed]]
    notes: tuple[str, ...] = ()


def _written_otherwise(seen: Observations, held: _Held, name: str, dialect: str) -> _Held | None:
    """Hold everything to the same rule by formulas that lose digits; None where it is none of them."""
    for change in rewritings(seen.runs[0].profile.method(name, dialect)):
        search = Search(seen, Effort(1))
        own = next(c for c in dialects(seen.entry) if c.dialect == dialect and not c.settings)
        made = own.with_(Candidate((change.name,), (change.what,), name, changes=(change,)))
        findings = None if made is None else search.explains(made)
        if findings is not None:
            note = f"The same rule, written so that digits cancel: {change.what}. It is held to the reference written so."
            return _Held(findings, held.operations, held.pairs, (note,))
    return None


def _held(seen: Observations, name: str, dialect: str) -> _Held:
    """Hold everything that was seen to one dialect."""
    findings: list[Finding] = []
    operations = 0
    pairs: list[tuple[Trajectory, Observed]] = []
    for run in seen.runs:
        method = run.profile.parted(lambda p: p.method(name, dialect))
        ours = follow(run.drive(method), run.tape, together=seen.together, states=bool(run.states))
        eps = machine_epsilon(seen.dtype)
        limit = bound(method, run.tape, ours, eps, together=seen.together, drive=run.drive)
        operations = limit.operations
        findings += hold(run, ours, limit, seen.dtype)
        pairs.append((ours, run))
    return _Held(findings, operations, pairs)


def _dialect_that_agrees(seen: Observations, name: str, dialect: str) -> str:
    """Return another dialect in which everything agrees; empty where there is none."""
    search = Search(seen, Effort(1))
    for c in dialects(seen.entry):
        if c.dialect != dialect and not c.settings and search.explains(c) is not None:
            return c.dialect
    return ""


def _measured(seen: Observations, name: str, dialect: str, seed: int) -> tuple[str, ...]:
    """Return the measured properties in which the two differ, in words."""
    first = seen.runs[0]
    if isinstance(first.tape, Course) or first.probes is not None:
        return ()
    return tuple(apart(seen.side, first.profile, name, dialect, seed))


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
