"""Hyperparameters under other libraries' names."""

from __future__ import annotations

import dataclasses
import inspect
import numbers
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

# The reference's name, and what libraries call it. A library's own use of a reference name wins.
ALIASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lr": ("learning_rate", "learning_rate_init", "step_size", "stepsize", "eta", "alpha"),
        "beta": ("momentum", "mu", "beta1"),
        "beta1": ("b1", "beta_1", "rho1"),
        "beta2": ("b2", "beta_2", "rho2", "alpha", "rho", "decay", "decay_rate", "gamma", "beta"),
        "beta3": ("b3", "beta_3"),
        "eps": ("epsilon",),
        "rho": ("decay", "decay_rate", "gamma"),
        "weight_decay": ("wd", "weight_decay_rate", "l2", "lmbda", "lam"),
        "momentum": ("mu", "beta", "mass", "gamma"),
        "initial": ("initial_accumulator_value", "initial_scale", "learning_rate", "lr"),
        "rate_decay": ("lr_decay",),
        "trust": ("trust_coefficient", "trust_coeff", "eta"),
        "shampoo_beta": ("shampoo_beta",),
        "update_every": ("precondition_frequency", "preconditioning_compute_steps", "update_proj_gap"),
    }
)


# Greek letters that stand for a rate in one library and for an average's weight in another: rates are small.
SMALL = frozenset({("lr", "alpha")})


LARGE = frozenset({("beta2", "alpha"), ("beta2", "gamma"), ("rho", "gamma"), ("momentum", "gamma")})


LARGEST_RATE = 0.5


# A single beta is the weight of the squares' average where a method has one and no average of gradients.
SINGLE = frozenset({("beta2", "beta"), ("momentum", "beta")})


# Libraries give these together, in this order.
BETAS = ("beta1", "beta2", "beta3")


def _takes(cls: type, name: str, value: Any) -> bool:
    """Tell whether the reference's hyperparameter `name` could have such a value."""
    from refopt.core.errors import RefoptError
    from refopt.core.hyper import check_number

    field = {f.name: f for f in dataclasses.fields(cls)}.get(name)
    if field is None:
        return False
    allowed = field.metadata.get("allowed")
    if isinstance(allowed, tuple):
        return any(type(value) is type(a) and value == a for a in allowed)
    if isinstance(allowed, str):
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            try:
                check_number(value, allowed, name)
            except RefoptError:
                return False
            return True
        return False
    return False


def places(cls: type, given: Mapping[str, Any]) -> dict[str, tuple[str, int | None]]:
    """Find the reference's hyperparameters of `cls` among a library's.

    Parameters
    ----------
    cls : type
        The reference's class.
    given : mapping
        The library's names and default values (anything where a default is missing).

    Returns
    -------
    dict of str to (str, int or None)
        Reference name: library name, and the place in a tuple such as ``betas``.
    """
    fields = [f.name for f in dataclasses.fields(cls) if f.init]
    found: dict[str, tuple[str, int | None]] = {}
    betas = given.get("betas")
    claimed: set[str] = set()
    for name in fields:
        if "betas" in given and name in BETAS:
            place = BETAS.index(name)
            if not isinstance(betas, (tuple, list)) or place < len(betas):
                found[name] = ("betas", place)
            continue
        for alias in (name, *ALIASES.get(name, ())):
            # A name that the reference uses for something else is not an alias.
            if (
                alias in claimed
                or alias not in given
                or (alias != name and alias in fields and _takes(cls, alias, given[alias]))
            ):
                continue
            if (name, alias) in SINGLE and name != _single(fields):
                continue
            default = given[alias]
            told = default is not inspect.Parameter.empty and default is not None
            if (name, alias) in SMALL | LARGE and not (
                told
                and isinstance(default, numbers.Real)
                and (default < LARGEST_RATE) == ((name, alias) in SMALL)
            ):
                continue
            if not told or _takes(cls, name, default):
                found[name] = (alias, None)
                claimed.add(alias)
                break
    return found


def _single(fields: list[str]) -> str:
    """Return which hyperparameter a library's single ``beta`` is."""
    return "beta2" if "beta2" in fields and "beta1" not in fields else "momentum"


def unread(cls: type, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a library's numbers that are none of the reference's hyperparameters."""
    found = {alias for alias, _ in places(cls, given).values()}
    return tuple(
        k for k, v in given.items()
        if k not in found and isinstance(v, numbers.Real) and not isinstance(v, bool)
    )  # fmt: skip


def parameters(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the names and defaults of a callable's parameters; empty where it tells none."""
    try:
        return {
            # torch before 2.0 marks a parameter without a default by an object of its own.
            p.name: p.empty if type(p.default).__name__ == "_RequiredParameter" else p.default
            for p in inspect.signature(fn).parameters.values()
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
    except (TypeError, ValueError):
        return {}


def read(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a library's hyperparameters under the reference's names, those that have a value that fits."""
    out = {}
    for name, (alias, place) in places(cls, values).items():
        value = values[alias] if place is None else values[alias][place]
        if value is inspect.Parameter.empty:
            continue
        if value is None and name == "weight_decay":
            value = 0.0
        if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            value = value.item()
        if _takes(cls, name, value):
            out[name] = value
    return out


def write(cls: type, given: Mapping[str, Any], hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Return `hyper`, in the reference's names, as a library's keywords.

    A tuple's other places keep the library's values.
    """
    where = places(cls, given)
    out: dict[str, Any] = {}
    for name, value in hyper.items():
        alias, place = where[name]
        if place is None:
            out[alias] = value
        else:
            default = given[alias] if isinstance(given[alias], (tuple, list)) else (0.9, 0.999)
            row = list(out.get(alias, default))
            row[place] = value
            out[alias] = tuple(row)
    return out
