"""Groups of leaves: which leaves are meant, and a method whose hyperparameters differ between them."""

from __future__ import annotations

import dataclasses
import fnmatch
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from refopt.core.arrays import Array
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import SHAPE_CLASSES, check_chooser, check_known, check_number, hyper
from refopt.core.method import GradientMethod, Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_like, check_start, leaves, rebuild, zeros_like

Chooser = str | Sequence[str] | Callable[[str, Array], bool]

_OF_SHAPE: tuple[Callable[[Array], bool], ...] = (
    lambda leaf: True,
    lambda leaf: False,
    lambda leaf: leaf.ndim <= 1,
    lambda leaf: leaf.ndim == 2,
    lambda leaf: leaf.ndim >= 2,
)
SHAPES = dict(zip(SHAPE_CLASSES, _OF_SHAPE, strict=True))


def choose(x: Params, chooser: Chooser) -> list[str]:
    """Return the names of the leaves that `chooser` means.

    Parameters
    ----------
    x : array or dict of arrays
    chooser : str, sequence of str, or callable
        A shape class (``"all"``, ``"none"``, ``"vectors"``, ``"matrices"``, ``"matrices-and-kernels"``);
        names or patterns (``["embed*", "head"]``); or a function of name and leaf.

    Raises
    ------
    ArgumentError
        An unknown shape class.
    ArgumentTypeError
        Neither of these.
    """
    named = leaves(x)
    check_chooser(chooser, "group")
    if isinstance(chooser, str):
        return [k for k, v in named.items() if SHAPES[chooser](v)]
    if callable(chooser):
        return [k for k, v in named.items() if chooser(k, v)]
    return [k for k in named if any(fnmatch.fnmatchcase(k, p) for p in chooser)]


def pick(x: Params, names: list[str]) -> dict[str, Array]:
    """Return the named leaves."""
    named = leaves(x)
    return {k: named[k] for k in names}


@dataclasses.dataclass(frozen=True)
class Multiple:
    """A rate that is a multiple of another, which is a function of the step."""

    rate: Callable[[int], float]
    factor: float

    def __call__(self, t: int) -> float:
        """Return the rate of step t."""
        return self.factor * self.rate(t)


def changed(method: Method, settings: Mapping[str, Any]) -> Method:
    """Return `method` with other settings; the method of its remaining leaves follows rate and schedule.

    ``others`` (Muon's Adam of biases, say) keeps its ratio to the rate, and takes the schedule, unless `settings`
    has an ``others`` of its own.
    """
    settings = dict(settings)
    others = getattr(method, "others", None)
    if "others" not in settings and isinstance(others, Method) and others.has_rate:
        follows: dict[str, Any] = {}
        mine, its, lr = getattr(method, "lr", None), getattr(others, "lr", None), settings.get("lr")
        if lr is not None and isinstance(mine, float) and isinstance(its, float) and mine > 0.0:
            factor = its / mine
            if callable(lr):
                follows["lr"] = lr if factor == 1.0 else Multiple(lr, factor)
            elif isinstance(lr, numbers.Real):
                check_number(lr, "[0, inf)", "lr")
                follows["lr"] = float(lr) if factor == 1.0 else its * (float(lr) / mine)
        if settings.get("schedule") is not None and others.schedule is None:
            follows["schedule"] = settings["schedule"]
        if follows:
            check_known(type(method), settings, method.registered_name)
            dataclasses.replace(method, **settings)  # its own errors first, by its own name
            settings["others"] = dataclasses.replace(others, **follows)
    return dataclasses.replace(method, **settings)


# What a group can ask for by itself: the rest of x stands where the step begins.
ASKED = ("value", "grad", "hvp")


