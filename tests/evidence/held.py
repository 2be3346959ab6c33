"""What `python -m tests.evidence.hold NAME --record` found, a line a name: the site shows it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refopt.core.registry import Entry

HELD = Path(__file__).parent / "held.json"


def text_of(method: Entry) -> str:
    """Return a digest of the files that a name's rule stands in, those it inherits from among them: what is recorded is of this text."""
    obj = inspect.unwrap(method.obj)
    owners = [
        c
        for c in getattr(obj, "__mro__", (obj,))
        if c.__module__.startswith("refopt.") and ".core." not in c.__module__
    ]
    files = sorted({inspect.getsourcefile(c) or "" for c in owners})
    return hashlib.sha256(b"".join(Path(f).read_bytes() for f in files)).hexdigest()[:12]


def recorded() -> dict[str, dict[str, Any]]:
    """Return what is kept, by name."""
    return json.loads(HELD.read_text(encoding="utf-8"))


def keep(method: Entry, date: str, edits: int, survivors: Sequence[str]) -> None:
    """Keep what came of a name."""
    kept = recorded()
    kept[method.name] = {"date": date, "text": text_of(method), "edits": edits, "survivors": list(survivors)}
    lines = [f" {json.dumps(n)}: {json.dumps(kept[n], ensure_ascii=False)}" for n in sorted(kept)]
    HELD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
