"""One page a registered name, and an index by kind: written from the registry, never by hand."""

from __future__ import annotations

import inspect
import pathlib

import refopt
from refopt.cli.catalogue import describe
from refopt.core.registry import KINDS, Entry


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows), ""]


def page(method: Entry) -> str:
    """Return the page of one name, in MyST markdown."""
    facts = describe(method)
    directive = "autoclass" if inspect.isclass(method.obj) else "autofunction"
    lines = [
        f"# {method.name}",
        "",
        f"*{method.kind}* — `{method.obj.__module__}.{method.obj.__qualname__}`",
        "",
        f"**Source.** {facts['source']} {method.where}.",
        "",
        *(f"Also: {other}\n" for other in facts["also"]),
        *([f"**Needs of a problem.** {', '.join(facts['needs'])}", ""] if facts["needs"] else []),
        "```{eval-rst}",
        f".. {directive}:: {method.obj.__module__}.{method.obj.__qualname__}",
        "```",
        "",
        "## Hyperparameters",
        "",
        *_table(
            ("name", "default", "range"),
            [(f"`{h['name']}`", f"`{h['default']}`" if h["default"] else "", h["allowed"]) for h in facts["hyperparameters"]],
        ),
        "## Dialects",
        "",
        *_table(
            ("name", "settings", "whose"),
            [
                (n, ", ".join(f"`{k}={v}`" for k, v in d["settings"].items()), " — ".join(filter(None, (d["library"], d["note"]))))
                for n, d in facts["dialects"].items()
            ],
        ),
        "## Evidence",
        "",
        *_table(("kind", "what", "test"), [(e["kind"], e["what"], f"`{e['test']}`") for e in facts["evidence"]]),
    ]  # fmt: skip
    return "\n".join(lines)


def write(folder: pathlib.Path) -> None:
    """Write all pages into `folder`, and remove what is no longer registered."""
    folder.mkdir(exist_ok=True)
    methods = refopt.methods()
    for old in folder.glob("*.md"):
        old.unlink()
    for method in methods:
        (folder / f"{method.name}.md").write_text(page(method))
    lines = ["# Methods", ""]
    for kind in KINDS:
        names = [m for m in methods if m.kind == kind]
        if names:
            lines += [
                f"## {kind}",
                "",
                *_table(("name", "what it is"), [(f"[{m.name}]({m.name}.md)", m.summary) for m in names]),
            ]
    lines += ["```{toctree}", ":hidden:", "", *(m.name for m in methods), "```", ""]
    (folder / "index.md").write_text("\n".join(lines))
