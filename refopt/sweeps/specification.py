"""What a sweep is asked for, as single runs, each with the text and the key that it is known by."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import refopt
from refopt.core.arrays import is_array, to_numpy
from refopt.core.build import problem as build_problem
from refopt.core.errors import ArgumentError, ArgumentTypeError, UnknownNameError, nearest
from refopt.core.forms import opened
from refopt.core.hyper import check_number
from refopt.core.identity import answer, digest
from refopt.core.method import Method
from refopt.core.problem import start_of
from refopt.core.registry import STEPPING, entry


@dataclass(frozen=True)
class MethodChoice:
    """A method with what is set of it, under the label that its rows have."""

    label: str
    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class ProblemChoice:
    """A problem: a name with parameters, or an object, which is carried along.

    Attributes
    ----------
    told : dict
        What the store tells it from others by.
    """

    label: str
    told: Mapping[str, Any]
    thing: Any = None

    def build(self) -> Any:
        """Return the problem."""
        if self.thing is not None:
            return self.thing
        return _built(json.dumps(self.told, sort_keys=True))


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes
    ----------
    key : str
        A hash of `text`.
    text : str
        The whole specification as JSON: method, hyperparameters, problem, seed, budget, version.
    arguments : dict
        Those of `refopt.minimize`.
    """

    key: str
    text: str
    method: str
    problem: ProblemChoice
    name: str
    settings: Mapping[str, Any]
    seed: int
    arguments: Mapping[str, Any]
    target: float | None


@functools.lru_cache(maxsize=4)
def _built(text: str) -> Any:
    """Build a problem once a process, not once a run."""
    told = json.loads(text)
    return build_problem(told["name"], **told["parameters"])