class ParameterGroups(Method):
    """One method whose hyperparameters differ from group to group of leaves.

    Each group is a run of the method by itself: what the method takes over all parameters (a norm, Prodigy's
    distance) it takes over the group. A method that asks for the gradient alone asks once for all groups; from one that
    asks for more, every group asks by itself, while the other groups stand where the step began.
    """

    base: Any = hyper(words="The method.", kind="Method")
    groups: Any = hyper(
        words="Pairs of the leaves that are meant (a pattern of names such as ``\"*.bias\"``, a shape class such as"
        " ``\"vectors\"``, a list of patterns, or a function of name and leaf) and a dict of hyperparameters for them. A"
        " leaf takes those of all pairs that mean it, a later pair's over an earlier one's.",
        kind="sequence of (leaves, dict)")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        name = self.base.registered_name
        if asked := [n for n in self.base.needs if n not in ASKED]:
            raise ArgumentError(
                f"groups: {name} asks for {', '.join(asked)}, which has no part for a group of leaves"
            )
        object.__setattr__(self, "groups", checked(self.base, self.groups))
        object.__setattr__(self, "registered_name", name)

    @property
    def needs(self) -> tuple[str, ...]:
        """The method's needs."""
        return self.base.needs

    def parts(self, x: Params) -> list[tuple[Method, list[str]]]:
        """Return the method of each group and the names of its leaves, in the order of x."""
        key = tuple((name, tuple(leaf.shape)) for name, leaf in leaves(x).items())
        kept = self.__dict__.get("_parts")
        if kept is None or kept[0] != key:
            kept = key, self._split(x)
            object.__setattr__(self, "_parts", kept)
        return kept[1]

    def _split(self, x: Params) -> list[tuple[Method, list[str]]]:
        meant = [(set(_meant(x, chooser)), settings) for chooser, settings in self.groups]
        for (chooser, _), (names, _) in zip(self.groups, meant):
            if not names:
                raise ArgumentError(
                    f"groups: {chooser!r} means no leaf of x, whose leaves are {', '.join(leaves(x)) or '(none)'}"
                )
        # Leaves with the same settings are one group, whichever pairs gave them.
        parts: list[tuple[dict[str, Any], list[str]]] = []
        for name in leaves(x):
            own = {k: v for names, settings in meant if name in names for k, v in settings.items()}
            same = next((names for settings, names in parts if settings == own), None)
            if same is None:
                parts.append((own, [name]))
            else:
                same.append(name)
        return [(changed(self.base, settings), names) for settings, names in parts]

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: that of each group's method, by its number."""
        x = check_start(x, "x")
        parts = enumerate(self.parts(x))
        return {"t": 0, "groups": {str(i): m.init(_of(x, names)) for i, (m, names) in parts}}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make each group's step from `x`."""
        if self._by_gradient:
            return self.update(x, oracle.grad(x), s)

        def ask(method: Method, names: list[str], state: State) -> tuple[Params, State]:
            part = _of(x, names)
            return method.step(part, state, _Part(oracle, x, part))

        return self._each(x, s, ask)

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Make each group's step from a gradient, where the method needs nothing else."""
        if not isinstance(s, dict) or "groups" not in s:
            raise ArgumentTypeError(
                f"s: wanted a state of {self.registered_name} with groups, from init or the last update"
            )
        if (done := self._unusual(x, grad, s, donate)) is not None:
            return done
        check_like(grad, x, "grad")
        return self._each(
            x, s, lambda method, names, state: method.update(_of(x, names), _of(grad, names), state, donate=donate)
        )  # fmt: skip

    @property
    def _by_gradient(self) -> bool:
        return isinstance(self.base, GradientMethod) and self.base.given == ("g",)

    def _each(
        self, x: Params, s: State, make: Callable[[Method, list[str], State], tuple[Params, State]]
    ) -> tuple[Params, State]:
        new_x, new_s = {}, {}
        for i, (method, names) in enumerate(self.parts(x)):
            part, new_s[str(i)] = make(method, names, s["groups"][str(i)])
            new_x.update(leaves(part))
        return rebuild(x, {name: new_x[name] for name in leaves(x)}), {"t": s["t"] + 1, "groups": new_s}


def checked(base: Method, groups: Any) -> tuple[tuple[Any, dict[str, Any]], ...]:
    """Return groups as pairs, or raise unless each names leaves and settings that `base` has."""
    if isinstance(groups, (str, bytes, Mapping)) or not isinstance(groups, Sequence):
        raise ArgumentTypeError(f"groups: wanted a list of pairs (leaves, settings), got {groups!r}")
    for pair in groups:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise ArgumentTypeError(f"groups: wanted pairs (leaves, settings), got {pair!r}")
        chooser, settings = pair
        if not isinstance(settings, Mapping):
            raise ArgumentTypeError(f"groups: the settings of {chooser!r}: wanted a dict, got {settings!r}")
        if not callable(chooser) and not isinstance(chooser, (str, Sequence)):
            raise ArgumentTypeError(
                f"groups: wanted a pattern, a list of them or a function, got {chooser!r}"
            )
        check_known(type(base), dict(settings), f"groups: {base.registered_name}")
        changed(base, settings)
    return tuple((chooser, dict(settings)) for chooser, settings in groups)


def _meant(x: Params, chooser: Any) -> list[str]:
    """Return the leaves that a pair means: a text that is no shape class is a pattern."""
    return choose(x, [chooser] if isinstance(chooser, str) and chooser not in SHAPES else chooser)


def _of(x: Params, names: list[str]) -> Params:
    """Return the named leaves in the form of x."""
    return pick(x, names) if isinstance(x, dict) else x


class _Part(Oracle):
    """What one group sees of an oracle: the problem as a function of its leaves."""

    def __init__(self, inner: Oracle, x: Params, part: Params) -> None:
        self.__dict__.update(inner.__dict__)
        self._inner, self._x, self._start = inner, x, part

    @property
    def rng(self) -> Any:
        """The step's random numbers, which all groups draw from in turn."""
        return self._inner.rng

    def _whole(self, part: Params, rest: Params) -> Params:
        return {**rest, **part} if isinstance(rest, dict) else part

    def _point(self, part: Params) -> Params:
        # The same object where all groups ask, so that they share one gradient.
        return self._x if part is self._start else self._whole(part, self._x)

    def value(self, x: Params) -> float:
        """Return f where the group is at x."""
        return self._inner.value(self._point(x))

    def grad(self, x: Params) -> Params:
        """Return the group's part of the gradient."""
        return _of(self._inner.grad(self._point(x)), list(leaves(x)))

    def value_and_grad(self, x: Params) -> tuple[float, Params]:
        """Return both."""
        return self.value(x), self.grad(x)

    def hvp(self, x: Params, v: Params) -> Params:
        """Return the group's diagonal block of the Hessian times v."""
        full = self._whole(v, zeros_like(self._x))
        return _of(self._inner.hvp(self._point(x), full), list(leaves(x)))

    def _with_batch(self, batch: Any) -> Oracle:
        other = self._inner._with_batch(batch)
        return _Part(other, self._x, self._start)
