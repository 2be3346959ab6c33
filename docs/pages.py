"""One page a registered name: written from the registry, never by hand."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
import re
from typing import Any

import api
import benchmark_tables
import collection
import gallery
import refopt
from bibtex import bibtex, place
from curves import section as convergence
from faults import section
from held import told as told_by_edits
from listings import finder, kind_page, kinds, papers, room_of
from measured import cost
from prose import inline, prose, sections, typeset
from refopt.cli.catalogue import describe
from refopt.core.document import default_of, kind_of
from refopt.core.registry import KINDS, Entry
from rst import code_block, escaped, folded, heading, literal, table
from settled import changes
from source import helpers, shown

# `η, in the units of x`, or `λ before the first step`: a symbol of the formula, then what it is.
_SYMBOL = re.compile(r"(?!\d|\S*'s)([^\s.,:;()`\"]{1,6})(?=[.,:](?:\s|$)| (?:of(?! every)|before|at|\() ?\b)")


def symbol(words: str) -> str:
    """Return the formula's symbol that the words of a hyperparameter begin with, typeset."""
    match = _SYMBOL.match(words)
    greek = match is not None and not match.group(1).isascii()
    if match is None or (not greek and words[match.end() :].startswith(" ")):
        return ""
    if match.group(1).isascii() and len(match.group(1)) > 2 and "_" not in match.group(1):
        return ""
    tex = typeset(match.group(1) if greek else f"{match.group(1)} = 0")
    if tex is None:
        return ""
    return f":math:`{tex.removesuffix(' = 0')}`"


def told(cls: type) -> dict[str, str]:
    """Return the words of a class's hyperparameters, its own before its bases'."""
    words = {f.name: f.metadata.get("words", "") for f in dataclasses.fields(cls)}
    for base in reversed(cls.__mro__):
        words.update(base.__dict__.get("words", {}))
    return words


def hyperparameters(method: Entry) -> list[str]:
    """Return the table of a class's hyperparameters; a function's are under its call."""
    if not dataclasses.is_dataclass(method.obj):
        return []
    words = told(method.obj)
    rows = [
        (
            literal(f.name),
            symbol(words[f.name]),
            inline(words[f.name]),
            escaped(kind_of(f)),
            literal(default_of(f).removeprefix(", default ")),
        )
        for f in dataclasses.fields(method.obj)
        if f.init
    ]
    header = ("argument", "symbol", "what it is", "type and range", "default")
    return [*heading("Hyperparameters"), *table(header, rows, style="arguments"), ""] if rows else []


def dialects(method: Entry, facts: dict[str, Any]) -> list[str]:
    """Return the table of the libraries' choices, where there are any besides the paper's."""
    words = told(method.obj) if dataclasses.is_dataclass(method.obj) else {}

    def differs(d: dict[str, Any]) -> str:
        # Without a note of its own, a dialect is what its settings mean.
        return inline(
            d["note"] or " ".join(f"``{k}``: {words[k]}" for k in d["settings"] if " " in words.get(k, ""))
        )

    rows = [
        (
            literal(name),
            ", ".join(literal(f"{k}={v}") for k, v in d["settings"].items()) or "as the paper",
            escaped(d["library"]),
            differs(d),
        )
        for name, d in facts["dialects"].items()
    ]
    header = ("dialect", "settings", "whose", "what differs")
    texts = {name: changes(method.obj, d.settings) for name, d in method.dialects.items()}
    # Two libraries of one text are told together.
    alike: dict[str, list[str]] = {}
    for name, text in texts.items():
        if text:
            alike.setdefault(text, []).append(name)
    lines = [
        line
        for text, names in alike.items()
        for line in folded(
            f"The text in {' and '.join(names)}, beside the paper's (-)", code_block(text, "diff")
        )
    ]
    return [*heading("Dialects"), *table(header, rows, style="worded"), *lines] if len(rows) > 1 else []


def state(method: Entry, facts: dict[str, Any]) -> list[str]:
    """Return what a method keeps and what it asks of a problem."""
    known = facts["facts"]
    slots = getattr(method.obj, "slots", None)
    copies = known["state_copies"]
    lines = []
    if isinstance(slots, tuple) and slots:
        lines.append(f"- State: {', '.join(map(literal, slots))}, each of the shape of x.")
    if copies is not None:
        lines.append(f"- Memory: {copies} {'copy' if copies == 1 else 'copies'} of the parameters.")
    if known["elementwise"]:
        lines.append("- Elementwise: no element of x looks at another.")
    if known["rate_from"]:
        lines.append(f'- With ``lr="auto"``: {escaped(known["rate_from"])}.')
    if known["seed"]:
        lines.append("- Draws random numbers from its own seed.")
    if facts["needs"]:
        lines.append(f"- Asks of a problem: {', '.join(map(literal, facts['needs']))}.")
    lines += cost(method.name)
    return [*heading("Cost, state and needs"), *lines, ""] if lines else []


