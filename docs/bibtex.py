"""BibTeX of a source of the registry."""

from __future__ import annotations

import re
from typing import Any


def authors(names: str) -> str:
    """Return names as BibTeX has them; it calls the rest of a list `others`."""
    found = re.sub(r",? et al\.$", ", others", names)
    return " and ".join(re.split(r", (?!Jr)", found))


def bibtex(source: Any) -> str:
    """Return one entry, an article where the registry knows the place in print."""
    fields = {
        "author": authors(source.authors),
        "title": f"{{{source.title}}}",
        "year": str(source.year),
        "journal": source.venue,
        "eprint": source.arxiv,
        "archivePrefix": "arXiv" if source.arxiv else None,
        "doi": source.doi,
        "url": source.url,
    }
    kind = "article" if source.venue else "misc"
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{source.key},", *lines, "}"])


def place(source: Any) -> str:
    """Return the URL of a paper, or nothing."""
    if source.arxiv:
        return f"https://arxiv.org/abs/{source.arxiv}"
    return f"https://doi.org/{source.doi}" if source.doi else source.url or ""
