"""``refopt list`` with conditions: what a method asks for, keeps, and is about."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence

from refopt.core.errors import ArgumentError, nearest
from refopt.core.method import Elementwise
from refopt.core.problem import CAPABILITIES
from refopt.core.registry import STEPPING, Entry, methods

# Words are compared by their beginnings, so that "noisy" finds noise and "momenta" momentum.
BEGINNING = 4
MOST = 20


def facts(method: Entry) -> dict[str, object]:
    """Return what a search asks about: elementwise, copies of x in the state (None: not stated), rate, needs."""
    stepping = method.kind in STEPPING and dataclasses.is_dataclass(method.obj)
    fields = {f.name for f in dataclasses.fields(method.obj)} if stepping else set()
    return {
        "elementwise": isinstance(method.obj, type) and issubclass(method.obj, Elementwise),
        "state_copies": method.extra.get("state_copies"),
        "rate": "lr" in fields,
        "rate_from": getattr(method.extra.get("known_rate"), "words", None),
        "seed": "seed" in fields,
        "needs": list(method.needs),
    }


def search(
    kind: str | None = None,
    *,
    needs: str | None = None,
    memory: int | None = None,
    elementwise: bool = False,
    matrix: bool = False,
    no_rate: bool = False,
    query: str | None = None,
) -> list[Entry]:
    """Return the methods that fulfil all conditions; with a query the nearest first.

    Parameters
    ----------
    kind : str, optional
    needs : str, optional
        Capabilities that there are, with commas: methods that need no others.
    memory : int, optional
        At most so many copies of x in the state; methods that do not state it are left out.
    elementwise, matrix : bool
        Rules in which no element looks at another; optimizers of which that is not so.
    no_rate : bool
        Optimizers without a learning rate.
    query : str, optional
        Words of the documentation. Where none has all of them, those that have most.

    Raises
    ------
    ArgumentError
        No such capability.
    """
    offered = [n.strip() for n in needs.split(",")] if needs is not None else None
    for name in offered or ():
        if name not in CAPABILITIES:
            raise ArgumentError(
                f"--needs: no capability is called {name!r}.{nearest(name, CAPABILITIES)} They are: {', '.join(CAPABILITIES)}"
            )
    found = []
    for method in methods(kind):
        known = facts(method)
        steps = method.kind in STEPPING
        copies = known["state_copies"]
        if (
            (offered is None or (steps and set(method.needs) <= set(offered)))
            and (memory is None or (isinstance(copies, int) and copies <= memory))
            and (not elementwise or known["elementwise"])
            and (not matrix or (steps and not known["elementwise"]))
            and (not no_rate or (steps and not known["rate"]))
        ):
            found.append(method)
    return found if query is None else _nearest(found, query.lower().split())


def _nearest(found: Sequence[Entry], words: Sequence[str]) -> list[Entry]:
    """Return those with all words, or else with most of them; more mentions first."""
    scored = []
    for method in found:
        text = f"{method.name} {method.source} {inspect.getdoc(method.obj) or ''}".lower()
        tokens = re.findall(r"[a-z0-9]+", text)
        counts = [sum(t.startswith(w[: max(BEGINNING, len(w) - 2)]) for t in tokens) for w in words]
        scored.append((sum(c > 0 for c in counts), sum(min(c, 3) for c in counts), method))
    best = max((s[0] for s in scored), default=0)
    kept = [s for s in scored if best and s[0] == best]
    return [s[2] for s in sorted(kept, key=lambda s: (-s[1], s[2].name))][:MOST]
