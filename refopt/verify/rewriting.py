"""The reference with one small edit of its own text, as deviations."""

from __future__ import annotations

import contextlib
import copy
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

import refopt
from refopt.core.errors import RefoptError
from refopt.core.method import Method
from refopt.core.params import Params
from refopt.verify.deviations import Deviation, rewritten
from refopt.verify.edits import Edit, Seen, Text, edits
from refopt.verify.replacements import NUMBER, Kind

ROOMS = ("optimizers", "wrappers", "matrix", "linear", "transport")
_HOME = Path(refopt.__file__).parent
# Loops that Numba compiles when they are first called: edited then, they would stay so.
COMPILED = ("compiled", "bands")
# What a variant raises that is out of its range, or that its fault breaks altogether.
BROKEN = (
    RefoptError, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NameError,
    RuntimeError, TypeError, ValueError, np.linalg.LinAlgError,
)  # fmt: skip


class Recorder:
    """What runs inside the block: functions of the rooms, their lines, and what their names hold."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], set[int]] = {}
        self.kinds: dict[tuple[str, str], dict[str, Kind]] = {}
        self._inside: dict[str, bool] = {}
        self._remembered: dict[CodeType, bool] = {}

    def __enter__(self) -> Recorder:
        self._outer, self._root = sys.gettrace(), sys._getframe(1)
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._outer)

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in self._inside:
            path = Path(name)
            inside = any(path.is_relative_to(_HOME / room) for room in ROOMS)
            self._inside[name] = inside and path.stem not in COMPILED
        return self._line if self._inside[name] and not self._is_remembered(frame) else None

    def _is_remembered(self, frame: FrameType) -> bool:
        """Tell whether what runs here is kept in a cache: edited, it would outlive the edit."""
        at: FrameType | None = frame
        while at is not None and at is not self._root:
            code = at.f_code
            if code not in self._remembered:
                module = sys.modules.get(at.f_globals.get("__name__", ""))
                found = vars(module).get(code.co_name) if module is not None else None
                self._remembered[code] = hasattr(found, "cache_clear")
            if self._remembered[code]:
                return True
            at = at.f_back
        return False

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        key = (code.co_filename, code.co_qualname)
        if event == "line":
            self.lines.setdefault(key, set()).add(frame.f_lineno)
        elif event == "return":
            kinds = self.kinds.setdefault(key, {})
            for name, value in frame.f_locals.items():
                if name not in kinds and (kind := _kind(value)) is not None:
                    kinds[name] = kind
        return self._line

    def functions(self, numbers: tuple[str, ...] = ()) -> Iterator[tuple[FunctionType, Seen]]:
        """Yield the functions that ran, outermost ones, with what was seen of each."""
        homes = {m.__file__: m for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
        outer: dict[tuple[str, str], set[tuple[str, str]]] = {}
        for file, qualname in self.lines:
            outer.setdefault((file, qualname.split(".<locals>")[0]), set()).add((file, qualname))
        for (file, qualname), inner in outer.items():
            function = _resolved(homes.get(file), qualname)
            if function is not None:
                lines = frozenset().union(*(self.lines[k] for k in inner))
                yield function, Seen(lines, {k[1]: self.kinds.get(k, {}) for k in inner}, numbers)


def _kind(value: Any) -> Kind | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float, np.number)) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return NUMBER
    return ("array", value.shape) if isinstance(value, np.ndarray) else None


def _resolved(module: ModuleType | None, qualname: str) -> FunctionType | None:
    found: Any = module
    for part in qualname.split("."):
        found = vars(found).get(part) if found is not None and hasattr(found, "__dict__") else None
    if isinstance(found, staticmethod):
        found = found.__func__
    elif isinstance(found, property):
        found = found.fget
    return found if isinstance(found, FunctionType) else None


_swapping = threading.RLock()


@contextlib.contextmanager
def swapped(codes: Sequence[tuple[FunctionType, CodeType]]) -> Iterator[None]:
    """Give functions other codes inside the block, whoever calls them."""
    with _swapping:
        before = [function.__code__ for function, _ in codes]
        for function, code in codes:
            function.__code__ = code
        try:
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
    for function, seen in recorder.functions(numbers):
        for edit in edits(function, seen):
            found.setdefault((function.__qualname__, edit.old, edit.new), edit)
    return sorted(found.values(), key=lambda e: e.size)


def edit_deviations(run: Callable[[], Any], numbers: tuple[str, ...] = ()) -> list[list[Deviation]]:
    """Return the edits of `small_edits` as deviations, those of one size together."""
    sizes: dict[int, list[Deviation]] = {}
    for e in small_edits(run, numbers):
        made = Deviation(f"{e.old} -> {e.new or 'nothing'}", words(e), "rule", edited(e))
        sizes.setdefault(e.size, []).append(made)
    return list(sizes.values())
