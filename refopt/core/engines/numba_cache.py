"""Compiled loops by what went into them: descriptions of rules, and the place on disk.

Numba's own cache does not see functions and values that a rule captures, so a loop is kept under a
hash of everything: the generated text, the rule's byte code with what it captures, and the versions.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def cache_dir() -> pathlib.Path:
    """Return the directory for compiled loops: ``REFOPT_CACHE_DIR``, or the user's cache."""
    chosen = os.environ.get("REFOPT_CACHE_DIR")
    if chosen:
        return pathlib.Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".cache") / "refopt"


def describe(value: Any) -> str:
    """Describe a captured value so that equal descriptions mean equal machine code."""
    if isinstance(value, types.FunctionType):
        cells = [describe(c.cell_contents) for c in value.__closure__ or ()]
        code = value.__code__
        consts = [describe(c) for c in code.co_consts]
        used = [f"{n}={describe(value.__globals__[n])}" for n in code.co_names if n in value.__globals__]
        return f"fn({code.co_code.hex()},{consts},{code.co_names},{code.co_varnames},{cells},{used})"
    if isinstance(value, types.CodeType):
        return f"code({value.co_code.hex()},{[describe(c) for c in value.co_consts]},{value.co_names})"
    if isinstance(value, types.ModuleType):
        return f"module({value.__name__})"
    return repr(value)


def with_literals(code: types.CodeType, element: type[np.floating[Any]]) -> types.CodeType:
    """Return a rule's code with its float literals as `element`: as float64 they would widen a float32 loop."""
    return code.replace(co_consts=tuple(element(c) if isinstance(c, float) else c for c in code.co_consts))


def jitted(fn: types.FunctionType, njit: Callable[..., Any], element: type[np.floating[Any]]) -> Any:
    """Compile `fn` as a scalar function of `element` numbers, and every plain Python function that it calls."""

    def compiled(value: Any) -> Any:
        return jitted(value, njit, element) if isinstance(value, types.FunctionType) else value

    names = fn.__code__.co_names
    scope = {**fn.__globals__, **{n: compiled(fn.__globals__[n]) for n in names if n in fn.__globals__}}
    cells = tuple(types.CellType(compiled(c.cell_contents)) for c in fn.__closure__ or ())
    copy = types.FunctionType(with_literals(fn.__code__, element), scope, fn.__name__, fn.__defaults__, cells)
    # LLVM alone leaves rules of many numbers as calls an element (measured: 110 ns in place of 2).
    return njit(error_model="numpy", forceinline=True)(copy)


def key_of(*parts: str) -> str:
    """Return the hash of `parts` and of the versions that machine code depends on."""
    import numba

    text = "|".join((*parts, numba.__version__, np.__version__, str(sys.version_info[:2])))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def module_of(source: str, key: str, scope: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Execute generated text as a module, from a file beside which Numba can keep its cache.

    Parameters
    ----------
    source : str
    key : str
        Of `key_of`: names the file and the module.
    scope : dict
        Names that the text uses.

    Returns
    -------
    names : dict
        The module's namespace.
    kept : bool
        False if no place is writable, so that nothing can be cached.
    """
    path = _write_once(source, key)
    # Numba looks the module up by name when it loads a kept loop.
    module = types.ModuleType(f"refopt_loop_{key}")
    sys.modules[module.__name__] = module
    module.__dict__.update(scope)
    exec(compile(source, str(path or "<refopt loop>"), "exec"), module.__dict__)
    return module.__dict__, path is not None


def _write_once(source: str, key: str) -> pathlib.Path | None:
    """Put the generated text where Numba can keep its cache beside it; None if no place is writable."""
    path = cache_dir() / f"loop_{key}.py"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _ours_alone(path.parent):
            return None
        if not path.exists():
            _replace(path, source)
    except OSError:
        return None
    return path


def _replace(path: pathlib.Path, text: str) -> None:
    """Write a file whole or not at all, and leave nothing beside it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, suffix=".tmp") as f:
        try:
            f.write(text)
            f.close()
            os.replace(f.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(f.name)
            raise


def _ours_alone(folder: pathlib.Path) -> bool:
    """Tell whether nobody else can write into the folder: a kept loop is unpickled when it is loaded."""
    if not hasattr(os, "geteuid"):
        return True
    found = folder.stat()
    if found.st_uid in (os.geteuid(), 0) and not found.st_mode & 0o022:
        return True
    warnings.warn(
        f"compiled loops are not kept: others can write into {folder} (its owner is {found.st_uid}, its mode"
        f" {found.st_mode & 0o777:o}), and who can write there can run code here; choose another REFOPT_CACHE_DIR, or"
        " chmod 700",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def forget(key: str) -> None:
    """Remove what Numba has kept of a loop: it is damaged, or of something else."""
    for file in cache_dir().rglob(f"loop_{key}.*.nb[ic]"):
        with contextlib.suppress(OSError):
            file.unlink()
