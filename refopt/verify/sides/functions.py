"""Functions and refopt methods as sides of a comparison."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentTypeError, CapabilityError
from refopt.core.method import Method
from refopt.core.oracle import Oracle
from refopt.core.params import leaves
from refopt.verify.sides.names import parameters, places, read, unread, write
from refopt.verify.sides.queries import SERVED, Asks, product
from refopt.verify.sides.side import WRITES, Leaves, Run, Schedule, Side


def positional(fn: Any) -> list[str]:
    """Return the names of a callable's positional parameters."""
    try:
        found = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def label_of(other: Any) -> str:
    """Return a short name for reports."""
    if isinstance(other, Method):
        return f"refopt's {other.registered_name}"
    named = other if hasattr(other, "__qualname__") else type(other)
    module = (named.__module__ or "").removeprefix("__main__")
    return f"{module}.{named.__qualname__}".removeprefix(".") if module else named.__qualname__


class FunctionRun(Run):
    """A function of (x, g, state), on one array."""

    def __init__(
        self,
        update: Callable[..., Any],
        state: Any,
        x0: Leaves,
        keywords: Callable[[int], dict[str, Any]],
    ) -> None:
        ((self.leaf, x),) = x0.items()
        self.update, self.s, self.keywords = update, state, keywords
        self.shape, self.dtype = x.shape, x.dtype
        self.x: Any = x.copy()
        self.overwrites = False

    def step(self, g: Leaves, t: int) -> Leaves:
        """Call the function with its own last x and state, and a gradient in fresh memory (or in the last's)."""
        given = g[self.leaf].copy()
        if self.reuse:
            self.memory = getattr(self, "memory", given)
            self.memory[...], given = given, self.memory
        new = self._read(self.update(self.x, given, self.s, **self.keywords(t)))
        self.overwrites |= not np.array_equal(given, g[self.leaf], equal_nan=True)
        return new

    def notes(self) -> list[str]:
        """Say so where the gradient was written into."""
        return [WRITES] if self.overwrites else []

    def curved_step(
        self, g: Leaves, hessian: Leaves, t: int
    ) -> tuple[Leaves, Mapping[str, Sequence[np.ndarray]]]:
        """Call the function with ``hvp``, a function of v, besides; record what it is called with."""
        drawn: list[np.ndarray] = []

        def hvp(v: Any) -> np.ndarray:
            drawn.append(np.array(v))
            return product(hessian[self.leaf], v)

        new = self._read(self.update(self.x, g[self.leaf].copy(), self.s, hvp=hvp, **self.keywords(t)))
        return new, {self.leaf: drawn}

    def _read(self, answer: Any) -> Leaves:
        if isinstance(answer, tuple) and len(answer) >= 2:
            self.x, self.s = answer[0], answer[1]
        else:
            raise ArgumentTypeError(
                f"other: wanted (x, state) from its call, got {type(answer).__qualname__}; a method without"
                " state returns (x, None)"
            )
        x = np.array(self.x)
        if x.shape != self.shape:
            raise ArgumentTypeError(f"other: wanted x of shape {self.shape} back, got {x.shape}")
        return {self.leaf: x}

    def state(self) -> dict[str, Leaves]:
        """Return the arrays of the state that are shaped like x."""
        s = self.s
        if hasattr(s, "_asdict"):
            s = s._asdict()
        elif hasattr(s, "__dict__"):
            s = vars(s)
        if isinstance(s, (tuple, list)):
            s = {str(k): v for k, v in enumerate(s)}
        if not isinstance(s, dict):
            s = {"state": s}
        return {
            str(k): {self.leaf: np.array(v)}
            for k, v in s.items()
            if isinstance(v, (np.ndarray, np.floating)) and v.shape == self.shape and v.dtype.kind == "f"
        }


def function_side(
    init: Callable[[Any], Any] | None,
    update: Callable[..., Any],
    kept: Mapping[str, Any],
    cls: type,
    label: str,
) -> Side:
    """Return the side of a function; its further parameters are hyperparameters that it can be given."""
    # The first three are x, g and state, whatever they are called.
    takes = {k: v for k, v in list(parameters(update).items())[3:] if k not in kept and k != "hvp"}
    rate = places(cls, takes).get("lr", ("", None))[0]

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        given = write(cls, takes, hyper)

        def keywords(t: int) -> dict[str, Any]:
            return given if schedule is None else {**given, rate: given[rate] * schedule(t)}

        (x,) = x0.values()
        bound = update if not kept else lambda *a, **k: update(*a, **kept, **k)
        return FunctionRun(bound, None if init is None else init(x.copy()), x0, keywords)

    return Side(
        name=label,
        begin=begin,
        takes=frozenset(places(cls, takes)),
        known=read(cls, {**takes, **kept}),
        schedulable=bool(rate),
        together=False,
        unread=unread(cls, takes),
    )


class MethodRun(Run):
    """A refopt method (or anything with its ``init`` and ``update``)."""

    def __init__(self, method: Any, x0: Leaves) -> None:
        self.method = method
        self.x: Any = {k: v.copy() for k, v in x0.items()}
        self.s = method.init(self.x)

    def step(self, g: Leaves, t: int) -> Leaves:
        """Make one step from a gradient."""
        self.x, self.s = self.method.update(self.x, g, self.s)
        return {k: np.array(v) for k, v in self.x.items()}

    def asked_step(self, oracle: Oracle, t: int) -> Leaves:
        """Make one step, asking an oracle."""
        self.x, self.s = self.method.step(self.x, self.s, oracle)
        return {k: np.array(v) for k, v in self.x.items()}

    def state(self) -> dict[str, Leaves]:
        """Return the slots that are shaped like x."""
        return slots(self.x, self.s)


