"""A bound on the turns of loops in edited text: an edit that would never end is given up, on every machine alike."""

from __future__ import annotations

import ast
import contextlib
import threading
from collections.abc import Iterator

# Of one call of an edited function. The references' own loops take a few thousand.
MOST = 100_000

# What a bounded text calls `turn`; whoever runs it puts it among the function's globals.
NAME = "_count_a_turn"

_own = threading.local()


class EndlessError(RuntimeError):
    """A variant's loops took more turns than any reference's."""


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Count the turns of bounded loops from zero inside the block."""
    before = getattr(_own, "turns", 0)
    _own.turns = 0
    try:
        yield
    finally:
        _own.turns = before


def turn() -> None:
    """Count one turn.

    Raises
    ------
    EndlessError
        There were more than `MOST` in this call.
    """
    _own.turns = getattr(_own, "turns", 0) + 1
    if _own.turns > MOST:
        raise EndlessError(f"more than {MOST} turns of a loop")


def bound_loops(root: ast.AST) -> bool:
    """Have every ``while`` and ``for`` of a text count its turns; tell whether there is any."""
    loops = [n for n in ast.walk(root) if isinstance(n, (ast.While, ast.For))]
    for loop in loops:
        (call,) = ast.parse(f"{NAME}()").body
        for node in ast.walk(call):
            # Of no line, so that it never counts as run and is not edited.
            if isinstance(node, (ast.expr, ast.stmt)):
                node.lineno = node.end_lineno = node.col_offset = node.end_col_offset = 0
        loop.body.insert(0, call)
    return bool(loops)
