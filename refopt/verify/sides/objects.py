"""Home-made optimizers: a class, or an instance, with ``update(params, grads)`` on dicts, lists or one array."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentTypeError
from refopt.verify.sides.functions import positional
from refopt.verify.sides.names import parameters, places, read, unread, write
from refopt.verify.sides.side import WRITES, Leaves, Run, Schedule, Side

# What the method that makes a step is called.
STEPS = ("update", "step", "apply_gradients", "apply")

# Which of its two arguments is the gradients.
GRADIENTS = ("g", "grad", "grads", "gradient", "gradients", "dparams", "dw")

_ALONE = tuple([name] for name in GRADIENTS)

# What the parameters are called by a class that keeps them.
PARAMETERS = ("params", "parameters", "weights", "theta", "w", "x")

# How parameters are handed over, in the order in which it is tried.
FORMS: Mapping[str, Callable[[Leaves], Any]] = {
    "dict": dict,
    "list": lambda named: list(named.values()),
    "array": lambda named: next(iter(named.values())),
}


def stepper(other: Any) -> str:
    """Return the name of the method that takes (params, grads); empty where there is none."""
    for name in STEPS:
        fn = getattr(other, name, None)
        if callable(fn):
            arguments = [n for n in positional(fn) if n != "self"]
            if len(arguments) == 2:
                return name
    return ""


def owning(other: Any) -> type | None:
    """Return a class of parameters, whose step takes gradients alone, as one whose step takes both; None if it is none."""
    if not isinstance(other, type):
        return None
    first, *_ = positional(other) or [""]
    steps = (n for n in STEPS if callable(getattr(other, n, None)))
    step = next(
        (n for n in steps if [a for a in positional(getattr(other, n)) if a != "self"][:2] in _ALONE), ""
    )
    if first not in PARAMETERS or not step:
        return None

    class Owned:
        __signature__ = inspect.Signature(list(inspect.signature(other).parameters.values())[1:])

        def __init__(self, **hyper: Any) -> None:
            self.hyper, self.made = hyper, None

        def update(self, params: Any, grads: Any) -> Any:
            if self.made is None:
                self.made = other(params, **self.hyper)
            getattr(self.made, step)(grads)
            return getattr(self.made, first, params)

    return Owned


class ObjectRun(Run):
    """One instance, fed with gradients."""

    def __init__(self, made: Any, step: str, form: str, x0: Leaves, rate: str) -> None:
        self.made, self.form, self.rate = made, form, rate
        self.call = getattr(made, step)
        self.backwards = next(n for n in positional(self.call) if n != "self").lower() in GRADIENTS
        self.x = {k: v.copy() for k, v in x0.items()}
        self.dtype = next(iter(x0.values())).dtype
        self.schedule: Schedule | None = None
        self.overwrites = False

    def step(self, g: Leaves, t: int) -> Leaves:
        """Make one step; the new point is what it returns, or else what it has written into."""
        if self.schedule is not None:
            self.base = getattr(self, "base", getattr(self.made, self.rate))
            setattr(self.made, self.rate, self.base * self.schedule(t))
        hand = FORMS[self.form]
        given = {k: v.copy() for k, v in g.items()}
        if self.reuse:
            self.memory = getattr(self, "memory", given)
            for k, v in given.items():
                self.memory[k][...] = v
            given = self.memory
        point, gradients = hand(self.x), hand(given)
        answer = self.call(gradients, point) if self.backwards else self.call(point, gradients)
        self.overwrites = self.overwrites or any(
            not np.array_equal(given[k], v, equal_nan=True) for k, v in g.items()
        )
        self.x = self._read(point if answer is None else answer)
        return {k: np.array(v) for k, v in self.x.items()}

    def _read(self, answer: Any) -> Leaves:
        if isinstance(answer, tuple) and self.form != "list":
            answer = answer[0]
        if self.form == "dict":
            named = {k: np.asarray(answer[k]) for k in self.x}
        else:
            values = answer if self.form == "list" else [answer]
            named = dict(zip(self.x, (np.asarray(v) for v in values), strict=True))
        for k, v in named.items():
            if v.shape != self.x[k].shape:
                raise ArgumentTypeError(f"other: wanted {k!r} of shape {self.x[k].shape} back, got {v.shape}")
        return named

    def notes(self) -> list[str]:
        """Say so where a gradient was written into."""
        return [WRITES] if self.overwrites else []

    def state(self) -> dict[str, Leaves]:
        """Return the attributes that are dicts of arrays like x."""
        out: dict[str, Leaves] = {}
        for name, value in vars(self.made).items() if hasattr(self.made, "__dict__") else ():
            if self.form == "array" and isinstance(value, np.ndarray):
                value = {next(iter(self.x)): value}
            if not isinstance(value, dict) or value.keys() != self.x.keys():
                continue
            if all(getattr(value[k], "shape", None) == self.x[k].shape for k in value):
                out[name] = {k: np.array(v) for k, v in value.items()}
        return out


def object_side(other: Any, kept: Mapping[str, Any], cls: type, label: str) -> Side:
    """Return the side of a class (its arguments are hyperparameters) or of an instance (which has its own).

    Raises
    ------
    ArgumentTypeError
        It makes no step on a dict, a list or an array.
    """
    made = isinstance(other, type)
    step = stepper(other)
    own = {k: v for k, v in parameters(other).items() if k not in kept} if made else {}
    numbers = own if made else {k: v for k, v in vars(other).items() if isinstance(v, float)}

    def fresh(hyper: Mapping[str, Any]) -> Any:
        return other(**kept, **write(cls, own, hyper)) if made else copy.deepcopy(other)

    wanted = {k: 0.01 for k in places(cls, own) if k not in read(cls, own)}
    form = _form(lambda: fresh(wanted), step)
    found = places(cls, numbers)
    rates = dict.fromkeys((found.get("lr", ("", None))[0], "lr", "learning_rate"))
    probe = fresh(wanted)
    rate = next((k for k in rates if isinstance(getattr(probe, k, None), float)), "") if "lr" in found else ""

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        run = ObjectRun(fresh(hyper), step, form, x0, rate)
        run.schedule = schedule
        return run

    return Side(
        name=label, begin=begin, takes=frozenset(places(cls, own)), known=read(cls, {**numbers, **kept}),
        schedulable=bool(rate), together=form != "array",
        unread=unread(cls, own),
    )  # fmt: skip


def _form(fresh: Callable[[], Any], step: str) -> str:
    """Return how it wants its parameters: the first form in which a step moves them."""
    x0 = {"a": np.array([1.0, -2.0]), "b": np.array([[0.5, 1.5]])}
    reasons = []
    for form in FORMS:
        start = x0 if form != "array" else {"a": x0["a"]}
        try:
            new = ObjectRun(fresh(), step, form, start, "").step(start, 1)
        except Exception as error:
            reasons.append(f"as {form}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            continue
        if all(np.any(new[k] != start[k]) for k in start):
            return form
        reasons.append(f"as {form}: nothing moved")
    raise ArgumentTypeError(f"other: its {step} made no step on two arrays: {'; '.join(reasons)}")
