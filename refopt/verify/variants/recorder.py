"""Which functions the reference runs through, and the kinds of values that their names had."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

import refopt
from refopt.verify.variants.edits import Seen
from refopt.verify.variants.replacements import NUMBER, Kind

ROOMS = (
    "optimizers", "schedules", "wrappers", "curvature", "matrix", "linear", "transport", "aggregators", "manifolds",
    "diagnostics", "bilevel",
)  # fmt: skip


_HOME = Path(refopt.__file__).parent


# Loops that Numba compiles when they are first called: edited then, they would stay so.
COMPILED = ("compiled", "bands")


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
    found = inspect.unwrap(found) if callable(found) else found
    return found if isinstance(found, FunctionType) else None
