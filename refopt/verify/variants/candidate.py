"""The variants of a method that `diagnose` tries: dialects, switches, numbers and deviations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.method import Method
from refopt.core.registry import Entry, entry, methods
from refopt.verify.inputs.profiles import Profile
from refopt.verify.sides.groups import Part, ignored
from refopt.verify.variants.deviation import STAGES, Deviation, known

# Numbers that somebody has as a default.
COMMON: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "lr": (1e-4, 2e-4, 3e-4, 1e-3, 2e-3, 3e-3, 1e-2, 0.03, 0.1, 1.0),
        "eps": (0.0, 1e-16, 1e-15, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2),
        "beta": (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999),
        "beta1": (0.0, 0.5, 0.8, 0.9, 0.95, 0.965, 0.98, 0.99),
        "beta2": (0.25, 0.9, 0.92, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999),
        "beta3": (0.9, 0.99, 0.999, 0.9999),
        "rho": (0.9, 0.95, 0.99),
        "momentum": (0.0, 0.5, 0.9, 0.95, 0.99),
        "largest_size": (1.0, 10.0),
        "weight_decay": (0.0, 1e-5, 1e-4, 5e-4, 1e-3, 4e-3, 1e-2, 0.05, 0.1),
    }
)


@dataclass(frozen=True)
class Candidate:
    """One variant of a method.

    Parameters
    ----------
    names : tuple of str
        What it is called in `Diagnosis.explained_by`.
    words : tuple of str
        Clauses for the sentence.
    method, dialect : str
    settings : dict
        Hyperparameters over the profile's.
    changes : tuple of Deviation
    groups : tuple of (names, dict), optional
        Parameter groups in place of the profile's.
    """

    names: tuple[str, ...]
    words: tuple[str, ...]
    method: str
    dialect: str = "paper"
    settings: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[Deviation, ...] = ()
    groups: tuple[Any, ...] | None = None

    def build(self, profile: Profile) -> Any:
        """Return the variant under a profile; a deviation that does not apply to it is passed over."""
        if profile.groups:
            return replace(profile, groups=self.groups or profile.groups).parted(self.build)
        return self.changed(profile.method(self.method, self.dialect, **self.settings))

    def changed(self, made: Any) -> Any:
        """Return a method with the deviations, in their order."""
        for change in self.changes:
            changed = change.change(made)
            made = made if changed is None else changed
        return made

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases known to have what is changed here."""
        return tuple(dict.fromkeys(s for d in self.changes for s in d.seen))

    def known_from(self) -> str:
        """Return the end of a sentence that names the releases; empty where there are none."""
        return f"; known from {'; '.join(self.releases)}" if self.releases else ""

    def without(self, root: Candidate) -> Candidate:
        """Return what this has beside a dialect that it was put on."""
        return replace(
            self,
            names=tuple(n for n in self.names if n not in root.names),
            words=tuple(w for w in self.words if w not in root.words),
            dialect="paper",
        )

    def plain(self) -> Candidate:
        """Return the same without its dialect."""
        if self.dialect not in self.names:
            return self
        place = self.names.index(self.dialect)
        names, words = list(self.names), list(self.words)
        del names[place], words[place]
        return replace(self, names=tuple(names), words=tuple(words), dialect="paper")

    def with_(self, other: Candidate) -> Candidate | None:
        """Return both together; None where they set the same hyperparameter or are of one name."""
        if self.settings.keys() & other.settings.keys() or set(self.names) & set(other.names):
            return None
        changes = sorted((*self.changes, *other.changes), key=lambda d: STAGES.index(d.stage))
        dialect = self.dialect if self.dialect != "paper" else other.dialect
        names = tuple(n for n in (*self.names, *other.names) if n != "paper")
        words = tuple(dict.fromkeys((*self.words, *other.words)))
        return Candidate(
            names, words, self.method, dialect, {**self.settings, **other.settings}, tuple(changes),
            self.groups or other.groups,
        )  # fmt: skip


def dialects(found: Entry) -> list[Candidate]:
    """Return the paper's form and every dialect; of a wrapper, its base's too."""
    out = []
    for name, dialect in found.dialects.items():
        words = (
            "as its paper has it"
            if name == "paper"
            else f"in the dialect {name!r} ({dialect.library}{': ' + _settings(dialect.settings) if dialect.settings else ''})"
        )
        out.append(Candidate((name,), (words,), found.name, name))
    return [*out, *found.extra.get("base_dialects", ())]


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in settings.items())


def switches(found: Entry) -> list[Candidate]:
    """Return one candidate for every value of a switch that is not its default, or that a dialect sets.

    Before them, the ways in which parameter groups go wrong, where there are groups.
    """
    set_ = {k for d in found.dialects.values() for k in d.settings}
    out = list(found.extra.get("group_faults", ()))
    for f in dataclasses.fields(found.obj):
        allowed = f.metadata.get("allowed")
        if not isinstance(allowed, tuple) or f.name == "engine":
            continue
        for value in allowed:
            if value != f.default or f.name in set_:
                out.append(
                    Candidate(
                        (f"{f.name}={value}",),
                        (f"with {f.name}={value!r}",),
                        found.name,
                        settings={f.name: value},
                    )
                )
    return out


