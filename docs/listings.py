"""Pages that list methods: by kind, by paper, and the finder."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence

from bibtex import bibtex, place
from prose import inline
from refopt.cli.find import facts
from refopt.core.problem import CAPABILITIES
from refopt.core.registry import KINDS, STEPPING, Entry
from rst import code_block, escaped, folded, heading, table

# Asked for by fewer methods than this, a capability is not among the finder's boxes.
COMMON = 5
PLURAL = {
    "optimizer": "Optimizers", "wrapper": "Wrappers", "schedule": "Schedules", "curvature": "Curvature",
    "matfun": "Matrix functions", "solver": "Linear solvers", "transport": "Optimal transport", "bilevel": "Bilevel methods",
    "estimator": "Gradient estimators", "aggregator": "Aggregators", "diagnostic": "Diagnostics", "problem": "Problems",
    "layer": "Layers",
}  # fmt: skip


def room_of(method: Entry) -> str:
    """Return the part of the library an optimizer stands in: ``first order``."""
    parts = method.obj.__module__.split(".")
    return parts[2].replace("_", " ") if method.kind == "optimizer" and len(parts) > 3 else ""


def link(method: Entry) -> str:
    """Return a link to a method's page."""
    return f":doc:`{method.name} </methods/{method.name}>`"


def rows(methods: Sequence[Entry]) -> list[str]:
    """Return a table of methods with what they are."""
    return table(
        ("name", "what it is", "paper"), [(link(m), inline(m.summary), _year(m)) for m in methods], "22 66 12"
    )


def _year(method: Entry) -> str:
    return f":ref:`{method.source.year} <{method.source.key}>`"


def kind_page(kind: str, methods: Sequence[Entry]) -> str:
    """Return the page of one kind; the optimizers by the part of the library."""
    own = [m for m in methods if m.kind == kind]
    lines = [*heading(PLURAL[kind], "="), f"{len(own)} registered names.", ""]
    # What stands in no part comes last.
    rooms = sorted({room_of(m) for m in own}, key=lambda room: (not room, room))
    for room in rooms:
        if len(rooms) > 1:
            lines += heading(room.capitalize() or "Others")
        lines += rows([m for m in own if room_of(m) == room])
    return "\n".join(lines)


def kinds(methods: Sequence[Entry]) -> str:
    """Return the index of the kinds."""
    count = Counter(m.kind for m in methods)
    known = [k for k in KINDS if count[k]]
    lines = [*heading("Methods by kind", "="), f"{len(methods)} registered names.", ""]
    lines += table(("kind", "names"), [(f":doc:`{PLURAL[k]} <{k}>`", str(count[k])) for k in known])
    return "\n".join([*lines, ".. toctree::", "   :hidden:", "", *(f"   {k}" for k in known), ""])


def papers(methods: Sequence[Entry]) -> str:
    """Return the bibliography, the newest first, with the methods that lean on each paper."""
    sources = {s.key: s for m in methods for s in (m.source, *m.also)}
    main = {key: [m for m in methods if m.source.key == key] for key in sources}
    more = {key: [m for m in methods if any(s.key == key for s in m.also)] for key in sources}
    lines = [*heading("Methods by paper", "="), f"{len(sources)} papers and books.", ""]
    for year in sorted({s.year for s in sources.values()}, reverse=True):
        lines += heading(str(year))
        for key, source in sorted(sources.items()):
            if source.year != year:
                continue
            lines += [f".. _{key}:", "", *heading(escaped(source.title), "~")]
            venue = f", {escaped(source.venue)}" if source.venue else ""
            url = (
                f" · `{(source.arxiv and 'arXiv:' + source.arxiv) or 'read'} <{place(source)}>`__"
                if place(source)
                else ""
            )
            lines += [f"{escaped(source.authors)}{venue}{url}", ""]
            lines += [f"- {link(m)}: {inline(m.summary)} *{escaped(m.where)}*" for m in main[key]]
            lines += [""] if main[key] else []
            if more[key]:
                lines += [f"Used besides by {', '.join(map(link, more[key]))}.", ""]
            lines += folded("BibTeX", code_block(bibtex(source), "bibtex"))
    return "\n".join(lines)


def finder(methods: Sequence[Entry]) -> str:
    """Return the method finder: a table that a script filters, whole without it."""
    asked = Counter(n for m in methods for n in m.needs)
    boxes = [n for n in CAPABILITIES if asked[n] >= COMMON]
    text = "\n".join(
        [*_form(boxes, [k for k in KINDS if any(m.kind == k for m in methods)]), *_table(methods)]
    )
    inside = "\n".join(f"   {line}" for line in text.splitlines())
    lead = (
        "Tick what your problem offers: the table keeps the methods that need nothing else. Without a tick it holds every"
        " registered name."
    )
    return "\n".join([*heading("Find a method", "="), lead, "", ".. raw:: html", "", inside, ""])


def _form(boxes: Sequence[str], kinds: Sequence[str]) -> list[str]:
    have = [
        f'<label title="{html.escape(CAPABILITIES[n][1])}"><input type="checkbox" name="have" value="{n}"> {n}</label>'
        for n in boxes
    ]
    return [
        '<form id="finder" onsubmit="return false">',
        '<fieldset><legend>What do you have?</legend>', *have, "</fieldset>",
        "<fieldset><legend>What do you want?</legend>",
        '<label>Words <input type="search" name="words" placeholder="sign momentum"></label>',
        '<label>Kind <select name="kind"><option value="">any</option>',
        *(f'<option value="{k}">{PLURAL[k].lower()}</option>' for k in kinds), "</select></label>",
        '<label>Memory <select name="copies"><option value="">any</option>',
        *(f'<option value="{n}">at most {n} cop{"y" if n == 1 else "ies"} of x</option>' for n in range(4)), "</select></label>",
        '<label><input type="checkbox" name="elementwise"> elementwise</label>',
        '<label><input type="checkbox" name="norate"> no learning rate</label>',
        '</fieldset><p role="status" id="found"></p></form>',
    ]  # fmt: skip


def _table(methods: Sequence[Entry]) -> list[str]:
    lines = ['<div class="table-wrapper"><table id="methods"><thead><tr><th>name</th><th>kind</th><th>what it is</th>'
             "<th>needs</th><th>copies of x</th></tr></thead><tbody>"]  # fmt: skip
    for m in methods:
        known = facts(m)
        copies = "" if known["state_copies"] is None else str(known["state_copies"])
        needs, summary = " ".join(m.needs), html.escape(m.summary.replace("`", ""))
        lines.append(
            f'<tr data-kind="{m.kind}" data-needs="{needs}" data-copies="{copies}" data-steps="{int(m.kind in STEPPING)}"'
            f' data-elementwise="{int(bool(known["elementwise"]))}" data-rate="{int(bool(known["rate"]))}">'
            f'<td><a href="methods/{m.name}.html">{m.name}</a></td><td>{m.kind}</td><td>{summary}</td>'
            f"<td>{needs.replace(' ', ', ')}</td><td>{copies}</td></tr>"
        )
    return [*lines, "</tbody></table></div>"]
