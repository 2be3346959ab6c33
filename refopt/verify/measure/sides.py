"""Whom the experiments are made on: a side as it is handed over, and the reference as a side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from refopt.core.build import optimizer
from refopt.core.errors import ArgumentTypeError, CapabilityError, RefoptError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method
from refopt.core.registry import entry
from refopt.verify.inputs.profiles import Profile
from refopt.verify.measure.differences import told
from refopt.verify.measure.experiments import measure
from refopt.verify.measure.responses import SHAPES, Subject
from refopt.verify.sides.adapt import side
from refopt.verify.sides.functions import MethodRun
from refopt.verify.sides.side import Leaves, Run, Schedule, Side


class Anything(Method):
    """The hyperparameters that optimizers commonly have, by which a side without a name is read."""

    lr: Rate = hyper(0.01, "[0, inf)", "The rate.")
    beta1: float = hyper(0.9, "[0, 1]", "The weight of an average of gradients.")
    beta2: float = hyper(0.999, "[0, 1]", "The weight of an average of squares.")
    beta3: float = hyper(0.999, "[0, 1]", "The weight of a third average.")
    momentum: float = hyper(0.9, "[0, 1]", "The weight of the velocity.")
    eps: float = hyper(1e-8, "[0, inf)", "Added to a divisor.")
    weight_decay: float = hyper(0.0, "[0, inf)", "The decay's coefficient.")


def as_handed_over(other: Any, seed: int = 0, cls: type = Anything, **given: Any) -> Subject:
    """Return the other side as a subject: with numbers of its own, and defaults where it has none.

    Raises
    ------
    ArgumentTypeError
        It made no step on any leaf.
    """
    it = side(other, cls)
    fields = {f.name: f.default for f in dataclasses.fields(cls)}
    wanted = {
        k: fields[k] for k in it.takes - it.known.keys() if isinstance(fields.get(k), (int, float))
    }  # fmt: skip
    given = {k: v for k, v in given.items() if k in it.takes}
    return taken(Subject(it, {**wanted, **given}, seed=seed))


def taken(subject: Subject) -> Subject:
    """Return a subject with the leaves that its side takes.

    Raises
    ------
    ArgumentTypeError
        It made no step on any leaf.
    """
    kept, reason = [], ""
    for leaf in SHAPES:
        one = dataclasses.replace(subject, leaves=(leaf,))
        try:
            one.moves([one.normal(1)])
        except CapabilityError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            continue
        kept.append(leaf)
    if not kept:
        raise ArgumentTypeError(f"other: {subject.side.name} could not make a step on any leaf: {reason}")
    return dataclasses.replace(subject, leaves=tuple(kept))


def apart(it: Side, profile: Profile, name: str, dialect: str, seed: int = 0) -> list[str]:
    """Return a line for every measured property in which a side and a method under a profile differ.

    Nothing where it cannot be asked: a process a run, parameter groups, Hessians.
    """
    if it.costly or profile.groups:
        return []
    try:
        subject = taken(Subject(it, profile.given, seed=seed))
    except RefoptError:
        return []
    beside = reference(name, dialect, subject, **profile.ours)
    return told(measured(subject), measured(beside))


def reference(name: str, dialect: str = "paper", like: Subject | None = None, **settings: Any) -> Subject:
    """Return a registered method as a subject: with the leaves, numbers and draws of another one."""
    fields = {f.name for f in dataclasses.fields(entry(name).obj)}
    known = {} if like is None else {k: v for k, v in like.side.known.items() if k in fields}

    def begin(x0: Leaves, given: Mapping[str, Any], schedule: Schedule | None) -> Run:
        extra = {} if schedule is None else {"schedule": schedule}
        own = {k: v for k, v in given.items() if k in fields}
        return MethodRun(optimizer(name, dialect=dialect, **{**known, **settings, **own, **extra}), x0)

    takes = frozenset({"lr"} & fields) if like is None else like.side.takes & fields
    lr = getattr(optimizer(name, dialect=dialect, **{**known, **settings}), "lr", None)
    it = Side(
        name=name, begin=begin, takes=takes, known={"lr": lr} if isinstance(lr, float) else {},
        schedulable="lr" in fields and (like is None or like.side.schedulable),
        together=True if like is None else like.side.together,
    )  # fmt: skip
    if like is None:
        return Subject(it)
    return Subject(it, like.given, like.leaves, like.seed)


def measured(subject: Subject) -> dict[str, float]:
    """Return what the experiments read; nothing of a side that costs a process a run."""
    return {} if subject.side.costly else measure(subject)
