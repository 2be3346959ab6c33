"""Small pieces of reStructuredText."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence


def heading(text: str, line: str = "-") -> list[str]:
    """Return a heading of the level that `line` draws."""
    return [text, line * max(len(text), 3), ""]


def literal(text: str) -> str:
    """Return text as code, or nothing."""
    return f"``{text.strip()}``" if text.strip() else ""


def escaped(text: str) -> str:
    """Return text in which nothing is markup."""
    out = text
    for sign in "\\`*|_":
        out = out.replace(sign, "\\" + sign)
    # `D. P. Kingma` would begin a list.
    return "\\" + out if re.match(r"[A-Za-z0-9]+[.)] ", out) else out


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], widths: str = "auto", style: str = ""
) -> list[str]:
    """Return a list-table; cells are reStructuredText of one line. Nothing without rows."""
    found = [list(row) for row in rows]
    if not found:
        return []
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}"]
    lines += [f"   :class: {style}", ""] if style else [""]
    for row in [list(header), *found]:
        lines += [f"   {'*' if i == 0 else ' '} - {' '.join(cell.split())}" for i, cell in enumerate(row)]
    return [*lines, ""]


def code_block(text: str, language: str = "python") -> list[str]:
    """Return a code block."""
    return [f".. code-block:: {language}", "", textwrap.indent(text.strip("\n"), "   "), ""]


def folded(summary: str, inside: Sequence[str]) -> list[str]:
    """Return lines that a reader opens with a click."""
    begin = [".. raw:: html", "", f"   <details><summary>{summary}</summary>", ""]
    return [*begin, *inside, ".. raw:: html", "", "   </details>", ""]
