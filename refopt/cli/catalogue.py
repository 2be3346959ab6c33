"""``refopt list`` and ``refopt show``."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import sys
import textwrap
from typing import Any

from refopt.cli.console import console, table
from refopt.cli.find import facts, search
from refopt.core.errors import MissingExtraError
from refopt.core.index import index
from refopt.core.registry import Entry, check_kind, entry


def list_methods(kind: str | None, as_json: bool, **conditions: Any) -> int:
    """Print every registered name, those of one kind, or those that fulfil `refopt.cli.find.search`'s conditions."""
    check_kind(kind)
    if any(v is not None and v is not False for v in conditions.values()):
        found = [index()[m.name] for m in search(kind, **conditions) if m.name in index()]
    else:
        found = [row for row in index().values() if kind in (None, row.kind)]
    if as_json:
        print(json.dumps([{"name": r.name, "kind": r.kind, "summary": r.summary} for r in found], indent=1))
        return 0
    rows = [(r.name, r.kind, r.paper, r.summary) for r in found]
    console().print(table(("name", "kind", "source", "what it is"), rows))
    return 0


def describe(method: Entry) -> dict[str, Any]:
    """Return what `show` prints, as plain data."""
    return {
        "name": method.name,
        "kind": method.kind,
        "documentation": inspect.getdoc(method.obj) or "",
        "hyperparameters": _hyperparameters(method.obj),
        "source": str(method.source),
        "where": method.where,
        "also": [str(s) for s in method.also],
        "needs": list(method.needs),
        "facts": facts(method),
        "dialects": {
            name: {
                "settings": {k: repr(v) for k, v in d.settings.items()},
                "library": d.library,
                "note": d.note,
            }
            for name, d in method.dialects.items()
        },
        "evidence": [dataclasses.asdict(e) for e in method.evidence],
    }


def _told(known: dict[str, Any]) -> str:
    """Return what is known of a method in one line."""
    copies = known["state_copies"]
    parts = [
        "elementwise" if known["elementwise"] else "",
        ""
        if copies is None
        else f"{copies} {'copy' if copies == 1 else 'copies'} of the parameters in its state",
        "draws random numbers from its own seed" if known["seed"] else "",
        f'lr="auto": {known["rate_from"]}' if known["rate_from"] else "",
    ]
    return "; ".join(filter(None, parts))


def _hyperparameters(obj: Any) -> list[dict[str, str]]:
    if dataclasses.is_dataclass(obj):
        return [
            {"name": f.name, "default": _default(f.default), "allowed": _allowed(f.metadata.get("allowed"))}
            for f in dataclasses.fields(obj)
        ]
    parameters = inspect.signature(obj).parameters.values()
    return [{"name": p.name, "default": _default(p.default), "allowed": ""} for p in parameters]


def _default(value: Any) -> str:
    missing = value is dataclasses.MISSING or value is inspect.Parameter.empty
    return "" if missing else repr(value)


def _allowed(allowed: Any) -> str:
    if allowed is None:
        return ""
    return allowed if isinstance(allowed, str) else " | ".join(map(repr, allowed))


def code(obj: Any) -> str:
    """Return the text of a method's rule and of its step's numbers, or of a function."""
    parts = [getattr(obj, part, None) for part in ("rule", "scalars")] if isinstance(obj, type) else [obj]
    own = [p for p in parts if callable(p) and not p.__module__.startswith("refopt.core.")]
    return "\n".join(textwrap.dedent(inspect.getsource(p)) for p in own or [obj])


def show(name: str, as_json: bool, as_code: bool = False) -> int:
    """Print all that is known of one name, or its code."""
    if as_code:
        print(code(entry(name).obj), end="")
        return 0
    facts = describe(entry(name))
    if as_json:
        print(json.dumps(facts, indent=1))
        return 0
    out = console()
    out.print(f"{facts['name']} ({facts['kind']})", style="bold", highlight=False)
    out.print(facts["documentation"], markup=False, highlight=False)
    if facts["needs"]:
        out.print("\nNeeds of a problem", style="bold")
        out.print(", ".join(facts["needs"]), highlight=False)
    told = _told(facts["facts"])
    if told:
        out.print("\nFacts", style="bold")
        out.print(told, highlight=False)
    out.print("\nDialects", style="bold")
    rows = [
        (
            n,
            ", ".join(f"{k}={v}" for k, v in d["settings"].items()),
            "; ".join(filter(None, (d["library"], d["note"]))),
        )
        for n, d in facts["dialects"].items()
    ]
    out.print(table(("name", "settings", "whose"), rows))
    out.print("\nEvidence", style="bold")
    out.print(table(("kind", "what", "test"), [(e["kind"], e["what"], e["test"]) for e in facts["evidence"]]))
    return 0


def evidence(names: list[str]) -> int:
    """Run each name's evidence under every small edit of its text, and print what survives."""
    for name in names:
        entry(name)
    # The tests are no part of the package: they are where the command is run.
    sys.path.insert(0, os.getcwd())
    try:
        run = importlib.import_module("tests.evidence.hold").main
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"evidence: the tests are needed ({error.name} is missing); run this at the root of a checkout of refopt,"
            " in the environment of `make test`"
        ) from None
    return int(run(names))
