"""The registry: one decorator puts a method on every list (CLI, docs, tests, benchmarks)."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from refopt.core.document import completed
from refopt.core.errors import ArgumentError, ArgumentTypeError, UnknownNameError, nearest
from refopt.core.guard import UNCHECKED, guarded, guarded_class
from refopt.core.hyper import check_known
from refopt.core.index import ROOMS, default_kind, index

KINDS = (
    "optimizer", "wrapper", "schedule", "curvature", "matfun", "solver", "transport", "bilevel",
    "estimator", "aggregator", "diagnostic", "problem", "layer",
)  # fmt: skip
# Registered as plain functions, which are guarded.
FUNCTIONS = ("matfun", "solver", "transport", "diagnostic", "aggregator")
# What steps: an estimator is a method around a method, as a wrapper is.
STEPPING = ("optimizer", "wrapper", "estimator", "bilevel")
EVIDENCE_KINDS = ("parity", "claim", "identity")
# Collected from the tests that give it: `python -m tests.evidence`.
EVIDENCE = Path(__file__).parent.parent / "evidence.tsv"


@dataclass(frozen=True)
class Source:
    """One entry of the bibliography.

    Parameters
    ----------
    key : str
        Stable citation key, ``firstauthor-year-word``.
    authors, title : str
        As printed on the paper.
    arxiv, doi, url : str, optional
        At least one way to find it, unless `venue` names a place in print.
    venue : str, optional
        Journal or proceedings with volume and pages.
    """

    key: str
    authors: str
    title: str
    arxiv: str | None = None
    doi: str | None = None
    url: str | None = None
    venue: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]+-\d{4}-[a-z0-9]+", self.key):
            raise ArgumentError(f"key: wanted firstauthor-year-word, got {self.key!r}")

    @property
    def year(self) -> int:
        """The year in the key."""
        return int(self.key.split("-")[1])

    def __str__(self) -> str:
        places = [
            self.venue,
            f"arXiv:{self.arxiv}" if self.arxiv else None,
            f"doi:{self.doi}" if self.doi else None,
            self.url,
        ]
        return f"{self.authors} ({self.year}). {self.title}. " + ", ".join(p for p in places if p)


@dataclass(frozen=True)
class Evidence:
    """What shows that a method is right, and the test that shows it.

    Parameters
    ----------
    kind : {"parity", "claim", "identity"}
    what : str
        One sentence with the figure.
    test : str
        The pytest node id from the repository's root, ``tests/methods/test_adam.py::test_step_bound``.
    """

    kind: str
    what: str
    test: str

    def __post_init__(self) -> None:
        if self.kind not in EVIDENCE_KINDS:
            raise ArgumentError(f"evidence kind: wanted one of {EVIDENCE_KINDS}, got {self.kind!r}")


@dataclass(frozen=True)
class Dialect:
    """A choice some implementation made: settings of a method's switches.

    Parameters
    ----------
    settings : dict
        Hyperparameters that differ from the paper's defaults.
    library : str
        Whose choice it is, with the version it was read in.
    note : str, optional
        What differs, in words.
    """

    settings: Mapping[str, Any]
    library: str
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """A registered name: what `refopt.methods()` returns."""

    name: str
    kind: str
    obj: Any
    source: Source
    where: str
    needs: tuple[str, ...]
    dialects: Mapping[str, Dialect]
    also: tuple[Source, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """What shows that it is right, parity first."""
        return evidence().get(self.name, ())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a name: it is looked up again where it is loaded."""
        return entry, (self.name,)

    @property
    def summary(self) -> str:
        """The docstring's first line."""
        return (self.obj.__doc__ or "").strip().split("\n", 1)[0]


@functools.cache
def evidence() -> dict[str, tuple[Evidence, ...]]:
    """Return all evidence by name, in the order of `EVIDENCE_KINDS`."""
    found: dict[str, list[Evidence]] = {}
    for line in EVIDENCE.read_text(encoding="utf-8").splitlines() if EVIDENCE.is_file() else ():
        name, kind, test, what = line.split("\t")
        found.setdefault(name, []).append(Evidence(kind, what, test))
    return {k: tuple(sorted(v, key=lambda e: EVIDENCE_KINDS.index(e.kind))) for k, v in found.items()}


_entries: dict[str, Entry] = {}
_discovered = False
T = TypeVar("T")


def register(
    name: str,
    *,
    kind: str | None = None,
    source: Source,
    where: str,
    needs: tuple[str, ...] | None = None,
    dialects: Mapping[str, Dialect] | None = None,
    also: tuple[Source, ...] = (),
    **extra: Any,
) -> Callable[[T], T]:
    """Register a method class or function under `name`.

    Parameters
    ----------
    name : str
        The catalogue's name, lower case with hyphens.
    kind : str, optional
        One of `KINDS`. A method class of the wrappers' room is a wrapper, of the estimators' an
        estimator, of the bilevel room of that kind, any other an optimizer.
    source : Source
        The paper.
    where : str
        The place in it: ``"Algorithm 1"``, ``"equation (7)"``.
    needs : tuple of str
        Capabilities of a problem that it asks for; an optimizer's default is ``("grad",)``.
    dialects : dict of str to Dialect
        Named settings; ``"paper"`` (no settings) is always there. Below a method's rule, `dialect` adds one.
    also : tuple of Source
        Further papers the text leans on.
    extra
        Facts that one kind of test or benchmark reads, such as ``state_copies=2``.

    Returns
    -------
    callable
        The decorator; it returns what it is given, a plain function with its input guarded.

    Raises
    ------
    ArgumentError
        An unknown kind; a name that something else has.
    """
    check_kind(kind)
    every = {"paper": Dialect({}, "the paper"), **(dialects or {})}

    def add(obj: T) -> T:
        of_kind = kind or default_kind(obj.__module__)
        wanted = needs
        if wanted is None:
            wanted = ("grad",) if of_kind in STEPPING else ()
        if of_kind in FUNCTIONS and not isinstance(obj, type):
            obj = cast(T, guarded(cast(Callable[..., Any], obj), name, finite=of_kind == "matfun"))
        old = _entries.get(name)
        place = (getattr(obj, "__module__", ""), getattr(obj, "__qualname__", ""))
        if old is not None and place != (old.obj.__module__, old.obj.__qualname__):
            raise ArgumentError(
                f"name: {name!r} is registered already, by {old.obj.__module__}.{old.obj.__qualname__}"
            )
        _entries[name] = Entry(
            name, of_kind, obj, source, where, wanted, MappingProxyType(every), also,
            MappingProxyType(extra),
        )  # fmt: skip
        if isinstance(obj, type):
            if of_kind in ("problem", "curvature"):
                guarded_class(obj, name)
            obj.registered_name = name  # type: ignore[attr-defined]
            if of_kind in STEPPING:
                obj.own_needs = wanted  # type: ignore[attr-defined]
        obj.__doc__ = completed(obj, (source, *also), where, UNCHECKED if of_kind == "matfun" else "")
        return obj

    return add


