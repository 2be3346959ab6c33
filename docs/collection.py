"""The collection of papers that this library is made from: what of each is here, and what is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from refopt.core.registry import Entry, Source
from rst import escaped, heading, table

FILE = Path(__file__).parent / "collection.tsv"


@cache
def papers() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return every title of the collection with the names that its algorithms would have here."""
    lines = FILE.read_text(encoding="utf-8").splitlines()[1:]
    return tuple((title, tuple(names.split(";"))) for title, names in (line.split("\t") for line in lines))


def bare(title: str) -> str:
    """Return a title's letters and figures, by which two ways of printing it are the same."""
    return re.sub(r"[^a-z0-9]", "", title.lower())


def here(
    title: str, names: Sequence[str], methods: Sequence[Entry]
) -> tuple[list[str], list[str], Source | None]:
    """Return the registered names that are of a paper, the names that are not here, and its entry in the bibliography."""
    registered = {m.name for m in methods}
    leaning = [m for m in methods if bare(title) in {bare(s.title) for s in (m.source, *m.also)}]
    own = [n for n in names if n in registered]
    found = list(dict.fromkeys([*own, *(m.name for m in leaning)]))
    sources = (s for m in leaning for s in (m.source, *m.also) if bare(s.title) == bare(title))
    return found, [n for n in names if n not in registered], next(sources, None)


def page(methods: Sequence[Entry]) -> str:
    """Return the page of the collection."""
    rows, some = [], 0
    for title, names in papers():
        found, missing, source = here(title, names, methods)
        some += bool(found)
        paper = f":ref:`{escaped(title)} <{source.key}>`" if source else escaped(title)
        links = ", ".join(f":doc:`{n} </methods/{n}>`" for n in found) or "nothing yet"
        rows.append((paper, links, ", ".join(map(escaped, missing))))
    lead = (
        f"refopt began with {len(papers())} papers. Of {some} something is here: the names that are registered for a paper or lean on"
        " it. The last column has the names that its other algorithms would have. Papers that were added since are among the"
        " :doc:`methods by paper </papers>`."
    )
    header = ("paper", "here", "not here")
    return "\n".join([*heading("The collection", "="), lead, "", *table(header, rows, "50 30 20", "paths")])
