"""Parameter groups: leaves of one comparison with hyperparameters of their own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.groups import choose
from refopt.core.hyper import check_known
from refopt.verify.sides.names import places
from refopt.verify.sides.side import Leaves

# Names of leaves, and their own hyperparameters.
Part = tuple[tuple[str, ...], Mapping[str, Any]]


def check_listed(groups: Any) -> None:
    """Raise unless groups are in a list or tuple.

    Raises
    ------
    ArgumentTypeError
    """
    if isinstance(groups, (str, Mapping)) or not isinstance(groups, Sequence):
        raise ArgumentTypeError(f"param_groups: wanted a list of (leaves, hyperparameters), got {groups!r}")


def resolve(groups: Any, cls: type, x0: Leaves) -> tuple[Part, ...]:
    """Return the groups as names of leaves, what is left over as a last group without own numbers.

    Parameters
    ----------
    groups : sequence of (chooser, dict)
        A chooser as of `refopt.core.groups.choose`: a shape class (``"vectors"``), a list of
        names or patterns, or a function of name and leaf. Then hyperparameters by the reference's names.
    cls : type
        The reference's class.
    x0 : dict of arrays

    Raises
    ------
    ArgumentTypeError, ArgumentError, HyperparameterError
        Not such pairs; a group without leaves; a leaf in two groups; an unknown hyperparameter.
    """
    check_listed(groups)
    parts: list[Part] = []
    taken: set[str] = set()
    for place, group in enumerate(groups):
        if not isinstance(group, (tuple, list)) or len(group) != 2 or not isinstance(group[1], Mapping):
            raise ArgumentTypeError(f"param_groups[{place}]: wanted (leaves, hyperparameters), got {group!r}")
        names = choose(x0, group[0])
        if not names:
            raise ArgumentError(
                f"param_groups[{place}]: {group[0]!r} means none of the leaves {', '.join(x0)}"
            )
        if twice := sorted(taken & set(names)):
            raise ArgumentError(f"param_groups[{place}]: {', '.join(twice)} is in an earlier group")
        check_known(cls, dict(group[1]), getattr(cls, "registered_name", cls.__name__))
        taken |= set(names)
        parts.append((tuple(names), dict(group[1])))
    rest = tuple(k for k in x0 if k not in taken)
    return (*parts, (rest, {})) if rest else tuple(parts)


def of_leaf(parts: Sequence[Part], leaf: str) -> Mapping[str, Any]:
    """Return the hyperparameters that the group of a leaf has of its own."""
    return next(hyper for names, hyper in parts if leaf in names)


def beside(
    cls: type, given: Mapping[str, Any], hyper: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """Return those of `hyper` that a library keeps in one tuple with one of `own`."""
    where = places(cls, given)
    tuples = {where[k][0] for k in own if where[k][1] is not None}
    return {k: v for k, v in hyper.items() if where[k][0] in tuples}


def note(parts: Sequence[Part]) -> str:
    """Return what a report says of the groups."""
    said = []
    for names, hyper in parts:
        numbers = ", ".join(f"{k}={v!r}" for k, v in hyper.items())
        said.append(f"{', '.join(names)}: {numbers or 'as the rest is given'}")
    return f"Groups: {'; '.join(said)}."


class ByGroup:
    """Methods side by side, each on its own leaves; every leaf must be some method's.

    Parameters
    ----------
    parts : sequence of (names, method)
        The methods have ``init`` and ``update``.
    """

    def __init__(self, parts: Sequence[tuple[tuple[str, ...], Any]]) -> None:
        self.parts = list(parts)
        self.leaf: str | None = None
        # Of those who are followed along a tape; not looked at.
        self.now, self.noise = 0, None

    def at_leaf(self, leaf: str | None) -> ByGroup:
        """Return a copy for one leaf that is handed over as an array, or for all in a dict."""
        other = copy.copy(self)
        other.leaf = leaf
        return other

    def each_part(self, change: Callable[[Any], Any]) -> ByGroup:
        """Return the same with every method changed."""
        other = copy.copy(self)
        other.parts = [(names, change(method)) for names, method in self.parts]
        return other

    def _split(self, x: Any) -> list[tuple[list[str], Any]]:
        found = [([k for k in names if k in x], method) for names, method in self.parts]
        return [(names, method) for names, method in found if names]

    def _single(self) -> Any:
        return next(method for names, method in self.parts if self.leaf in names)

    def init(self, x: Any) -> Any:
        """Return the state: the methods' own, in their order."""
        if self.leaf is not None:
            return self._single().init(x)
        return {"parts": [method.init({k: x[k] for k in names}) for names, method in self._split(x)]}

    def update(self, x: Any, grad: Any, s: Any) -> Any:
        """Make every method's step on its leaves."""
        if self.leaf is not None:
            return self._single().update(x, grad, s)
        new: dict[str, Any] = {}
        states = []
        for (names, method), state in zip(self._split(x), s["parts"]):
            moved, after = method.update({k: x[k] for k in names}, {k: grad[k] for k in names}, state)
            new.update(moved)
            states.append(after)
        return {k: new[k] for k in x}, {"parts": states}


def ignored(parts: Sequence[Part]) -> list[tuple[str, str, tuple[Part, ...]]]:
    """Return ways in which groups are known to go wrong: name, clause, and the groups as they then are."""
    out: list[tuple[str, str, tuple[Part, ...]]] = [
        ("groups-ignored", "with no group's own hyperparameters", tuple((n, {}) for n, _ in parts))
    ]
    first = parts[0][1]
    out.append(("first-group-everywhere", "with the first group's hyperparameters everywhere",
                tuple((n, first) for n, _ in parts)))  # fmt: skip
    last = parts[-1][1]
    out.append(("last-group-everywhere", "with the last group's hyperparameters everywhere",
                tuple((n, last) for n, _ in parts)))  # fmt: skip
    if len(parts) == 2:
        (a, one), (b, two) = parts
        out.append(
            ("groups-exchanged", "with the two groups' hyperparameters exchanged", ((a, two), (b, one)))
        )
    for key in dict.fromkeys(k for _, hyper in parts for k in hyper):
        left = tuple((n, {k: v for k, v in hyper.items() if k != key}) for n, hyper in parts)
        out.append((f"group-{key}-ignored", f"with no group's own {key}", left))
    return out