def dialect(method: type, name: str, library: str, note: str = "", /, **settings: Any) -> None:
    """Add a dialect to a registered method: what an implementation chose otherwise than the paper.

    Parameters
    ----------
    method : type
        The registered class.
    name : str
        ``"torch"``, ``"optax"``, ``"official"``, …
    library : str
        Whose choice it is, with the version it was read in.
    note : str
        What differs, in words.
    **settings
        The hyperparameters that differ from the paper's defaults.

    Raises
    ------
    HyperparameterError
        A setting that the method does not have.
    """
    registered = method.registered_name  # type: ignore[attr-defined]
    check_known(method, settings, f"{registered}, dialect {name!r},")
    old = _entries[registered]
    dialects = MappingProxyType({**old.dialects, name: Dialect(settings, library, note)})
    _entries[registered] = replace(old, dialects=dialects)


def _discover() -> None:
    """Import every module of the rooms once: for what looks at all names."""
    global _discovered
    if _discovered:
        return
    _discovered = True
    for room in ROOMS:
        try:
            package = importlib.import_module(f"refopt.{room}")
        except ModuleNotFoundError as error:
            if error.name != f"refopt.{room}":
                raise
            continue
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)


def check_kind(kind: str | None) -> None:
    """Raise unless `kind` is None or one of `KINDS`.

    Parameters
    ----------
    kind : str or None

    Raises
    ------
    ArgumentError
    """
    if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
        raise ArgumentError(
            f"kind: wanted one of {', '.join(KINDS)}, got {kind!r}.{nearest(str(kind), KINDS)}"
        )


def methods(kind: str | None = None) -> list[Entry]:
    """Return everything registered, or everything of one kind, sorted by name.

    Parameters
    ----------
    kind : str, optional
        ``"optimizer"``, ``"matfun"``, … (`refopt.core.registry.KINDS`).

    Returns
    -------
    list of Entry
        With ``name``, ``kind``, ``source``, ``where``, ``needs``, ``dialects``, ``evidence``.

    Raises
    ------
    ArgumentError
        An unknown kind.

    Examples
    --------
    >>> import refopt
    >>> "adam" in [m.name for m in refopt.methods(kind="optimizer")]
    True
    """
    check_kind(kind)
    _discover()
    return sorted((e for e in _entries.values() if kind in (None, e.kind)), key=lambda e: e.name)


def entry(name: str, kinds: tuple[str, ...] | None = None) -> Entry:
    """Return the registration of `name`, or raise an error with the nearest names.

    Parameters
    ----------
    name : str
    kinds : tuple of str, optional
        Kinds that are wanted.

    Returns
    -------
    Entry

    Raises
    ------
    ArgumentTypeError, UnknownNameError
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(f"name: wanted a str, got {type(name).__qualname__}")
    row = index().get(name)
    if name not in _entries and row is not None:
        importlib.import_module(row.module)
    if name not in _entries:
        # Not in the index, or no longer where it says: a file that was just written.
        _discover()
    found = _entries.get(name)
    if found is None:
        known = [e.name for e in _entries.values() if kinds is None or e.kind in kinds]
        what = _either(kinds) if kinds else "method"
        raise UnknownNameError(f"no {what} is called {name!r}.{nearest(name, known)}")
    if kinds is not None and found.kind not in kinds:
        raise UnknownNameError(
            f"{name!r} is {'an' if found.kind[0] in 'aeo' else 'a'} {found.kind}, wanted {_either(kinds)}"
        )
    return found


def _either(kinds: tuple[str, ...]) -> str:
    """Return "optimizer, wrapper or estimator"."""
    *first, last = kinds
    return f"{', '.join(first)} or {last}" if first else last


def get(name: str) -> Any:
    """Return the function or class registered as `name`.

    Parameters
    ----------
    name : str

    Returns
    -------
    callable
        A plain function; or a class, which `refopt.optimizer`, `refopt.problem` and others build with checks and dialects.

    Raises
    ------
    ArgumentTypeError, UnknownNameError
        Nothing has this name; the message has the nearest ones.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> root = refopt.get("sqrtm-newton-schulz")(np.diag([1.0, 4.0]))
    """
    return entry(name).obj


def bibliography() -> dict[str, Source]:
    """Return every source that a registered method cites, by its stable key.

    Returns
    -------
    dict of str to Source
    """
    _discover()
    return {s.key: s for e in methods() for s in (e.source, *e.also)}