def slots(x: Any, s: Mapping[str, Any]) -> dict[str, Leaves]:
    """Return the entries of a refopt state that are shaped like `x`, as NumPy copies."""
    out = {}
    for key, value in s.items():
        if isinstance(value, dict) == isinstance(x, dict) and (
            isinstance(x, dict) or hasattr(value, "shape")
        ):
            named, like = leaves(value), leaves(x)
            if named.keys() == like.keys() and all(
                getattr(named[k], "shape", None) == like[k].shape for k in like
            ):
                out[key] = {k: np.array(v) for k, v in named.items()}
    return out


def method_side(other: Method) -> Side:
    """Return the side of a refopt method."""
    return Side(name=label_of(other), begin=lambda x0, hyper, schedule: MethodRun(copy.copy(other), x0))


class AskingFunction(FunctionRun):
    """A function of (x, state) and of what it names; x is one vector, or a dict of arrays."""

    def __init__(
        self,
        update: Callable[..., Any],
        state: Any,
        x0: Leaves,
        keywords: Callable[[int], dict[str, Any]],
        asked: tuple[str, ...],
    ) -> None:
        self.update, self.s, self.keywords, self.asked = update, state, keywords, asked
        # It is given no gradient to write into.
        self.overwrites = False
        self.dtype = next(iter(x0.values())).dtype
        self.single = next(iter(x0)) if len(x0) == 1 else None
        self.leaf = self.single or ""
        self.shapes = {k: v.shape for k, v in x0.items()}
        self.shape = self.shapes.get(self.leaf, ())
        self.x = x0[self.single].copy() if self.single else {k: v.copy() for k, v in x0.items()}

    def asked_step(self, oracle: Oracle, t: int) -> Leaves:
        """Call the function with its own last x and state, and with what it names."""
        asks = Asks(oracle, self.dtype)
        served = {name: getattr(asks, name) for name in self.asked}
        answer = self.update(self.x, self.s, **served, **self.keywords(t))
        if self.single:
            return self._read(answer)
        if not (isinstance(answer, tuple) and len(answer) >= 2 and isinstance(answer[0], dict)):
            raise ArgumentTypeError(
                f"other: wanted (x, state) from its call, x a dict of arrays, got {type(answer).__qualname__}"
            )
        self.x, self.s = answer[0], answer[1]
        if {k: np.shape(v) for k, v in self.x.items()} != self.shapes:
            raise ArgumentTypeError(f"other: wanted x with the shapes {self.shapes} back")
        return {k: np.array(v) for k, v in self.x.items()}

    def state(self) -> dict[str, Leaves]:
        """Return the state's arrays that are shaped like x, where x is one array."""
        return super().state() if self.single else {}


def asking_function(
    init: Callable[[Any], Any] | None,
    update: Callable[..., Any],
    kept: Mapping[str, Any],
    cls: type,
    label: str,
    needs: tuple[str, ...],
) -> Side:
    """Return the side of a function (x, state, …) that names what it is given.

    Raises
    ------
    CapabilityError
        It names nothing of `SERVED`.
    ArgumentTypeError
        It has a parameter that is neither served nor a hyperparameter, without a default.
    """
    further = {k: v for k, v in list(parameters(update).items())[2:] if k not in kept}
    asked = tuple(k for k in further if k in SERVED)
    name = getattr(cls, "registered_name", "")
    if not asked:
        raise CapabilityError(
            f"other: {name} needs more than one gradient at the current point; wanted a function (x, state) that"
            f" names what it is given among its further parameters ({', '.join(SERVED)}), for example"
            f" (x, state, {', '.join(example(needs))})"
        )
    takes = {k: v for k, v in further.items() if k not in SERVED}
    found = places(cls, takes)
    empty = inspect.Parameter.empty
    known_places = {alias for alias, _ in found.values()}
    unknown = [k for k, v in takes.items() if v is empty and k not in known_places]
    if unknown:
        raise ArgumentTypeError(
            f"other: parameter {unknown[0]!r} is neither a hyperparameter of {name} nor one of {', '.join(SERVED)},"
            " and has no default"
        )
    rate = found.get("lr", ("", None))[0]

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        given = write(cls, takes, hyper)

        def keywords(t: int) -> dict[str, Any]:
            now = given if schedule is None else {**given, rate: given[rate] * schedule(t)}
            return {**kept, **now}

        (first, *more) = x0.values()
        point = dict(x0) if more else first.copy()
        return AskingFunction(update, None if init is None else init(point), x0, keywords, asked)

    return Side(
        name=label, begin=begin, takes=frozenset(found),
        known=read(cls, {**{k: v for k, v in takes.items() if v is not empty}, **kept}),
        schedulable=bool(rate), together="layers" in needs,
    )  # fmt: skip


def example(needs: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a function for a method with these needs would name."""
    if "layers" in needs:
        return ("grad", "layers")
    if "residual" in needs:
        return ("residual", "jacobian")
    return ("grad", "prox") if "prox" in needs else ("grad", "full_grad")
