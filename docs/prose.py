"""A docstring's prose as reStructuredText, its formulas typeset: a run of formulas stands on lines of its own."""

from __future__ import annotations

import re

from formulas import NotAFormula, latex, mathematical, sides

_CODE = re.compile(r"``([^`]+)``")
# Code, a role's text, or a bar, which would open a substitution.
_SPAN = re.compile(r"``([^`]+)``|`[^`]+`|\|")
_SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}$", re.MULTILINE)
# Between the formulas of one run.
_BETWEEN = re.compile(r"\s*(?:[,;]|,? and|, then|; then)?\s*")
# A formula this long stands alone.
LONG = 48


def sections(doc: str) -> dict[str, str]:
    """Return a numpydoc docstring by headings; what stands before the first is ``""``."""
    parts = _SECTION.split(doc)
    return {"": parts[0].strip()} | {parts[i]: parts[i + 1].strip("\n") for i in range(1, len(parts), 2)}


def typeset(code: str) -> str | None:
    """Return the LaTeX of a piece of code, or None where it is no formula or is not read with certainty."""
    text = " ".join(code.split())
    if not mathematical(text):
        return None
    try:
        return latex(text)
    except NotAFormula:
        return None


def inline(text: str) -> str:
    """Return a text with each formula typeset in its line, and its bars no markup."""

    def one(match: re.Match[str]) -> str:
        if match.group() == "|":
            return r"\|"
        tex = typeset(match.group(1)) if match.group(1) else None
        return match.group() if tex is None else f":math:`{tex}`"

    return _SPAN.sub(one, text)


def stands_alone(code: str) -> bool:
    """Tell whether a formula is an equation or the like, which may stand on a line of its own."""
    return typeset(code) is not None and any(sign for sign, _ in sides(" ".join(code.split())))


def row(code: str) -> str:
    """Return one line of a display, aligned at its first relation."""
    (_, first), *rest = sides(" ".join(code.split()))
    return f"{first} &" + " ".join(f"{sign} {tex}" for sign, tex in rest)


def display(codes: list[str], end: str) -> list[str]:
    """Return a run of formulas as one display, a formula a line."""
    rows = [row(c) for c in codes]
    body = " \\\\\n".join(f"   {r}," for r in rows[:-1])
    last = f"   {rows[-1]}{end}"
    text = f"{body} \\\\\n{last}" if body else last
    return ["", ".. math::", "", "   \\begin{aligned}", text, "   \\end{aligned}", ""]


def paragraph(text: str) -> str:
    """Return a paragraph: runs of equations displayed, all else in its line."""
    if re.match(r"\s|\.\. |>>>", text):
        # A directive and what is indented stay as they are.
        return text
    if re.match(r"[-*] |\d+\. ", text):
        return inline(text)
    found = list(_CODE.finditer(text))
    out: list[str] = []
    at = i = 0
    while i < len(found):
        j = i
        while j < len(found) and stands_alone(found[j].group(1)):
            if j + 1 < len(found) and _BETWEEN.fullmatch(text[found[j].end() : found[j + 1].start()]):
                j += 1
                continue
            j += 1
            break
        run = found[i:j]
        if not run or (len(run) == 1 and len(run[0].group(1)) < LONG) or not stands_alone(run[-1].group(1)):
            i += 1
            continue
        before = inline(text[at : run[0].start()]).strip()
        rest = text[run[-1].end() :]
        end = re.match(r"[.,;:]?", rest)
        sign = end.group() if end else ""
        out += [*([before] if before else []), *display([r.group(1) for r in run], sign)]
        at = run[-1].end() + len(sign)
        i = j
    tail = inline(text[at:]).strip()
    return "\n".join([*out, *([tail] if tail else [])])


def prose(text: str) -> str:
    """Return paragraphs, typeset."""
    return "\n\n".join(paragraph(p) for p in re.split(r"\n\s*\n", text) if p.strip())