def plain(value: Any, name: str) -> Any:
    """Return a setting as JSON has it.

    Raises
    ------
    ArgumentTypeError
        It has no text by which another process could know it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v, name) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, name) for v in value]
    registered = getattr(value, "registered_name", "")
    if registered and dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name), name) for f in dataclasses.fields(value)}
        return {"registered": registered, **fields}
    raise ArgumentTypeError(
        f"{name}: wanted numbers, texts, lists or dicts of them, or what refopt.schedule or refopt.optimizer return, since"
        f" the store knows a run by its text; got {type(value).__qualname__}"
    )


def _key(specification: Any) -> str:
    """Return the hash by which a run is known: 1 and 1.0 are one number in it."""

    def one(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: one(v) for k, v in value.items()}
        if isinstance(value, list):
            return [one(v) for v in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    text = json.dumps(one(specification), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def jobs(
    methods: list[MethodChoice], problem: ProblemChoice, seeds: list[int], grids: Mapping[str, Any],
    arguments: Mapping[str, Any], target: float | None,
) -> Iterator[Job]:  # fmt: skip
    """Yield every run that is asked for on one problem: methods, then grid points, then seeds.

    Parameters
    ----------
    methods, seeds, grids
        As `method_choices`, `check_seeds` and `check_grids` return them.
    problem : ProblemChoice
    arguments : dict
        Those of `refopt.minimize` on this problem.
    target : float or None
    """
    for method in methods:
        for settings in _points(method, grids):
            for seed in seeds:
                about = {
                    "method": method.name, "settings": plain(settings, method.label), "problem": problem.told, "seed": seed,
                    "arguments": plain(arguments, "arguments"), "target": target, "refopt": refopt.__version__,
                }  # fmt: skip
                text = json.dumps(about, sort_keys=True)
                yield Job(
                    _key(about), text, method.label, problem, method.name, settings, seed, arguments, target
                )


def method_choices(methods: Any) -> list[MethodChoice]:
    """Read the methods: names, pairs of a name and settings, dicts with ``name``, or a dict of labels to these.

    Raises
    ------
    ArgumentError, ArgumentTypeError, UnknownNameError
    """

    def choice(label: str | None, given: Any, where: str) -> MethodChoice:
        if isinstance(given, Method):
            raise ArgumentTypeError(f"{where}: wanted a name or (name, settings), got a method that is built")
        name, settings = _named(given, where)
        entry(name, STEPPING)
        plain(settings, where)
        return MethodChoice(label or _label(name, settings), name, settings)

    return _unlike(_labelled(methods, "methods", choice), "methods")


def problem_choices(problems: Any) -> list[ProblemChoice]:
    """Read the problems: names, pairs, dicts with ``name``, objects of the zoo, or a dict of labels to any.

    An object of one's own has a label always: what is in functions cannot be read.

    Raises
    ------
    ArgumentError, ArgumentTypeError, UnknownNameError
    """

    def choice(label: str | None, given: Any, where: str) -> ProblemChoice:
        if isinstance(given, (str, Mapping, tuple, list)):
            name, parameters = _named(given, where)
            told = {"name": name, "parameters": plain(parameters, where)}
            found = ProblemChoice(label or _label(name, parameters), told)
            found.build()
            return found
        registered = getattr(given, "registered_name", "")
        if isinstance(given, type) or not (registered or hasattr(given, "value") or hasattr(given, "grad")):
            raise ArgumentTypeError(f"{where}: wanted a name, (name, parameters) or a problem, got {given!r}")
        if registered:
            return ProblemChoice(label or registered, {"name": registered, "object": _held(given)}, given)
        if label is None:
            raise ArgumentTypeError(
                f"{where}: a problem of one's own needs a name that its rows are kept under: problems={{'name': problem}}"
            )
        return ProblemChoice(label, {"name": label, **_answers(given, where)}, given)

    return _unlike(_labelled(problems, "problems", choice), "problems")


def check_seeds(seeds: Any) -> list[int]:
    """Return the seeds as a list, or raise unless they are different whole numbers of at least 0."""
    if isinstance(seeds, (int, str)) or not isinstance(seeds, Iterable) or getattr(seeds, "ndim", 1) == 0:
        raise ArgumentTypeError(f"seeds: wanted a sequence of integers, such as range(5), got {seeds!r}")
    found = list(seeds)
    for k, seed in enumerate(found):
        check_number(seed, "int [0, 9223372036854775807]", f"seeds[{k}]")
    if not found or len(set(found)) < len(found):
        raise ArgumentError(f"seeds: wanted at least one, none of them twice, got {found}")
    return [int(seed) for seed in found]


def check_grids(grids: Any, methods: list[MethodChoice]) -> dict[str, Any]:
    """Return the grids, or raise unless each is a non-empty list of values, of all methods or of one that is there."""
    if grids is None:
        return {}
    if not isinstance(grids, Mapping):
        raise ArgumentTypeError(f"grids: wanted a dict such as {{'lr': [0.1, 0.01]}}, got {grids!r}")
    known = {m.label for m in methods} | {m.name for m in methods}
    for name, values in grids.items():
        if isinstance(values, Mapping):
            if name not in known:
                raise UnknownNameError(
                    f"grids: {name!r} is none of the methods.{nearest(str(name), known)} They are: {', '.join(sorted(known))}"
                )
            for inner, own in values.items():
                _check_values(own, f"grids[{name!r}][{inner!r}]")
        else:
            _check_values(values, f"grids[{name!r}]")
    return dict(grids)


def _check_values(values: Any, where: str) -> None:
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
        raise ArgumentTypeError(f"{where}: wanted a list of values, got {values!r}")
    if not len(texts := [json.dumps(plain(v, where)) for v in _listed(values)]):
        raise ArgumentError(f"{where}: is empty")
    if len(set(texts)) < len(texts):
        raise ArgumentError(f"{where}: has a value twice: {', '.join(texts)}")


def _listed(values: Iterable[Any]) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _points(method: MethodChoice, grids: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings of every point of a method's grid; what a grid has of a setting wins."""
    of_all = {k: v for k, v in grids.items() if not isinstance(v, Mapping)}
    by_name = {} if method.name == method.label else grids.get(method.name, {})
    axes = {**of_all, **by_name, **grids.get(method.label, {})}
    for values in itertools.product(*(_listed(v) for v in axes.values())):
        yield {**method.settings, **dict(zip(axes, values))}


