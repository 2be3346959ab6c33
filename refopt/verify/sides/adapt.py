"""From whatever is handed to `compare` to a `Side`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError
from refopt.core.method import Method
from refopt.verify.sides.functions import asking_function, function_side, label_of, method_side, positional
from refopt.verify.sides.keras import keras_side
from refopt.verify.sides.loops import loop_side, owns_loop
from refopt.verify.sides.modules import module_side
from refopt.verify.sides.objects import object_side, owning, stepper
from refopt.verify.sides.optax import GradFnRun, optax_side
from refopt.verify.sides.program import program_side
from refopt.verify.sides.side import Side, ancestors, unwrap
from refopt.verify.sides.torch import ClosureRun, torch_side

WANTED = (
    "a torch.optim class or instance (or a function of the parameters that makes one), an optax"
    " transformation or the function that makes it, a Keras optimizer, a refopt method, a function"
    " (x, g, state) -> (x, state), a class or instance with update(params, grads), or a class of the parameters with"
    " update(grads), on dicts, lists or arrays, a function minimize(f, x0, grad) with a loop of its own,"
    " a pair (init, update) of functions init(x) and update(x, g, state),"
    " or the command line of a program (a list of str)"
)


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
    if stepper(inner):
        return object_side(inner, kept, cls, label)
    if (owned := owning(inner)) is not None:
        return object_side(owned, kept, cls, label)
    if callable(inner):
        return _callable_side(inner, kept, cls, label)
    raise ArgumentTypeError(
        f"other: wanted {WANTED}, got {type(other).__module__}.{type(other).__qualname__}"
    )


def _callable_side(fn: Any, kept: Mapping[str, Any], cls: type, label: str) -> Side:
    if owns_loop(fn):
        return loop_side(fn, kept, cls, label)
    names = [n for n in positional(fn) if n not in kept]
    if len(names) >= 3:
        return function_side(None, fn, kept, cls, label)
    if len(names) == 1:
        return torch_side(fn, kept, cls, label)
    raise ArgumentError(f"other: a callable of {len(names)} arguments ({', '.join(names)}); wanted {WANTED}")


def asking_side(other: Any, cls: type, needs: tuple[str, ...]) -> Side:
    """Return `other` as a side that asks.

    Parameters
    ----------
    other : object
        A function or a pair (init, update) as `asking_function` takes it; a refopt method; a torch
        optimizer, whose ``step`` is given a closure; an optax transformation, which is given ``grad_fn``;
        for K-FAC a function of a torch module (`refopt.verify.sides.modules`).
    cls : type
        The reference's class: where hyperparameters are looked up.
    needs : tuple of str

    Raises
    ------
    ArgumentTypeError, CapabilityError
    """
    if isinstance(other, Side):
        return other
    if isinstance(other, Method):
        return method_side(other)
    inner, kept = unwrap(other)
    label, kin = label_of(inner), ancestors(inner)
    if ("torch", "Optimizer") in kin:
        return torch_side(inner, kept, cls, label, run=ClosureRun)
    if isinstance(inner, tuple) and hasattr(inner, "init") and hasattr(inner, "update"):
        return optax_side(inner, kept, cls, "an optax transformation", run=GradFnRun)
    if isinstance(inner, tuple) and len(inner) == 2 and all(callable(f) for f in inner):
        return asking_function(inner[0], inner[1], kept, cls, label_of(inner[1]), needs)
    if hasattr(inner, "init") and hasattr(inner, "update"):
        return asking_function(inner.init, inner.update, kept, cls, label, needs)
    if callable(inner) and not isinstance(inner, (str, list)):
        wanted = [n for n in positional(inner) if n not in kept]
        if wanted[:1] in (["model"], ["module"], ["net"]):
            return module_side(inner, kept, cls, label)
        if len(wanted) == 1:
            return torch_side(inner, kept, cls, label, run=ClosureRun)
        return asking_function(None, inner, kept, cls, label, needs)
    raise CapabilityError(
        f"other: {type(other).__qualname__} cannot be asked along; {getattr(cls, 'registered_name', '')} needs more"
        " than one gradient at the current point: wanted a function (x, state, …), a torch optimizer, an optax"
        " transformation or a refopt method"
    )
