"""From a name to an object: `refopt.optimizer`, `refopt.schedule` and `refopt.problem`."""

from __future__ import annotations

import dataclasses
from typing import Any

from refopt.core.errors import ArgumentTypeError, HyperparameterError, UnknownNameError, nearest
from refopt.core.groups import ParameterGroups, changed
from refopt.core.guard import explained
from refopt.core.hyper import advice, check_known
from refopt.core.method import Method
from refopt.core.registry import STEPPING, Entry, entry, methods


def optimizer(name: str, *, dialect: str = "paper", groups: Any = None, **hyperparameters: Any) -> Method:
    """Return an optimizer, wrapper, estimator or bilevel method by name.

    Parameters
    ----------
    name : str
        A registered name; ``refopt list`` shows them.
    dialect : str
        ``"paper"``, or the name of a library whose choices to make (``"torch"``, ``"optax"``,
        ``"keras"``, ``"official"``, … as the method lists them).
    groups : list of pairs, optional
        Hyperparameters of some leaves: ``[("*.bias", {"weight_decay": 0.0})]``; the leaves by a pattern of their
        names, a shape class (``"vectors"``, ``"matrices"``, ``"matrices-and-kernels"``), a list of patterns, or a
        function of name and leaf. A later pair wins. A wrapper's groups are its base's.
    hyperparameters
        The method's own; they win over the dialect's. For a wrapper or an estimator, those that it does not know
        go to its ``base``, which is a method or the name of one.

    Returns
    -------
    Method
        With ``init(x)``, ``step(x, s, oracle)`` and, where gradients are enough,
        ``update(x, grad, s)``.

    Raises
    ------
    UnknownNameError
        No such method or dialect; the message has the nearest names.
    HyperparameterError, ArgumentError, ArgumentTypeError
        An unknown hyperparameter, or one out of its range.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adam", lr=0.1)
    >>> x = np.array([1.0, -2.0])
    >>> s = o.init(x)
    >>> x, s = o.update(x, np.array([3.0, -0.5]), s)
    >>> print(x.round(6))
    [ 0.9 -1.9]
    """
    found = entry(name, STEPPING)
    cls, given = found.obj, _settings(found, dialect, hyperparameters)
    if "base" in cls.__dataclass_fields__:
        if groups is not None:
            given = {**given, "groups": groups}
        # A schedule is of the rate, and the rate is the base's.
        own = {f.name for f in dataclasses.fields(cls)} - {"schedule"}
        base = given.get("base", next(f.default for f in dataclasses.fields(cls) if f.name == "base"))
        passed_on = {k: v for k, v in given.items() if k not in own}
        if isinstance(base, str):
            inner = entry(base, STEPPING)
            theirs = {f.name for f in dataclasses.fields(inner.obj)}
            for key in passed_on:
                # What a wrapper does not know it hands on in its turn.
                if key not in theirs and "base" not in theirs and key != "groups":
                    raise HyperparameterError(
                        f"{name}, around {base}, has no hyperparameter {key!r}.{advice(key, own | theirs)} {name} has:"
                        f" {', '.join(sorted(own))}; {base}: {', '.join(sorted(theirs))}"
                    )
            base = optimizer(base, **passed_on)
        elif passed_on:
            raise ArgumentTypeError(
                f"{name}: {', '.join(passed_on)} would go to its base, which is built already: {base!r}."
                f"{''.join(nearest(key, own) for key in passed_on)}"
            )
        given, groups = {**{k: v for k, v in given.items() if k in own}, "base": base}, None
    check_known(cls, given, name)
    method = _built(cls, found, dialect, given, hyperparameters)
    return method if groups is None else ParameterGroups(base=method, groups=groups)


def _built(cls: Any, found: Entry, dialect: str, given: dict[str, Any], by_user: dict[str, Any]) -> Method:
    """Return the method; what treats its remaining leaves follows a rate or schedule that the user gave."""
    if "others" in cls.__dataclass_fields__ and by_user.keys() & {"lr", "schedule"}:
        return changed(cls(**found.dialects[dialect].settings), by_user)
    return explained(cls, found.name, given, (), given)


def _settings(found: Entry, dialect: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return a dialect's settings with what was given over them."""
    if not isinstance(dialect, str) or dialect not in found.dialects:
        raise UnknownNameError(
            f"{found.name} has no dialect {dialect!r}.{nearest(str(dialect), found.dialects)} It has:"
            f" {', '.join(found.dialects)}"
        )
    return {**found.dialects[dialect].settings, **given}


def schedule(name: str, *, dialect: str = "paper", **parameters: Any) -> Any:
    """Return a schedule by name: a function of the step, for ``schedule=`` of any method.

    Parameters
    ----------
    name : str
        A registered name of kind ``schedule``.
    dialect : str
        ``"paper"``, or the name of a library whose choices to make.
    parameters
        The schedule's own, as in its docstring.

    Returns
    -------
    Schedule
        Called with t = 1, 2, ..., it returns the multiplier of the rate.

    Raises
    ------
    UnknownNameError, HyperparameterError, ArgumentError, ArgumentTypeError

    Examples
    --------
    >>> import refopt
    >>> eta = refopt.schedule("cosine-warm-restarts", period=10)
    >>> eta(1), eta(11)
    (1.0, 1.0)
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "sgd", lr=1.0, schedule=eta, steps=20)
    """
    found = entry(name, ("schedule",))
    cls, given = found.obj, _settings(found, dialect, parameters)
    check_known(cls, given, name)
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING and field.name not in given:
            raise HyperparameterError(
                f"{name}: {field.name} must be given: {field.metadata.get('words', '')}"
            )
    return cls(**given)


def problem(name: str, **parameters: Any) -> Any:
    """Return a problem of the zoo by name.

    Parameters
    ----------
    name : str
        A registered name of kind ``problem``.
    parameters
        The problem's own, as in its docstring.

    Returns
    -------
    object
        With the capabilities that its page lists (`refopt.core.problem.CAPABILITIES`).

    Raises
    ------
    UnknownNameError, ArgumentTypeError, ArgumentError

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=5, condition_number=10.0)
    >>> p.optimum
    0.0
    """
    cls = entry(name, ("problem",)).obj
    import inspect

    known = inspect.signature(cls).parameters
    for key in parameters:
        if key not in known:
            raise ArgumentTypeError(
                f"problem {name!r} has no parameter {key!r}.{nearest(key, known)} It has: {', '.join(known)}"
            )
    return cls(**parameters)


def problems_with(needs: tuple[str, ...]) -> list[str]:
    """Return the names of registered problems whose class offers all of `needs`.

    Parameters
    ----------
    needs : tuple of str

    Returns
    -------
    list of str
    """
    from refopt.core.problem import offers

    def has(cls: Any, capability: str) -> bool:
        return (capability == "least_squares" and hasattr(cls, capability)) or offers(cls, capability)

    return [m.name for m in methods("problem") if all(has(m.obj, n) for n in needs)]
