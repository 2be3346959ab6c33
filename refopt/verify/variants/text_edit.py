"""The reference with one small edit of its own text, as deviations."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from refopt.core.errors import RefoptError
from refopt.core.method import Method
from refopt.core.params import Params
from refopt.verify.variants.deviation import Deviation, rewritten
from refopt.verify.variants.edits import Edit, Text, edits
from refopt.verify.variants.recorder import Recorder
from refopt.verify.variants.turns import NAME, counted, turn

# What a variant raises that is out of its range, or that its fault breaks altogether.
BROKEN = (
    RefoptError, ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, NameError,
    RuntimeError, TypeError, ValueError, np.linalg.LinAlgError,
)  # fmt: skip


_swapping = threading.RLock()


@contextlib.contextmanager
def swapped(codes: Sequence[tuple[FunctionType, CodeType]]) -> Iterator[None]:
    """Give functions other codes inside the block, whoever calls them."""
    with _swapping:
        before = [function.__code__ for function, _ in codes]
        for function, code in codes:
            function.__code__ = code
            function.__globals__[NAME] = turn
        try:
            with counted():
                yield
        finally:
            for (function, _), old in zip(codes, before):
                function.__code__ = old


def codes_of(edits: tuple[Edit, ...]) -> list[tuple[FunctionType, CodeType]] | None:
    """Return the functions that edits are of, each with its code as all of its edits have it."""
    texts: dict[Text, tuple[Edit, ...]] = {}
    for edit in edits:
        texts[edit.text] = (*texts.get(edit.text, ()), edit)
    codes = [(text.function, text.code(own)) for text, own in texts.items()]
    edited_ones = {function for function, _ in codes}
    beside = {function: code for text in texts for function, code in text.beside}
    codes += [(function, code) for function, code in beside.items() if function not in edited_ones]
    return None if any(code is None for _, code in codes) else codes  # type: ignore[return-value]


def edited(edit: Edit) -> Callable[[Any], Any]:
    """Return the change of a method that runs its steps with the edit in place, beside those it has."""

    def change(method: Any) -> Any:
        if not isinstance(method, Method):
            return None
        now = type(method)
        have = getattr(now, "edits_in_place", ())
        every = (*have, edit)
        if any(edit.clashes(e) for e in have) or (codes := codes_of(every)) is None:
            return None
        cls: Any = now.original if have else now  # type: ignore[attr-defined]

        def init(self: Any, x: Params) -> Any:
            with swapped(codes):
                return cls.init(self, x)

        def update(self: Any, x: Params, grad: Params, s: Any, *, donate: bool = False) -> Any:
            with swapped(codes):
                return cls.update(self, x, grad, s)

        def step(self: Any, x: Params, s: Any, oracle: Any) -> Any:
            with swapped(codes):
                return cls.step(self, x, s, oracle)

        plain = copy.copy(method)
        object.__setattr__(plain, "__class__", cls)
        return rewritten(plain, init=init, update=update, step=step, edits_in_place=every)

    return change


def words(edit: Edit) -> str:
    """Return the clause that a sentence has of an edit."""
    place = edit.text.function.__qualname__
    if not edit.new:
        return f"without the line `{edit.old}` of {place}"
    first = " (…_before: as the function was given it)" if "_before" in edit.new else ""
    return f"with `{edit.new}` where {place} has `{edit.old}`{first}"


def small_edits(run: Callable[[], Any], numbers: tuple[str, ...] = ()) -> list[Edit]:
    """Return each small edit of the functions that ``run()`` goes through, smallest first.

    Parameters
    ----------
    run : callable
    numbers : tuple of str
        The attributes of a method that hold numbers.
    """
    with Recorder() as recorder:
        run()
    found: dict[tuple[str, str, str], Edit] = {}
    texts: dict[FunctionType, Text] = {}
    for function, seen in recorder.functions(numbers):
        texts[function] = Text(function)
        for edit in edits(texts[function], seen):
            found.setdefault((function.__qualname__, edit.old, edit.new), edit)
    looping = [(f, code) for f, text in texts.items() if text.loops and (code := text.code(())) is not None]
    for text in texts.values():
        text.beside = tuple(looping)
    return sorted(found.values(), key=lambda e: e.size)


def edit_deviations(run: Callable[[], Any], numbers: tuple[str, ...] = ()) -> list[list[Deviation]]:
    """Return the edits of `small_edits` as deviations, those of one size together."""
    sizes: dict[int, list[Deviation]] = {}
    for e in small_edits(run, numbers):
        made = Deviation(f"{e.old} -> {e.new or 'nothing'}", words(e), "rule", edited(e))
        sizes.setdefault(e.size, []).append(made)
    return list(sizes.values())
