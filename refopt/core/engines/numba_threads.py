"""Threads of the Numba engine: how many, under which lock, and none after a fork."""

from __future__ import annotations

import contextlib
import os
import threading

# Layers whose parallel loops several threads of a program may start at once; Numba's own pool is not one.
SAFE_LAYERS = ("omp", "tbb")

_lock = threading.Lock()
_forked = False


def _in_child() -> None:
    """After a fork the pool of the parent's threads is gone: OpenMP ends a child that asks for it."""
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def allowed() -> int:
    """Return how many threads a loop may take: Numba's number, at most ``OMP_NUM_THREADS``; one after a fork."""
    if _forked:
        return 1
    import numba

    found: int = numba.get_num_threads()
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(found, int(given))) if given.isdecimal() else found


def guard() -> contextlib.AbstractContextManager[object]:
    """Return what a parallel loop runs under: a lock, unless the layer that runs it is safe."""
    import numba

    try:
        safe = numba.threading_layer() in SAFE_LAYERS
    except ValueError:  # no loop has run yet, so that none is chosen
        safe = False
    return contextlib.nullcontext() if safe else _lock
