"""The driver: loop, budgets, stopping, history, checkpoints, progress."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core.arguments import check_flag, non_negative, whole
from refopt.core.build import optimizer
from refopt.core.build import problem as build_problem
from refopt.core.errors import (
    ArgumentTypeError,
    HyperparameterError,
    missing_extra,
    nearest,
)
from refopt.core.known_rate import with_known_rate
from refopt.core.method import Method
from refopt.core.result import Result
from refopt.loop import Run


def minimize(
    problem: Any,
    method: str | Method,
    x0: Any = None,
    *,
    steps: int = 1000,
    tol: float | None = None,
    max_calls: float | Mapping[str, int] | None = None,
    max_seconds: float | None = None,
    batch_size: int | None = None,
    sampling: str = "shuffle",
    seed: int = 0,
    callback: Callable[..., Any] | None = None,
    record: Any = "step",
    record_every: int | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    resume: bool = False,
    dialect: str = "paper",
    **hyperparameters: Any,
) -> Result:
    """Minimise `problem` by `method`.

    Parameters
    ----------
    problem : object or str
        A problem of the zoo (or its name), anything with the members of
        `refopt.core.problem.CAPABILITIES`, or what `refopt.from_functions` returns.
    method : str or Method
        A name, or what `refopt.optimizer` returns.
    x0 : array or dict of arrays, optional
        The start; its library and dtype are those of the whole run. Default: the problem's own.
    steps : int
        At most this many steps in all, those before a resume included.
    tol : float, optional
        Stop when the method's measure of stationarity (for most methods the largest entry of the
        gradient) is at most `tol`. It is checked before each step; on batches, only at recorded
        steps and on all examples.
    max_calls : float or dict of str to int, optional
        A budget in gradient equivalents (`refopt.core.counts.COST`), or of calls by oracle
        (``{"hvp": 100}``), or in bytes that simulated workers send (``{"bytes_sent": 10**6}``). The step that exceeds it is the last.
    max_seconds : float, optional
        A budget of time, that of recording left out.
    batch_size : int, optional
        Examples a step; None for all. At most the problem's ``n_examples``.
    sampling : {"shuffle", "replacement", "cyclic"}
        How batches are drawn: by epochs, independently, or in order.
    seed : int
        Of batches and of the method's random numbers, in [0, 2**63). The same seed gives the same
        run on every engine and after a resume.
    callback : callable, optional
        As SciPy's: called after each step as ``callback(x)``, or, if its parameter has that name,
        ``callback(intermediate_result=...)``. ``StopIteration`` ends the run.
    record : {"step", "full"} or problem
        What a row of the history holds. ``"step"``: the value and the gradient's norm that the step itself saw,
        on its batch, at no cost (NaN where it asked for none; a problem with `value_and_grad` gives both).
        ``"full"``: those of all examples, evaluated for the record alone and counted in ``recorded_calls``.
        A problem with `value`: those of that problem, a validation set's. The last row is of all examples.
    record_every : int, optional
        Record the history every so many steps; default about a hundred times a run.
    progress : bool
        Show a progress bar (extra ``cli``).
    checkpoint : path, optional
        Write the run there every `checkpoint_every` steps and at its end. The history's rows, each written once, stand
        beside it, in the file of that name with ``.rows``; they belong together.
    checkpoint_every : int
    resume : bool
        Go on from `checkpoint` if it exists. Without `resume`, an existing file is an error.
    dialect, hyperparameters
        For `refopt.optimizer`, where `method` is a name: among them ``lr``, ``engine``, ``groups`` and
        ``schedule``, a multiplier of the rate as a function of the step. ``lr="auto"`` is the rate, and the momentum
        that belongs to it, that follow from the problem's L and mu, for methods that have one (`refopt show`).

    Returns
    -------
    Result

    Raises
    ------
    CapabilityError
        The problem lacks what the method needs; raised before the first step.
    ArgumentError, ArgumentTypeError, ShapeError, DtypeError, NonFiniteError, UnknownNameError
        Bad input, before any work.
    CheckpointError
        A checkpoint that is missing, damaged, foreign, or of another run.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "nesterov", lr=0.1, steps=200)
    >>> r.status, r.nit, dict(r.calls)
    ('steps', 200, {'grad': 200})
    """
    check_flag(progress, "progress")
    run = prepared(
        problem, method, x0, dialect, hyperparameters, steps=steps, tol=tol, max_calls=max_calls, max_seconds=max_seconds,
        batch_size=batch_size, sampling=sampling, seed=seed, callback=callback, record=record, record_every=record_every,
        checkpoint=checkpoint, checkpoint_every=checkpoint_every, resume=resume,
    )  # fmt: skip
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if not progress:
            return run.go(lambda step: None)
        try:
            from rich.progress import Progress
        except ImportError:
            raise missing_extra("cli", "rich") from None
        with Progress(transient=True) as bar:
            task = bar.add_task(f"{run.method.registered_name or type(run.method).__name__}", total=steps)
            return run.go(lambda step: bar.update(task, completed=step))


def prepared(
    problem: Any, method: str | Method, x0: Any, dialect: str, hyperparameters: dict[str, Any], *, steps: Any = 1000,
    tol: Any = None, max_seconds: Any = None, batch_size: Any = None, checkpoint_every: Any = 100, **further: Any,
) -> Run:  # fmt: skip
    """Return the run that `minimize` makes of its arguments: all of them checked, no step made.

    Raises
    ------
    RefoptError
        Bad input, as `minimize` says it.
    """
    if isinstance(problem, str):
        problem = build_problem(problem)
    return Run(
        problem,
        _method(method, dialect, hyperparameters, problem, batch_size),
        x0,
        steps=whole(steps, "steps", 0),
        tol=non_negative(tol, "tol"),
        max_seconds=non_negative(max_seconds, "max_seconds"),
        batch_size=batch_size,
        checkpoint_every=whole(checkpoint_every, "checkpoint_every", 1),
        **further,
    )


def _method(
    method: Any, dialect: str, hyperparameters: dict[str, Any], problem: Any, batch_size: int | None
) -> Method:
    if isinstance(method, str):
        if isinstance(hyperparameters.get("lr"), str) and hyperparameters["lr"] == "auto":
            hyperparameters = with_known_rate(method, problem, batch_size, hyperparameters)
        try:
            return optimizer(method, dialect=dialect, **hyperparameters)
        except HyperparameterError as error:
            # A keyword of minimize's own, misspelt, arrives here too.
            hints = [nearest(k, _KEYWORDS) for k in hyperparameters if repr(k) in str(error).split(".")[0]]
            raise type(error)(f"{error}. Of minimize:{hints[0]}" if any(hints) else str(error)) from None
    if not isinstance(method, Method):
        raise ArgumentTypeError(f"method: wanted a name or a Method, got {type(method).__qualname__}")
    if hyperparameters or dialect != "paper":
        given = [*hyperparameters, *(["dialect"] if dialect != "paper" else [])]
        raise ArgumentTypeError(f"method is built already, so {', '.join(given)} cannot be given beside it")
    return method


_KEYWORDS = [p.name for p in inspect.signature(minimize).parameters.values() if p.kind is p.KEYWORD_ONLY]
