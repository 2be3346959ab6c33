"""Executors: this process, and processes that end with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any


class Serial(Executor):
    """An executor that runs what it is given at once, in the calling thread.

    Examples
    --------
    >>> from refopt.sweeps import Serial
    >>> Serial().submit(pow, 2, 3).result()
    8
    """

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Call `function` and return a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:
            future.set_exception(error)
        return future


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes(count: int) -> ProcessPoolExecutor:
    """Return `count` fresh processes, which end when this one does, however it ends."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_follow_the_parent)


def _follow_the_parent() -> None:
    """End with the parent: a worker that waits for work holds its own pipe open and would wait for ever."""
    # Ctrl-C reaches every process of a terminal; the parent is the one to say so.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