def call(method: Entry) -> list[str]:
    """Return how it is called: a function's or plain class's own arguments."""
    if dataclasses.is_dataclass(method.obj):
        return []
    directive = "autoclass" if inspect.isclass(method.obj) else "autofunction"
    return [*heading("Call"), f".. {directive}:: {method.obj.__module__}.{method.obj.__qualname__}", ""]


def evidence(method: Entry, facts: dict[str, Any]) -> list[str]:
    """Return the table of what shows that it is right."""
    rows = [(e["kind"], escaped(e["what"]), literal(e["test"])) for e in facts["evidence"]]
    if not rows:
        return []
    return [
        *heading("Evidence"),
        *table(("kind", "what", "test"), rows, "10 60 30", "paths"),
        *told_by_edits(method),
    ]


def references(method: Entry) -> list[str]:
    """Return the papers with their BibTeX, the main one open."""
    lines = heading("References")
    for i, source in enumerate((method.source, *method.also)):
        where = f", {escaped(method.where)}" if i == 0 else ""
        link = f" `read <{place(source)}>`__," if place(source) else ""
        lines += [
            f"{escaped(str(source).rstrip('. '))}{where};{link} :ref:`all of this paper <{source.key}>`.",
            "",
        ]
        block = code_block(bibtex(source), "bibtex")
        lines += block if i == 0 else folded("BibTeX", block)
    return lines


def page(method: Entry) -> str:
    """Return the page of one name."""
    facts = describe(method)
    doc = sections(facts["documentation"])
    summary, _, rest = doc[""].partition("\n\n")
    room = room_of(method)
    lines = [
        ":orphan:",
        "",
        *heading(method.name, "="),
        paragraph_of(summary),
        "",
        f":doc:`{method.kind} </kinds/{method.kind}>`{f' · {room}' if room else ''} · "
        f"``{method.obj.__module__}.{method.obj.__qualname__}`` · :ref:`{method.source.year} <{method.source.key}>`"
        + (f" · :ref:`pictures <zoo-{method.name}>`" if method.kind == "problem" else ""),
        "",
        *([*heading("Formula"), prose(rest), ""] if rest.strip() else []),
        *heading("The text that runs"),
        *code_block(shown(method.obj)),
        *(folded("What it calls", code_block(helpers(method.obj))) if helpers(method.obj) else []),
        *hyperparameters(method),
        *dialects(method, facts),
        *section(method.name),
        *state(method, facts),
        *convergence(method),
        *call(method),
        *(
            line
            for name in ("Notes", "Warnings")
            if name in doc
            for line in (*heading(name), prose(doc[name]), "")
        ),
        *([*heading("Examples"), doc["Examples"], ""] if "Examples" in doc else []),
        *evidence(method, facts),
        *references(method),
    ]
    return "\n".join(lines) + "\n"


def paragraph_of(summary: str) -> str:
    """Return the summary, its formulas in the line."""
    return inline(" ".join(summary.split()))


def only_arguments(lines: list[str]) -> None:
    """Leave of a docstring, in place, what its page does not say elsewhere."""
    doc = sections("\n".join(lines))
    kept = [inline(doc[""].partition("\n\n")[0]), ""]
    for name, text in doc.items():
        if name not in ("", "Notes", "Warnings", "Examples", "References"):
            kept += [name, "-" * len(name), inline(text.rstrip()), ""]
    lines[:] = "\n".join(kept).splitlines()


def write(docs: pathlib.Path) -> None:
    """Write all pages made from the registry below `docs`, and remove what is no longer registered."""
    methods = refopt.methods()
    texts = {f"methods/{m.name}.rst": page(m) for m in methods}
    texts |= {f"kinds/{k}.rst": kind_page(k, methods) for k in KINDS if any(m.kind == k for m in methods)}
    texts |= {"kinds/index.rst": kinds(methods), "papers.rst": papers(methods), "finder.rst": finder(methods)}
    texts |= (
        api.texts(methods)
        | benchmark_tables.texts()
        | {"gallery.rst": gallery.page(methods), "collection.rst": collection.page(methods)}
    )
    for folder in ("methods", "kinds", "api", "made"):
        (docs / folder).mkdir(exist_ok=True)
        for old in (docs / folder).iterdir():
            if f"{folder}/{old.name}" not in texts:
                old.unlink()
    for name, text in texts.items():
        # A page that did not change keeps its time, so that the next build leaves it alone.
        file = docs / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
