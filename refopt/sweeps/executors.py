"""Executors: this process, and processes that end with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing.connection import Connection
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
        """Call `function` and return a future that is done.

        Parameters
        ----------
        function : callable
        *arguments, **keywords
            What it is called with.

        Returns
        -------
        concurrent.futures.Future
            With the answer, or with what was raised.
        """
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


class Processes(ProcessPoolExecutor):
    """Fresh processes that end when this one does, however it ends, and at once where an exception leaves the block.

    Parameters
    ----------
    count : int
    """

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        # The writing end is here alone, and closes with this process: a worker that waits for work would not see it go, since it
        # holds its own pipe open.
        follow, self._life = context.Pipe(duplex=False)
        super().__init__(count, mp_context=context, initializer=_follow, initargs=(follow,))

    def __exit__(self, kind: Any, *rest: Any) -> bool | None:
        if kind is not None:
            self._life.close()
        return super().__exit__(kind, *rest)


def _follow(parent: Connection) -> None:
    """End with the parent. Ctrl-C, which reaches every process of a terminal, is the parent's to answer."""
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            parent.recv_bytes()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
