"""Programs in any language as a side of a comparison: JSON lines over standard input and output.

docs/protocol.md is the protocol; docs/examples has programs in C and JavaScript.
"""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import os
import queue
import shlex
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from refopt.core.build import optimizer
from refopt.core.errors import ArgumentError, ArgumentTypeError, ProgramError, RefoptError, ShapeError, plain
from refopt.core.hyper import check_known, check_number
from refopt.core.registry import STEPPING, entry
from refopt.verify.sides.side import Leaves, Run, Schedule, Side

PROTOCOL = 1


# A program that is told to stop has so many seconds before it is ended.
GRACE = 2.0


LONGEST_LINE = 1 << 26


_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _number(value: float) -> float | str:
    """JSON has no NaN or infinity: they are strings."""
    return value if math.isfinite(value) else str(float(value))


def _plain(value: Any, name: str) -> Any:
    """Return a hyperparameter as JSON holds it."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return _number(float(value))
    if isinstance(value, (list, tuple)):
        return [_plain(v, name) for v in value]
    raise ArgumentTypeError(f"hyper: {name}: {value!r} cannot be told to a program")


def _flat(x: Leaves) -> dict[str, list[float | str]]:
    # A float32 is written as the double that equals it: a reader of doubles gets it exactly.
    return {k: [_number(u) for u in np.asarray(v, dtype=np.float64).ravel().tolist()] for k, v in x.items()}


def _refuse(name: str) -> Any:
    raise ValueError(f'{name} is not JSON; write the string "nan", "inf" or "-inf"')


def _end(process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
    """End a process and what it started, and give back its pipes. Any number of times."""
    # The program leads a session of its own: what it started ends with it, and lives on when it has ended itself.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, words):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()


class Conversation:
    """A running program that is asked and answers, a line each. It is ended with this object at the latest."""

    def __init__(self, command: list[str], timeout: float) -> None:
        self.label, self.timeout = shlex.join(command), timeout
        # A file, not a pipe: a program may say much without anybody listening.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (closed by _end)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._words.close()
            raise ProgramError(
                f"command: {self.label} cannot start ({getattr(error, 'strerror', None) or error})"
            ) from None
        self._finish = weakref.finalize(self, _end, self._process, self._words)

    def ask(self, message: Mapping[str, Any], doing: str) -> dict[str, Any]:
        """Send a message and return the answer, an object with ``"ok": true``.

        Parameters
        ----------
        message : dict
        doing : str
            For errors: ``"at step 3"``.

        Raises
        ------
        ProgramError
            The program died, was silent, answered no JSON object, or that it cannot.
        """
        text = json.dumps({"refopt": PROTOCOL, **message}, allow_nan=False) + "\n"
        answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        worker = threading.Thread(target=self._exchange, args=(text.encode(), answers), daemon=True)
        worker.start()
        try:
            line = answers.get(timeout=self.timeout)
        except queue.Empty:
            said = self._said()
            self._finish()
            worker.join(GRACE)
            raise ProgramError(
                f"{self.label}: no answer {doing} within {self.timeout:g} s; does it flush its output after"
                f" every line?{said}"
            ) from None
        except BaseException:
            self._finish()
            raise
        worker.join()
        if not line:
            raise ProgramError(f"{self.label}: {self._death()} {doing}{self._said_and_closed()}")
        return self._read(line, doing)

    def _exchange(self, text: bytes, answers: queue.SimpleQueue[bytes | None]) -> None:
        """Write and read; None if the other end is closed. Both may block, so this is a thread's work."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(text)
            stdin.flush()
            answers.put(stdout.readline(LONGEST_LINE))
        except (OSError, ValueError):
            answers.put(None)

    def _read(self, line: bytes, doing: str) -> dict[str, Any]:
        shown = plain(line[:80].decode("utf-8", "replace").rstrip("\n"))
        try:
            answer = json.loads(line.decode("utf-8"), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            self._finish()
            raise ProgramError(f"{self.label}: {doing} it answered {shown!r}: not JSON ({error})") from None
        if not isinstance(answer, dict):
            self._finish()
            raise ProgramError(f"{self.label}: {doing} it answered {shown!r}: wanted a JSON object")
        if answer.get("ok") is not True:
            self._finish()
            raise ProgramError(
                f"{self.label}: {doing} it refused: {plain(str(answer.get('error', shown)))}"
                if "error" in answer
                else f'{self.label}: {doing} it answered {shown!r}: wanted "ok": true, or "error": "why"'
            )
        return answer

    def _death(self) -> str:
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "closed its output"
        if code >= 0:
            return f"ended with status {code}"
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"

    def _said(self) -> str:
        """Return the last lines of its standard error."""
        try:
            size = self._words.seek(0, os.SEEK_END)
            self._words.seek(max(0, size - 2000))
            lines = self._words.read().decode("utf-8", "replace").strip().splitlines()[-5:]
        except (OSError, ValueError):
            return ""
        return "; it said: " + " | ".join(map(plain, lines)) if lines else ""

    def _said_and_closed(self) -> str:
        said = self._said()
        self._finish()
        return said

    def close(self) -> None:
        """Tell the program to stop; end it if it does not."""
        if not self._finish.alive:
            return
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, ValueError):
            stdin.write(json.dumps({"refopt": PROTOCOL, "do": "stop"}).encode() + b"\n")
            stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        self._finish()


