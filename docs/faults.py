"""Who computes a method otherwise: rows of the census and exhibits of the museum, by the registered name."""

from __future__ import annotations

import json
import pathlib
import re
from functools import cache

from rst import escaped, heading, literal, table

ROOT = pathlib.Path(__file__).parent.parent
# `adam, dialect 'torch'`, `asgd: torch, schedule-late`, `called adam, or nearest to it. ...`
_NAMED = re.compile(r"(?:called )?([a-z0-9-]+)(?:[,:]|$)")
_EXHIBIT = re.compile(r"^## (\S+)\n\n(.+?)\n\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@cache
def census() -> dict[str, list[tuple[str, str, str, str]]]:
    """Return by name the rows (library, class, outcome, words) that speak of a registered method."""
    rows: dict[str, list[tuple[str, str, str, str]]] = {}
    for key, verdict in json.loads((ROOT / "tests/census/census.json").read_text(encoding="utf-8")).items():
        library, thing = key.split("|")
        match = _NAMED.match(verdict["words"])
        if match and verdict["outcome"] in ("agrees", "differs", "unexplained"):
            words = verdict["words"].replace("\\|", "|")
            rows.setdefault(match.group(1), []).append((library, thing, verdict["outcome"], words))
    return rows


@cache
def museum() -> dict[str, list[tuple[str, str, str]]]:
    """Return by name the exhibits (id, what is wrong, release)."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    text = (ROOT / "docs/museum.md").read_text(encoding="utf-8")
    for name, wrong, facts in _EXHIBIT.findall(text):
        method = re.search(r"^- reference: `([^`]+)`", facts, re.MULTILINE)
        release = re.search(r"^- release: (.+)", facts, re.MULTILINE)
        if method:
            row = (name, " ".join(wrong.split()), release.group(1) if release else "")
            found.setdefault(method.group(1), []).append(row)
    return found


def section(name: str) -> list[str]:
    """Return what installed libraries were seen to compute under this method's name, and known bugs."""
    rows = [
        (escaped(lib), literal(thing), out, escaped(words))
        for lib, thing, out, words in census().get(name, ())
    ]
    bugs = [
        (f"`{i} <../museum.html#{i}>`__", escaped(wrong), escaped(out))
        for i, wrong, out in museum().get(name, ())
    ]
    if not rows and not bugs:
        return []
    lines = heading("In the libraries")
    if rows:
        lines += [
            "What the oracle says of the installed classes, none of them named to it (:doc:`census </census>`).",
            "",
        ]
        lines += table(("library", "class", "outcome", "what it is"), rows, "16 24 14 46", "worded")
    if bugs:
        lines += ["Published bugs, rebuilt and caught (:doc:`museum </museum>`).", ""]
        lines += table(("exhibit", "what is wrong", "release"), bugs, "24 46 30")
    return lines
