"""What `refopt evidence` found: which smallest edits of a rule's text its own evidence did not notice."""

from __future__ import annotations

import hashlib
import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

from refopt.core.registry import Entry
from rst import code_block, folded

# Written by `python -m tests.evidence.hold NAME --record`.
FILE = Path(__file__).parent.parent / "tests" / "evidence" / "held.json"


@cache
def records() -> dict[str, dict[str, Any]]:
    """Return what is recorded, by name."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def told(method: Entry) -> list[str]:
    """Return what is recorded of a name, with the edits that nothing noticed; nothing where nobody has looked."""
    found = records().get(method.name)
    if found is None:
        return []
    file = Path(inspect.getsourcefile(inspect.unwrap(method.obj)) or "")
    same = hashlib.sha256(file.read_bytes()).hexdigest()[:12] == found["text"]
    edits, left = found["edits"], found["survivors"]
    noticed = f"all {edits}" if not left else f"{edits - len(left)} of {edits}"
    of = "the rule's text" if same else "the rule's text, which has changed since"
    words = f"``refopt evidence {method.name}``, {found['date']}: this evidence notices {noticed} smallest edits of {of}."
    if not left:
        return [words, ""]
    return [words, "", *folded("What it does not notice", code_block("\n".join(left), "text"))]