def numbers(found: Entry) -> list[Candidate]:
    """Return one candidate for every common value of a number, and for the dialects' own."""
    out = []
    for f in dataclasses.fields(found.obj):
        if not isinstance(f.metadata.get("allowed"), str):
            continue
        own = [d.settings[f.name] for d in found.dialects.values() if f.name in d.settings]
        for value in dict.fromkeys((*COMMON.get(f.name, ()), *own, *_whole(f))):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                out.append(
                    Candidate(
                        (f"{f.name}={value:g}",),
                        (f"with {f.name} = {value:g}",),
                        found.name,
                        settings={f.name: value},
                    )
                )
    return out


def _whole(f: dataclasses.Field[Any]) -> tuple[int, ...]:
    """Return whole numbers about a field's default: one more, one less, twice and half as many."""
    if not f.metadata["allowed"].startswith("int") or type(f.default) is not int or f.name == "seed":
        return ()
    near = (f.default - 1, f.default + 1, 2 * f.default, f.default // 2)
    return tuple(v for v in dict.fromkeys(near) if v != f.default and _inside(v, f.metadata["allowed"]))


def _inside(value: int, allowed: str) -> bool:
    """Tell whether a number is in its range: what builds a method checks that."""
    try:
        check_number(value, allowed, "")
    except ArgumentError:
        return False
    return True


def faults(found: Entry) -> list[Candidate]:
    """Return one candidate for every deviation that may concern the method."""
    return [Candidate((d.name,), (d.what,), found.name, changes=(d,)) for d in known(found.name)]


def of_one_release(deviations: list[Candidate]) -> list[Candidate]:
    """Return, for every release seen with several of the deviations, one candidate with all of them.

    Those that are for every method come in several forms of one fault, and are left out.
    """
    by_release: dict[str, list[Candidate]] = {}
    for c in deviations:
        if not all(d.only for d in c.changes):
            continue
        for release in c.releases:
            by_release.setdefault(release, []).append(c)
    out = []
    for one, *more in by_release.values():
        whole: Candidate | None = one
        for c in more:
            whole = whole and whole.with_(c)
        if more and whole is not None:
            out.append(whole)
    return out


def relatives(found: Entry, profiles: tuple[Profile, ...]) -> Iterator[Candidate]:
    """Yield other methods that are driven by gradients alone and take the same hyperparameters."""
    wanted = {k for p in profiles for k in p.given}
    for e in methods("optimizer"):
        if e.name == found.name or tuple(e.needs) != ("grad",):
            continue
        if wanted <= {f.name for f in dataclasses.fields(e.obj)}:
            for c in dialects(e):
                words = f"not {found.name} but {e.name} {c.words[0]}"
                yield Candidate((e.name, *(n for n in c.names if n != "paper")), (words,), e.name, c.dialect)


def with_base(found: Entry, method: Method) -> Entry:
    """Return a wrapper's entry with its base's hyperparameters among its own; any other entry as it is.

    A base that was handed over built has its numbers already.
    """
    base = getattr(method, "base", None)
    if found.kind == "optimizer" or not isinstance(base, Method):
        return found
    own = {f.name: f for f in dataclasses.fields(found.obj)}
    every = {**{f.name: f for f in dataclasses.fields(base)}, **own}
    both = type(found.obj.__name__, (), {"__dataclass_fields__": every, "registered_name": found.name})
    # A base's numbers are the profile's; its switches are what a dialect of it is told by.
    choices = {f.name for f in dataclasses.fields(base) if isinstance(f.metadata.get("allowed"), tuple)}
    inner = entry(base.registered_name)
    tried = [
        Candidate(
            (*(() if outer == "paper" else (outer,)), f"base-{name}"),
            (
                *(() if outer == "paper" else (f"in the dialect {outer!r}",)),
                f"around {inner.name} in the dialect {name!r} ({dialect.library})",
            ),
            found.name, outer,
            settings={k: v for k, v in dialect.settings.items() if k in choices - own.keys()},
        )
        for outer in found.dialects for name, dialect in inner.dialects.items() if name != "paper"
    ]  # fmt: skip
    return dataclasses.replace(
        found, obj=both, extra={"base_dialects": tuple(c for c in tried if c.settings)}
    )


def wrong_groups(found: Entry, parts: tuple[Part, ...]) -> tuple[Any, ...]:
    """Return the ways in which parameter groups go wrong, on every dialect."""
    faults = [Candidate((n,), (what,), found.name, groups=wrong) for n, what, wrong in ignored(parts)]
    both = (base.with_(c) for base in dialects(found) for c in faults)
    return tuple(c for c in both if c is not None)
