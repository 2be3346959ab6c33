"""Optimizers that own their loop: ``minimize(f, x0, grad)``, run in a thread that waits for every gradient."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError
from refopt.verify.sides.functions import positional
from refopt.verify.sides.names import parameters, places, read, unread, write
from refopt.verify.sides.side import Leaves, Run, Schedule, Side

# What such a function calls the start, the gradient's function and the objective's.
STARTS = (
    "x0",
    "x_0",
    "x_init",
    "x_start",
    "x_initial",
    "initial",
    "init",
    "start",
    "theta0",
    "w0",
    "params0",
)
GRADIENTS = (
    "grad",
    "gradient",
    "jac",
    "fprime",
    "df",
    "grad_f",
    "grad_fn",
    "grad_fun",
    "grad_func",
    "gradient_fn",
)
VALUES = ("f", "fun", "func", "fn", "function", "objective", "loss", "cost", "loss_fn")

# Limits of such a loop, and what they are set to: the comparison ends it.
LIMITS: Mapping[str, Any] = {
    **dict.fromkeys(
        ("maxiter", "max_iter", "max_iters", "n_iter", "niter", "num_iters", "iterations", "n_iterations", "steps",
         "n_steps", "num_steps", "nsteps", "epochs", "max_steps", "num_iterations", "max_iterations"),
        2000,
    ),
    **dict.fromkeys(("tol", "gtol", "ftol", "xtol", "atol", "rtol", "tolerance", "precision"), -1.0),
}  # fmt: skip


# A loop that asks for nothing so long is taken for endless, and so is one that asks for so many values without a gradient.
SILENT, VALUES_ALONE = 60.0, 100_000


class _Over(BaseException):
    """Ends the loop from inside its call of the gradient; nobody's ``except Exception`` catches it."""


def owns_loop(fn: Any) -> bool:
    """Tell whether a function takes a start and the gradient as a function."""
    names = positional(fn) if callable(fn) else []
    return any(n in STARTS for n in names) and any(n in GRADIENTS for n in names)


class LoopRun(Run):
    """One call, on one vector; every gradient that it asks for is the next of the tape."""

    def __init__(
        self, call: Callable[[np.ndarray, Callable[[Any], Any], Callable[[Any], Any]], Any], x0: Leaves
    ) -> None:
        ((self.leaf, x),) = x0.items()
        self.shape, self.dtype = x.shape, x.dtype
        self.asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.given: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.ended: Any = None
        self.values, self.left = 0, False
        self.thread = threading.Thread(target=self._run, args=(call, x.reshape(-1).copy()), daemon=True)
        self.thread.start()
        self._next(0)

    def _run(self, call: Callable[..., Any], start: np.ndarray) -> None:
        def grad(x: Any) -> Any:
            self.asked.put(("at", np.array(x)))
            g = self.given.get()
            if g is None:
                raise _Over
            return g

        try:
            self.asked.put(("end", call(start, grad, self._value)))
        except _Over:
            pass
        except Exception as error:
            self.asked.put(("error", error))
        except BaseException as error:
            # sys.exit in the loop is not the comparison's.
            self.asked.put(("error", ArgumentError(f"other: it left its loop by {type(error).__name__}")))

    def _value(self, x: Any) -> float:
        """Tell the value 0, unless nothing else is asked for or nobody listens any more."""
        self.values += 1
        if self.left or self.values > VALUES_ALONE:
            self.asked.put(("end", None))
            raise _Over
        return 0.0

    def _next(self, t: int) -> np.ndarray:
        self.values = 0
        try:
            what, value = self.asked.get(timeout=SILENT)
        except queue.Empty:
            self.left = True
            raise ArgumentError(
                f"other: asked for no gradient and did not end for {SILENT:g} s; is its loop endless?"
            ) from None
        if what == "error":
            raise value
        if what == "end":
            self.ended, value = t, _result(value)
        try:
            found = np.array(value, dtype=self.dtype)
        except (TypeError, ValueError):
            raise ArgumentError(
                f"other: wanted a point of {int(np.prod(self.shape))} real numbers, got {type(value).__qualname__}"
                + ("; is a `return` missing?" if value is None else "")
            ) from None
        if found.size != int(np.prod(self.shape)):
            self.close()
            raise ArgumentError(
                f"other: wanted a point of {int(np.prod(self.shape))} numbers, got shape {found.shape}"
            )
        return found.reshape(self.shape)

    def step(self, g: Leaves, t: int) -> Leaves:
        """Answer with a gradient; the new point is where the next is asked for, or what the call returned."""
        if self.ended is not None:
            raise ArgumentError(
                f"other: it ended after {self.ended} steps; raise its number of iterations, with functools.partial"
            )
        self.given.put(g[self.leaf].reshape(-1).copy())
        return {self.leaf: self._next(t)}

    def notes(self) -> list[str]:
        """Say how its steps are counted."""
        return [
            "It owns its loop: every gradient that it asks for is taken for a step, every value it is told is 0."
        ]

    def close(self) -> None:
        """End the loop."""
        self.left = True
        if self.ended is None:
            self.given.put(None)
        self.thread.join(timeout=1.0)


def _result(value: Any) -> Any:
    """Return the point from x, ``(x, ...)`` or an object with ``x``."""
    value = value[0] if isinstance(value, tuple) else value
    return getattr(value, "x", value)


def loop_side(fn: Callable[..., Any], kept: Mapping[str, Any], cls: type, label: str) -> Side:
    """Return the side of a function of a start and of the gradient; its other numbers are hyperparameters."""
    every = parameters(fn)
    roles = {role: next((n for n in every if n in names), "") for role, names in
             (("start", STARTS), ("grad", GRADIENTS), ("value", VALUES))}  # fmt: skip
    limits = {k: v for k, v in LIMITS.items() if k in every and k not in kept}
    takes = {k: v for k, v in every.items() if k not in kept and k not in roles.values() and k not in limits}

    def begin(x0: Leaves, hyper: Mapping[str, Any], schedule: Schedule | None) -> Run:
        def call(start: np.ndarray, grad: Callable[[Any], Any], value: Callable[[Any], Any]) -> Any:
            given = {roles["start"]: start, roles["grad"]: grad, roles["value"]: value}
            return fn(**{k: v for k, v in given.items() if k}, **limits, **kept, **write(cls, takes, hyper))

        return LoopRun(call, x0)

    return Side(
        name=label, begin=begin, takes=frozenset(places(cls, takes)), known=read(cls, {**takes, **kept}),
        together=False, unread=unread(cls, takes),
    )  # fmt: skip
