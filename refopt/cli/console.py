"""Tables on the terminal, by rich (extra ``cli``)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from refopt.core.errors import missing_extra


def console() -> Any:
    """Return a rich console; off a terminal it does not cut lines at 80 columns."""
    try:
        from rich.console import Console
    except ImportError:
        raise missing_extra("cli", "rich") from None

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            # Where the reader has seen enough, `refopt.cli.main` ends alike for every command.
            raise BrokenPipeError

    return Plain() if sys.stdout.isatty() else Plain(width=160)


def table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Any:
    """Return a rich table without a frame."""
    from rich.table import Table
    from rich.text import Text

    out = Table(box=None, pad_edge=False, header_style="bold")
    for title in header:
        out.add_column(title, overflow="fold")
    for row in rows:
        out.add_row(*(Text(str(cell)) for cell in row))
    return out
