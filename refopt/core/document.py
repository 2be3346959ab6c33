"""Docstrings of registered methods, completed: Parameters from the fields, References from the sources.

Each fact is written once: a hyperparameter's default, range and words in its field, a paper in its
`Source`. numpydoc's sections are made of them, inherited hyperparameters included.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from refopt.core.hyper import is_rate

WIDTH = 100
LAST = ("group", "others", "weight_decay", "decay", "schedule", "engine")
_EXAMPLES = re.compile(r"^Examples\n-+$", re.MULTILINE)
_SECTION = re.compile(r"^(Notes|References|Examples|See Also|Warnings)\n-+$", re.MULTILINE)


def kind_of(field: dataclasses.Field[Any]) -> str:
    """Return a hyperparameter's type and range as numpydoc writes them."""
    allowed, kind = field.metadata.get("allowed"), field.metadata.get("kind")
    optional = ", optional" if field.default is None else ""
    if kind:
        return kind + optional
    if is_rate(field):
        kind = "float or callable"
    elif isinstance(allowed, tuple) and field.type != "bool":
        return "{" + ", ".join(f'"{a}"' if isinstance(a, str) else repr(a) for a in allowed) + "}" + optional
    elif "Callable" in str(field.type):
        kind = "callable"
    else:
        kind = str(field.type).replace(" | None", "").replace("Any", "object")
    if isinstance(allowed, str):
        kind += f", range {allowed.removeprefix('int ')}"
    return kind + optional


def default_of(field: dataclasses.Field[Any]) -> str:
    """Return what stands behind the type: the default, unless it is None or there is none."""
    if field.default is dataclasses.MISSING or field.default is None:
        return ""
    value = f'"{field.default}"' if isinstance(field.default, str) else repr(field.default)
    return f", default {value}"


def parameters(cls: type) -> str:
    """Return numpydoc's Parameters section of a method's class."""
    retold: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        retold.update(base.__dict__.get("words", {}))
    fields: list[Any] = [f for f in dataclasses.fields(cls) if f.init]
    lines = ["Parameters", "----------"]
    # What is the method's own first; what many methods have last.
    for field in sorted(fields, key=lambda f: LAST.index(f.name) if f.name in LAST else -1):
        lines.append(f"{field.name} : {kind_of(field)}{default_of(field)}")
        words = retold.get(field.name, field.metadata.get("words", ""))
        if words:
            lines += textwrap.wrap(words, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def references(sources: Iterable[Any], where: str) -> str:
    """Return numpydoc's References section: the paper with the place in it, then further ones."""
    first, *more = (str(s) for s in sources)
    lines = ["References", "----------"]
    for text in [f"{first}: {where}.", *(f"{s}." for s in more)]:
        lines += textwrap.wrap(text, WIDTH)
    return "\n".join(lines)


def completed(obj: Any, sources: Iterable[Any], where: str, common: str = "") -> str:
    """Return a docstring with the sections that are not written by hand: a method's Parameters, References.

    `common` is a section that all of a kind have.

    A room whose classes take the same arguments says them once, as ``shared_parameters`` of their base.
    """
    doc = inspect.cleandoc(obj.__doc__ or "").rstrip()
    if dataclasses.is_dataclass(obj) and "Parameters\n----------" not in doc:
        doc = inserted(doc, parameters(obj), before=_SECTION)  # type: ignore[arg-type]
    shared = getattr(obj, "shared_parameters", "")
    if shared and shared not in doc:
        heading = "Parameters\n----------"
        if heading in doc:
            doc = doc.replace(heading, f"{heading}\n{shared}", 1)
        else:
            doc = inserted(doc, f"{heading}\n{shared}", before=_SECTION)
    if common and common not in doc:
        doc = inserted(doc, common, before=_SECTION)
    if "References\n----------" not in doc:
        doc = inserted(doc, references(sources, where), before=_EXAMPLES)
    return doc + "\n"


def inserted(doc: str, section: str, before: re.Pattern[str]) -> str:
    """Return a docstring with a section before the first of `before`, or at the end."""
    found = before.search(doc)
    head, tail = (doc[: found.start()], doc[found.start() :]) if found else (doc, "")
    return f"{head.rstrip()}\n\n{section}\n\n{tail}".rstrip()
