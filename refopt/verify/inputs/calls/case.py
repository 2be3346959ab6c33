"""What comparing one kind of function takes: calls, known faults, and how an answer is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refopt.core.arrays import to_numpy
from refopt.core.params import leaves

Reference = Callable[..., Any]


class Unanswered(Exception):
    """Raised by a side that has no answer of the kind that a case asks for: the case is left out."""


@dataclass(frozen=True, eq=False)
class Case:
    """One call: a name, the arguments, and the keywords that both sides get where they take them.

    Parameters
    ----------
    name : str
    args : tuple
    options : dict
        By the reference's names.
    symmetric : bool
        The first argument stays symmetric when it is perturbed.
    needs : tuple of str
        Options that the other side must take, or the case is left out.
    slack : float
        A relative difference that the stop of an iteration explains.
    extras : dict
        What the other side may take besides: draws of the reference's, a problem's data.
    """

    name: str
    args: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    symmetric: bool = False
    needs: tuple[str, ...] = ()
    slack: float = 0.0
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """A known way in which implementations of a function differ.

    Parameters
    ----------
    name, what : str
        As of `refopt.verify.variants.deviation.Deviation`.
    change : callable
        ``change(reference)`` returns the changed function of the same arguments.
    """

    name: str
    what: str
    change: Callable[[Reference], Reference]


def as_array(value: Any) -> np.ndarray:
    """Return an answer as a NumPy array, a dict's leaves one after the other, complex numbers as pairs."""
    if isinstance(value, Mapping):
        return np.concatenate([as_array(v).reshape(-1) for _, v in sorted(leaves(dict(value)).items())])
    found = np.asarray(to_numpy(value) if hasattr(value, "shape") else value)
    if found.dtype.kind == "c":
        return np.stack([found.real, found.imag], axis=-1).astype(np.float64)
    return found.astype(np.float64)


def plainly(call: Reference, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Call a side on a case as it stands."""
    return call(*args, **options)


@dataclass(frozen=True, eq=False)
class Kind:
    """What comparing one kind of function takes.

    Parameters
    ----------
    cases : callable
        ``cases(name, seed)``.
    faults : sequence of Fault
    read : callable
        An answer as an array.
    aliases : dict of str to tuple of str
        Other names of options.
    reference : callable, optional
        ``reference(name)`` returns the function that is compared with; by default the registered one.
    ask : callable
        ``ask(call, args, options)`` calls either side on a case.
    conventions : sequence of Fault
        Of the faults those that are a matter of taste: small edits are tried beside each of them too.
    side : callable, optional
        ``side(other)`` returns the other side as a function and the options that it takes; by default a
        function as it is.
    effort : int
        Variants that `diagnose` tries where nobody says.
    """

    cases: Callable[[str, int], list[Case]]
    faults: Sequence[Fault] = ()
    read: Callable[[Any], np.ndarray] = as_array
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reference: Callable[[str], Reference] | None = None
    ask: Callable[[Reference, tuple[Any, ...], Mapping[str, Any]], Any] = plainly
    conventions: Sequence[Fault] = ()
    side: Callable[[Any], tuple[Reference, Mapping[str, Any]]] | None = None
    effort: int = 4_000


def first(change: Callable[[Any], Any]) -> Callable[[Reference], Reference]:
    """Change the first argument."""
    return lambda f: lambda a, *rest, **options: f(change(a), *rest, **options)


def after(change: Callable[[Any], Any]) -> Callable[[Reference], Reference]:
    """Change the answer; of a pair with a state beside it, its first."""

    def changed(f: Reference) -> Reference:
        def run(*args: Any, **options: Any) -> Any:
            out = f(*args, **options)
            return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

        return run

    return changed


def negated(read: Callable[[Any], np.ndarray] = as_array) -> tuple[Fault, ...]:
    """Return the faults of a sign and of a factor two, of answers that `read` makes arrays of."""
    return (
        Fault("negated", "with its sign turned", after(lambda v: -read(v))),
        Fault("doubled", "times two", after(lambda v: 2.0 * read(v))),
        Fault("halved", "divided by two", after(lambda v: 0.5 * read(v))),
    )


def rooted(read: Callable[[Any], np.ndarray] = as_array) -> tuple[Fault, ...]:
    """Return the faults of a square and of a root."""
    return (
        Fault("squared", "squared entry by entry", after(lambda v: read(v) ** 2)),
        Fault("rooted", "with the root of every entry", after(lambda v: np.sqrt(read(v)))),
    )
