"""From whatever is handed to `compare` to a `Side`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.method import Method
from refopt.core.oracle import Oracle
from refopt.core.params import leaves, rebuild
from refopt.verify.curvature import product
from refopt.verify.for_keras import keras_side
from refopt.verify.frameworks import ancestors, optax_side, torch_side, unwrap
from refopt.verify.names import parameters, places, read, write
from refopt.verify.sides import Leaves, Run, Schedule, Side

WANTED = (
    "a torch.optim class or instance (or a function of the parameters that makes one), an optax"
    " transformation or the function that makes it, a Keras optimizer, a refopt method, a function"
    " (x, g, state) -> (x, state), a pair (init, update) of functions init(x) and update(x, g, state),"
    " or the command line of a program (a list of str)"
)


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
        return ["It writes into the gradient that it is given."] if self.overwrites else []

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
    )


class MethodRun(Run):
    """A refopt method (or anything with its ``init`` and ``update``)."""

    def __init__(self, method: Any, x0: Leaves) -> None:
        self.method = method
        self.x: Any = {k: v.copy() for k, v in x0.items()}
        self.s = method.init(self.x)

    def step(self, g: Leaves, t: int) -> Leaves:
        """Update."""
        self.x, self.s = self.method.update(self.x, g, self.s)
        return {k: np.array(v) for k, v in self.x.items()}

    def asked_step(self, oracle: Oracle, t: int) -> Leaves:
        """Step."""
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


def side(other: Any, cls: type) -> Side:
    """Return `other` as a side of a comparison with the reference class `cls`.

    Raises
    ------
    ArgumentTypeError
        Nothing that this knows how to run.
    """
    if isinstance(other, Side):
        return other
    if isinstance(other, Method):
        return method_side(other)
    if isinstance(other, (list, str)):
        from refopt.verify.program import program_side

        return program_side(other, method=getattr(cls, "registered_name", ""))
    inner, kept = unwrap(other)
    label, kin = label_of(inner), ancestors(inner)
    if ("torch", "Optimizer") in kin:
        return torch_side(inner, kept, cls, label)
    if ("keras", "BaseOptimizer") in kin or ("keras", "Optimizer") in kin:
        return keras_side(inner, kept, cls, label)
    if isinstance(inner, tuple) and hasattr(inner, "init") and hasattr(inner, "update"):
        return optax_side(inner, kept, cls, "an optax transformation")
    if isinstance(inner, tuple) and len(inner) == 2 and all(callable(f) for f in inner):
        return function_side(inner[0], inner[1], kept, cls, label_of(inner[1]))
    if callable(inner) and (getattr(inner, "__module__", "") or "").partition(".")[0] == "optax":
        return optax_side(inner, kept, cls, label)
    if hasattr(inner, "init") and hasattr(inner, "update"):
        return function_side(inner.init, inner.update, kept, cls, label)
    if callable(inner):
        return _callable_side(inner, kept, cls, label)
    raise ArgumentTypeError(
        f"other: wanted {WANTED}, got {type(other).__module__}.{type(other).__qualname__}"
    )


def _callable_side(fn: Any, kept: Mapping[str, Any], cls: type, label: str) -> Side:
    names = [n for n in positional(fn) if n not in kept]
    if len(names) >= 3:
        return function_side(None, fn, kept, cls, label)
    if len(names) == 1:
        return torch_side(fn, kept, cls, label)
    raise ArgumentError(f"other: a callable of {len(names)} arguments ({', '.join(names)}); wanted {WANTED}")


__all__ = ["MethodRun", "label_of", "rebuild", "side", "slots"]
