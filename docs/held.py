"""What `refopt evidence` found: which smallest edits of a rule's text its own evidence did not notice."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from refopt.core.registry import Entry
from rst import code_block, folded
from tests.evidence.held import recorded, text_of


def told(method: Entry) -> list[str]:
    """Return what is recorded of a name, with the edits that nothing noticed; nothing where nobody has looked."""
    found = recorded().get(method.name)
    if found is None:
        return []
    edits, left = found["edits"], found["survivors"]
    noticed = f"all {edits}" if not left else f"{edits - len(left)} of {edits}"
    of = "the rule's text" if text_of(method) == found["text"] else "the rule's text, which has changed since"
    words = f"``refopt evidence {method.name}``, {found['date']}: this evidence notices {noticed} smallest edits of {of}."
    if not left:
        return [words, ""]
    return [words, "", *folded("What it does not notice", code_block("\n".join(left), "text"))]