class ProgramRun(Run):
    """One run of a program: one process."""

    def __init__(
        self,
        conversation: Conversation,
        method: str,
        x0: Leaves,
        hyper: Mapping[str, Any],
        schedule: Schedule | None,
    ) -> None:
        self._conversation, self._schedule = conversation, schedule
        self._shapes = {k: v.shape for k, v in x0.items()}
        self._dtype = next(iter(x0.values())).dtype
        self._state: dict[str, Leaves] = {}
        start = {
            "do": "start",
            "method": method,
            "dtype": str(self._dtype),
            "hyper": {k: _plain(v, k) for k, v in hyper.items()},
            "shapes": {k: list(s) for k, s in self._shapes.items()},
            "x": _flat(x0),
        }
        conversation.ask(start, "at the start")

    def step(self, g: Leaves, t: int) -> Leaves:
        """Send a gradient; return the point that the program answers."""
        multiplier = 1.0 if self._schedule is None else float(self._schedule(t))
        message = {"do": "step", "t": t, "lr_multiplier": _number(multiplier), "g": _flat(g)}
        answer = self._conversation.ask(message, f"at step {t}")
        try:
            x = self._leaves(answer.get("x"), "x", t)
            state = answer.get("state", {})
            if not isinstance(state, dict):
                raise ProgramError(f"at step {t} wanted state as an object, got {_brief(state)}")
            self._state = {k: self._leaves(v, f"state[{k!r}]", t) for k, v in state.items()}
        except RefoptError as error:
            self.close()
            raise type(error)(f"{self._conversation.label}: {error}") from None
        return x

    def _leaves(self, value: Any, name: str, t: int) -> Leaves:
        if not isinstance(value, dict) or value.keys() != self._shapes.keys():
            raise ShapeError(
                f"at step {t} wanted {name} with the leaves {list(self._shapes)}, got {_brief(value)}"
            )
        return {k: self._array(value[k], f"{name}[{k!r}]", k, t) for k in self._shapes}

    def _array(self, value: Any, name: str, leaf: str, t: int) -> np.ndarray:
        shape = self._shapes[leaf]
        wanted = f"at step {t} wanted {name} as a list of {math.prod(shape)} numbers"
        if not isinstance(value, list) or len(value) != math.prod(shape):
            raise ShapeError(f"{wanted}, got {_brief(value)}")
        out = np.empty(len(value))
        for i, v in enumerate(value):
            if isinstance(v, str) and v in _WORDS:
                v = _WORDS[v]
            if isinstance(v, bool) or not isinstance(v, (int, float)):
                raise ProgramError(f'{wanted} (or "nan", "inf", "-inf"), got {v!r}')
            try:
                out[i] = float(v)
            except OverflowError:  # of a whole number of many digits
                out[i] = math.inf if v > 0 else -math.inf
        with np.errstate(over="ignore"):
            return out.astype(self._dtype).reshape(shape)

    def state(self) -> dict[str, Leaves]:
        """Return what the program showed with its last answer."""
        return self._state

    def close(self) -> None:
        """End the program."""
        self._conversation.close()


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {list(value)}"
    return f"a list of {len(value)}" if isinstance(value, list) else repr(value)