def _named(given: Any, where: str) -> tuple[str, dict[str, Any]]:
    """Return name and settings of ``"name"``, ``("name", settings)`` or ``{"name": "name", **settings}``."""
    if isinstance(given, str):
        return given, {}
    if isinstance(given, Mapping):
        settings = dict(given)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ArgumentError(f"{where}: wanted a dict with 'name', got {dict(given)!r}")
        return name, settings
    if isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[0], str):
        if not isinstance(given[1], Mapping) or not all(isinstance(k, str) for k in given[1]):
            raise ArgumentTypeError(f"{where}: wanted (name, dict of settings), got {given!r}")
        return given[0], dict(given[1])
    raise ArgumentTypeError(f"{where}: wanted a name or (name, settings), got {given!r}")


def _labelled(given: Any, what: str, choice: Any) -> list[Any]:
    if isinstance(given, Mapping) and "name" not in given:
        return [choice(str(label), value, f"{what}[{label!r}]") for label, value in given.items()]
    one = isinstance(given, (str, Mapping)) or not isinstance(given, Iterable)
    one = one or getattr(given, "ndim", 1) == 0  # an array without axes is no sequence
    one = one or (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping))
    if one:
        return [choice(None, given, what)]
    return [choice(None, value, f"{what}[{k}]") for k, value in enumerate(given)]


def _label(name: str, settings: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{k}={v}" for k, v in settings.items())
    return f"{name} ({inside})" if inside else name


def _unlike(found: list[Any], what: str) -> list[Any]:
    if not found:
        raise ArgumentError(f"{what}: wanted at least one")
    seen: set[str] = set()
    for choice in found:
        if choice.label in seen:
            raise ArgumentError(
                f"{what}: {choice.label!r} is there twice; name them apart: {what}={{'one': ..., 'other': ...}}"
            )
        seen.add(choice.label)
    return found


def _answers(problem: Any, where: str) -> dict[str, str]:
    """Return what tells a problem of one's own from another of its name: its class, its start, its answers there."""
    x0 = start_of(problem, 0) if callable(getattr(problem, "start", None)) else getattr(problem, "x0", None)
    if x0 is None:
        raise ArgumentError(f"{where}: the problem has no default start: give it x0, or start(seed)")
    inner, x0, _ = opened(problem, x0, "x0")
    return {"class": type(problem).__qualname__, "start": digest(x0), "answer": answer(inner, x0)}


def _held(problem: Any) -> str:
    """Return a hash of what an object of the zoo holds: its parameters and its data, not what it has computed since."""
    h = hashlib.sha256()
    for name, value in sorted(vars(problem).items()):
        if name == "_cache" or isinstance(getattr(type(problem), name, None), functools.cached_property):
            continue
        h.update(f"|{name}=".encode())
        _add(h, value)
    return h.hexdigest()[:32]


def _add(h: Any, value: Any) -> None:
    if hasattr(value, "tocsr"):
        csr = value.tocsr()
        value = (csr.shape, csr.data, csr.indices, csr.indptr)
    if hasattr(value, "__dask_graph__"):
        h.update(f"{value.name}{value.chunks}".encode())
    elif is_array(value):
        a = np.ascontiguousarray(to_numpy(value))
        h.update(f"{a.dtype}{a.shape}".encode())
        h.update(a.tobytes())
    elif isinstance(value, Mapping):
        for k, v in value.items():
            h.update(f"{k}:".encode())
            _add(h, v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            _add(h, v)
    elif callable(value) and hasattr(value, "__qualname__"):
        h.update(value.__qualname__.encode())
    elif hasattr(value, "__dict__"):
        h.update(type(value).__qualname__.encode())
        _add(h, vars(value))
    else:
        h.update(repr(value).encode() + b";")
