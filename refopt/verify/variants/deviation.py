"""Deviations: named ways in which implementations of one rule are known to go wrong or their own way.

A deviation changes a reference method into the one that has the fault. There are five stages, so that
two of them can be combined: the source itself (``rule``; `refopt.verify.variants.text_edit`), hyperparameters
(``settings``), the functions and numbers that the rule is made of (``text``), the number of the step
that it sees (``counter``), and what stands around a step (``step``). Choices that a method declares as switches, and dialects, need no entry
here: `diagnose` finds them in the registry.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from refopt.core.method import LeafRule, Method
from refopt.core.params import Params, map_leaves
from refopt.optimizers.common.averages import ema

# STAGES: the order in which changes are applied. PLAIN: the order in which they are reported.
PLAIN = ("settings", "counter", "step", "text", "rule")
STAGES = ("rule", "settings", "text", "counter", "step")


@dataclass(frozen=True)
class Deviation:
    """One deviation.

    Parameters
    ----------
    name : str
        In lower case with hyphens.
    what : str
        A clause that ends "adam …": ``"without bias correction"``.
    stage : {"rule", "settings", "text", "counter", "step"}
    change : callable
        ``change(method)`` returns the changed method, an object with ``init`` and ``update``; None where
        the deviation does not apply to it.
    seen : tuple of str
        Releases known to have it, ``"pytorch-optimizer 2.7.0 SGDP (fixed in 2.8.0)"``.
    only : tuple of str
        The methods that it is about; empty: every method that it applies to.
    """

    name: str
    what: str
    stage: str
    change: Callable[[Any], Any]
    seen: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


_known: dict[str, Deviation] = {}


def deviation(
    name: str,
    what: str,
    *,
    stage: str,
    seen: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Register the decorated function as the change of a deviation; see `Deviation`."""

    def add(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
        _known[name] = Deviation(name, what, stage, change, seen, only)
        return change

    return add


def known(method: str | None = None) -> list[Deviation]:
    """Return all deviations, or those that may concern one method, the plainest first.

    Those that are about single methods come before those for all: they are what was really seen.

    Parameters
    ----------
    method : str, optional
        A registered name.
    """
    package = importlib.import_module("refopt.verify.variants.known")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"refopt.verify.variants.known.{module.name}")
    found = [d for d in _known.values() if method is None or not d.only or method in d.only]
    return sorted(found, key=lambda d: (not d.only, PLAIN.index(d.stage)))


# --- building blocks -------------------------------------------------------------------------------


def fields(method: Any) -> dict[str, Any]:
    """Return a method's hyperparameters; empty for something that is not one."""
    if not dataclasses.is_dataclass(method):
        return {}
    return {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}


def altered(method: Any, **values: Any) -> Any:
    """Return `method` with other hyperparameters, in or out of their ranges; None if it lacks one."""
    have = fields(method)
    if not have or any(k not in have for k in values) or all(have[k] == v for k, v in values.items()):
        return None
    other = copy.copy(method)
    for k, v in values.items():
        object.__setattr__(other, k, v)
    return other


def rewritten(method: Any, **members: Any) -> Any:
    """Return `method` with some of its functions replaced.

    A member is called with the instance, like a method; ``super`` is the original, kept under
    ``original``.
    """
    if not isinstance(method, Method):
        return None
    cls = type("Changed" + type(method).__name__, (type(method),), {"original": type(method), **members})
    other = copy.copy(method)
    object.__setattr__(other, "__class__", cls)
    return other


_patching = threading.RLock()


@contextlib.contextmanager
def patched(cls: type, name: str, value: Any) -> Iterator[bool]:
    """Replace a shared function in the modules of `cls` and its bases, inside the block only."""
    with _patching:
        homes = [
            sys.modules[c.__module__] for c in cls.__mro__ if c.__module__.startswith("refopt.optimizers")
        ]
        held = [m for m in dict.fromkeys(homes) if name in vars(m)]
        before = [vars(m)[name] for m in held]
        for m in held:
            setattr(m, name, value)
        try:
            yield bool(held)
        finally:
            for m, old in zip(held, before):
                setattr(m, name, old)


def with_shared(method: Any, name: str, make: Callable[[Any], Any]) -> Any:
    """Return `method` with the shared function `name` replaced by ``make(method)``; None if it has none."""
    if not isinstance(method, Method):
        return None
    cls = type(method)
    with patched(cls, name, None) as there:
        if not there:
            return None
    replacement = make(method)

    def update(self: Any, x: Params, grad: Params, s: Any, *, donate: bool = False) -> Any:
        with patched(cls, name, replacement):
            return cls.update(self, x, grad, s)

    def init(self: Any, x: Params) -> Any:
        with patched(cls, name, replacement):
            return cls.init(self, x)

    def step(self: Any, x: Params, s: Any, oracle: Any) -> Any:
        with patched(cls, name, replacement):
            return cls.step(self, x, s, oracle)

    return rewritten(method, update=update, init=init, step=step)


class Namespace:
    """A namespace in which some functions are replaced."""

    def __init__(self, xp: Any, **replaced: Callable[..., Any]) -> None:
        self._xp = xp
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)


def with_namespace(method: Any, make: Callable[[Any, Any], dict[str, Callable[..., Any]]]) -> Any:
    """Return `method` with functions of its rule's namespace replaced: ``make(method, xp)`` names them."""
    if not isinstance(method, LeafRule):
        return None
    cls = type(method)

    def rule(self: Any, xp: Any) -> Any:
        return cls.rule(self, Namespace(xp, **make(method, xp)))

    return rewritten(method, rule=rule)


def with_numbers(method: Any, change: Callable[[Any, int, dict[str, float]], dict[str, float]]) -> Any:
    """Return `method` with its step's numbers changed: ``change(method, t, numbers)``."""
    if not isinstance(method, LeafRule):
        return None
    cls = type(method)

    def numbers(self: Any, t: int, carried: Any) -> dict[str, float]:
        return change(self, t, cls.numbers(self, t, carried))

    return rewritten(method, numbers=numbers)


class Around:
    """A method with something around its step; a subclass overrides `update`."""

    def __init__(self, method: Any) -> None:
        self.method = method

    def init(self, x: Params) -> Any:
        """Return the method's state."""
        return self.method.init(x)

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Make the method's step."""
        return self.method.update(x, grad, s)

    def __getattr__(self, name: str) -> Any:
        if name == "method":
            raise AttributeError(name)
        return getattr(self.method, name)


def around(update: Callable[[Any, Params, Params, Any], tuple[Params, Any]]) -> Callable[[Any], Any]:
    """Make a change of stage ``step`` from ``update(method, x, grad, s)``."""

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            return update(self.method, x, grad, s)

    return Changed


def blended(average: Params, new: Params, beta: float) -> Params:
    """Return the exponential average after `new`, leaf by leaf."""
    return map_leaves(lambda a, b: ema(a, b, beta, 1.0 - beta), average, new)


def innermost(method: Any) -> Any:
    """Return the refopt method inside what stands around it."""
    while isinstance(method, Around):
        method = method.method
    return method


def refit(method: Any, inner: Any) -> Any:
    """Return `method` with another method inside what stands around it."""
    if not isinstance(method, Around):
        return inner
    other = copy.copy(method)
    other.method = refit(method.method, inner)
    return other