def program_side(command: str | list[str], *, method: str = "", timeout: float = 10.0) -> Side:
    """Return a program as a side of a comparison.

    The program is started once to describe itself, and once for every run; each process is ended when
    its run is closed, fails or is forgotten.

    Parameters
    ----------
    command : str or list of str
        The program and its arguments; a str is split as a shell would, but no shell runs.
    method : str
        The reference's name, which the program is told; its hyperparameters are held to that one's.
    timeout : float, seconds, range (0, inf)
        For each answer.

    Returns
    -------
    Side
        What `refopt.verify.compare` and its kin take.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        An empty command, or one that is no text; an unknown method.
    ProgramError
        The program cannot start, dies, is silent, answers no JSON, or describes hyperparameters that
        the method does not have. A run's steps raise it too, and `ShapeError` where an answer has the
        wrong leaves or sizes.

    Examples
    --------
    >>> import refopt, sys
    >>> refopt.verify.program_side([sys.executable, "-c", "input()"])
    Traceback (most recent call last):
    refopt.core.errors.ProgramError: ...: ended with status 0 when asked to describe itself
    """
    if isinstance(command, str):
        try:
            command = shlex.split(command)
        except ValueError as error:
            raise ArgumentError(f"command: {command!r} cannot be split ({error})") from None
    words = list(command) if isinstance(command, (list, tuple)) else [None]
    if not all(isinstance(w, (str, os.PathLike)) for w in words):
        raise ArgumentTypeError(f"command: wanted a str or a list of str, got {command!r}")
    argv = [os.fspath(w) for w in words]
    if not argv or not argv[0]:
        raise ArgumentError("command: is empty; wanted a program and its arguments")
    check_number(timeout, "(0, inf)", "timeout")
    if method:
        entry(method, STEPPING)
    first = Conversation(argv, timeout)
    try:
        told = first.ask({"do": "describe", "method": method}, "when asked to describe itself")
    finally:
        first.close()
    takes, known = _described(told, first.label, method)

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        conversation = Conversation(argv, timeout)
        try:
            return ProgramRun(conversation, method, x0, hyper, schedule)
        except BaseException:
            conversation.close()
            raise

    return Side(
        name=str(told.get("name", os.path.basename(argv[0]))),
        begin=begin,
        takes=takes,
        known=known,
        schedulable=told.get("schedule") is True,
        together=told.get("together") is not False,
        costly=True,
    )


def _described(told: Mapping[str, Any], label: str, method: str) -> tuple[frozenset[str], dict[str, Any]]:
    """Check what a program says of itself: the names that it takes, and the values that it has."""
    takes, known = told.get("takes", []), told.get("known", {})
    if not isinstance(takes, list) or not all(isinstance(k, str) for k in takes):
        raise ProgramError(f"{label}: takes: wanted a list of names, got {takes!r}")
    if not isinstance(known, dict):
        raise ProgramError(f"{label}: known: wanted an object of values, got {known!r}")
    known = {k: _WORDS.get(v, v) if isinstance(v, str) else v for k, v in known.items()}
    if method:
        try:
            check_known(entry(method).obj, {**dict.fromkeys(takes), **known}, method)
            optimizer(method, **known)
        except RefoptError as error:
            raise ProgramError(f"{label}: it describes itself with: {error}") from None
    return frozenset(takes), known
