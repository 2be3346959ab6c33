"""The driver: loop, budgets, stopping, history, checkpoints, progress."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refopt.core import checkpoint as ckpt
from refopt.core import params
from refopt.core.answers import NonFiniteAnswer, overflowed
from refopt.core.arguments import Intermediate, call_budget, check_callback, check_path, non_negative, whole
from refopt.core.arrays import to_numpy
from refopt.core.build import optimizer, problems_with
from refopt.core.build import problem as build_problem
from refopt.core.errors import (
    ArgumentError,
    ArgumentTypeError,
    CapabilityError,
    CheckpointError,
    ConvergenceError,
    NonFiniteError,
    missing_extra,
)
from refopt.core.hyper import check_number
from refopt.core.identity import identity
from refopt.core.method import Method, State
from refopt.core.oracle import SAMPLING, Oracle, Sampler, gradient_norm, objective
from refopt.core.params import Params, check_like, check_start, copied, leaves
from refopt.core.problem import offers, require, start_of
from refopt.core.result import Result

COLUMNS = ("step", "value", "grad_norm", "gradient_equivalents", "seconds")


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
        A budget in gradient equivalents (`refopt.core.oracle.COST`), or of calls by oracle
        (``{"hvp": 100}``). The step that exceeds it is the last.
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
    record_every : int, optional
        Record the history every so many steps; default about a hundred times a run.
    progress : bool
        Show a progress bar (extra ``cli``).
    checkpoint : path, optional
        Write the run there every `checkpoint_every` steps and at its end.
    checkpoint_every : int
    resume : bool
        Go on from `checkpoint` if it exists. Without `resume`, an existing file is an error.
    dialect, hyperparameters
        For `refopt.optimizer`, where `method` is a name: among them ``lr``, ``engine`` and
        ``schedule``, a multiplier of the rate as a function of the step.

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
    if isinstance(problem, str):
        problem = build_problem(problem)
    run = _Run(
        problem,
        _method(method, dialect, hyperparameters),
        x0,
        steps=whole(steps, "steps", 0),
        tol=non_negative(tol, "tol"),
        max_calls=max_calls,
        max_seconds=non_negative(max_seconds, "max_seconds"),
        batch_size=batch_size,
        sampling=sampling,
        seed=seed,
        callback=callback,
        record_every=record_every,
        checkpoint=checkpoint,
        checkpoint_every=whole(checkpoint_every, "checkpoint_every", 1),
        resume=resume,
    )
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


def _method(method: Any, dialect: str, hyperparameters: dict[str, Any]) -> Method:
    if isinstance(method, str):
        return optimizer(method, dialect=dialect, **hyperparameters)
    if not isinstance(method, Method):
        raise ArgumentTypeError(f"method: wanted a name or a Method, got {type(method).__qualname__}")
    if hyperparameters or dialect != "paper":
        given = [*hyperparameters, *(["dialect"] if dialect != "paper" else [])]
        raise ArgumentTypeError(f"method is built already, so {', '.join(given)} cannot be given beside it")
    return method


class _Run:
    """One run: what does not change (checked in __init__) and what does (the loop)."""

    def __init__(
        self, problem: Any, method: Method, x0: Any, *, steps: int, tol: float | None, max_calls: Any,
        max_seconds: float | None, batch_size: Any, sampling: Any, seed: Any, callback: Any,
        record_every: Any, checkpoint: Any, checkpoint_every: int, resume: bool,
    ) -> None:  # fmt: skip
        self.problem, self.method = problem, method
        check_number(seed, "int [0, 9223372036854775807]", "seed")
        self._check_capabilities()
        self.x0 = copied(self._start(x0, seed))
        self.sampler = self._sampler(batch_size, sampling, seed)
        self.oracle = Oracle(problem, int(seed), self.sampler)
        self.steps, self.tol, self.max_seconds, self.seed = steps, tol, max_seconds, int(seed)
        self.budget = call_budget(max_calls)
        every = max(1, steps // 100) if record_every is None else record_every
        self.record_every = whole(every, "record_every", 1)
        self.callback, self.intermediate = callback, check_callback(callback)
        self.checkpoint, self.checkpoint_every, self.resume = checkpoint, checkpoint_every, resume
        if resume and checkpoint is None:
            raise ArgumentError("resume: needs the checkpoint's path, checkpoint=...")
        if checkpoint is not None and os.path.exists(check_path(checkpoint, "checkpoint")) and not resume:
            raise CheckpointError(
                f"checkpoint: {checkpoint} exists; pass resume=True to go on from it, or remove it"
            )
        self.rows: list[list[float]] = []
        self.seconds = 0.0
        self.made: tuple[Params, State, int, dict[str, int], float] | None = None
        self.last_good: tuple[Params, State, int] | None = None

    def _check_capabilities(self) -> None:
        needs = self.method.needs
        name = self.method.registered_name or type(self.method).__qualname__
        if any(not offers(self.problem, n) for n in needs):
            require(self.problem, needs, name, problems_with(needs))

    def _start(self, x0: Any, seed: int) -> Params:
        if x0 is None:
            if callable(getattr(self.problem, "start", None)):
                x0 = start_of(self.problem, seed)
            else:
                x0 = getattr(self.problem, "x0", None)
            if x0 is None:
                raise ArgumentError("x0: the problem has no default start, so x0 must be given")
        return check_start(x0, "x0")

    def _sampler(self, batch_size: Any, sampling: Any, seed: int) -> Sampler | None:
        if sampling not in SAMPLING:
            raise ArgumentError(f"sampling: wanted one of {', '.join(SAMPLING)}, got {sampling!r}")
        if batch_size is None:
            return None
        n = getattr(self.problem, "n_examples", None)
        if n is None:
            raise CapabilityError(
                f"batch_size: {type(self.problem).__qualname__} is not a sum over examples (it has no n_examples)"
            )
        check_number(batch_size, "int [1, inf)", "batch_size")
        if batch_size > n:
            raise ArgumentError(f"batch_size: wanted at most the problem's {n} examples, got {batch_size}")
        return Sampler(n, int(batch_size), sampling, int(seed))

    def go(self, tick: Callable[[int], None]) -> Result:
        """Make all steps; an interrupt leaves a checkpoint of the last one, where one is asked for."""
        try:
            return self._steps(tick)
        except KeyboardInterrupt:
            if self.checkpoint is not None and self.made is not None:
                x, s, k, self.oracle.counts.calls, self.oracle.counts.equivalents = self.made
                self._save(x, s, k)
            raise

    def _steps(self, tick: Callable[[int], None]) -> Result:
        x, s, k = self._begin()
        status = ""
        while not status:
            start = time.perf_counter()
            recorded = k % self.record_every == 0 or k == self.steps
            if recorded and (bad := self._record(x, s, k)):
                return self._diverged(x, s, k, bad)
            if recorded:
                start = time.perf_counter()
            # What a step that is cut off asks for is not counted.
            self.made = x, s, k, dict(self.oracle.counts.calls), self.oracle.counts.equivalents
            self.oracle.begin(k + 1)
            try:
                status = self._status(x, s, k, recorded)
                if status:
                    break
                new_x, new_s = self.method.step(x, s, self.oracle)
            except NonFiniteAnswer as answer:
                return self._diverged(x, s, k, f"met NaN or infinity in the problem's {answer}")
            except (np.linalg.LinAlgError, NonFiniteError, ConvergenceError) as error:
                # A factorization inside the step that could not be made: nobody's argument.
                return self._diverged(x, s, k, f"could not be made ({error})")
            if not params.finite(check_like(new_x, x, f"x after step {k + 1}")):
                return self._diverged(x, s, k, "met NaN or infinity in x")
            x, s, k = new_x, new_s, k + 1
            self.seconds += time.perf_counter() - start
            if self.checkpoint is not None and k % self.checkpoint_every == 0:
                self._save(x, s, k)
            tick(k)
            if self.callback is not None and self._call_back(x, k):
                status = "callback"
        if self.rows[-1][0] != k and (bad := self._record(x, s, k)):
            return self._diverged(x, s, k, bad)
        if self.checkpoint is not None:
            self._save(x, s, k)
        return self._result(x, s, k, status)

    def _begin(self) -> tuple[Params, State, int]:
        if self.resume and self.checkpoint is not None and os.path.exists(self.checkpoint):
            return self._load()
        return self.x0, self.method.init(self.x0), 0

    def _status(self, x: Params, s: State, k: int, recorded: bool) -> str:
        if self.tol is not None and (self.sampler is None or recorded):
            # A check on all examples beside a run on batches is the driver's, not the method's.
            oracle = self.oracle if self.sampler is None else Oracle(self.problem, self.seed)
            if self.method.stationarity(x, s, oracle) <= self.tol:
                return "converged"
        if k >= self.steps:
            return "steps"
        if self.budget(self.oracle):
            return "calls"
        if self.max_seconds is not None and self.seconds >= self.max_seconds:
            return "time"
        return ""

    def _record(self, x: Params, s: State, k: int) -> str:
        """Add a row to the history; what is wrong, if the objective or the state is not finite there."""
        if slot := overflowed(s):
            return f"cannot be made: {slot} of the method's state holds NaN or infinity"
        value = objective(self.problem, x)
        if hasattr(self.problem, "value") and not math.isfinite(value):
            return "met a non-finite objective"
        grad_norm = gradient_norm(self.problem, x)
        self.rows.append([k, value, grad_norm, self.oracle.counts.equivalents, self.seconds])
        self.last_good = (x, s, k)
        return ""

    def _call_back(self, x: Params, k: int) -> bool:
        assert self.callback is not None
        x = copied(x)  # who writes into it does not steer the run
        try:
            if self.intermediate:
                now = Intermediate(x, k, self.oracle.counts.equivalents, self.seconds, self.problem)
                self.callback(intermediate_result=now)
            else:
                self.callback(x)
        except StopIteration:
            return True
        return False

    def _diverged(self, x: Params, s: State, k: int, what: str) -> Result:
        if hasattr(self.problem, "value") and not math.isfinite(objective(self.problem, x)):
            if self.last_good is None:
                value = objective(self.problem, x)
                return self._result(x, s, 0, "diverged", f"the objective is {value} at the start")
            x, s, k = self.last_good
        where = f"step {k + 1} {what}; x is the last point with a finite objective (step {k})"
        return self._result(x, s, k, "diverged", where)

    def _result(self, x: Params, s: State, k: int, status: str, detail: str = "") -> Result:
        name = self.method.registered_name or type(self.method).__name__
        sentence = {
            "steps": f"{name}: all {k} steps made",
            "converged": f"{name}: stationary to tol={self.tol} after {k} steps",
            "calls": f"{name}: the budget of oracle calls is spent after {k} steps",
            "time": f"{name}: the budget of time is spent after {k} steps",
            "callback": f"{name}: the callback ended the run after {k} steps",
            "diverged": f"{name}: diverged: {detail}",
        }[status]
        table = np.asarray(self.rows, dtype=np.float64).reshape(-1, len(COLUMNS))
        return Result(
            x=x,
            fun=objective(self.problem, x),
            nit=k,
            calls=dict(self.oracle.counts.calls),
            gradient_equivalents=self.oracle.counts.equivalents,
            history={name: table[:, i] for i, name in enumerate(COLUMNS)},
            success=status != "diverged",
            status=status,
            message=sentence + ".",
            state=s,
        )

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Whose run this is."""
        return identity(self.method, self.problem, self.x0, self.sampler, self.seed)

    def _save(self, x: Params, s: State, k: int) -> None:
        assert self.checkpoint is not None
        counts = self.oracle.counts
        ckpt.save(
            self.checkpoint,
            {
                "run": self.identity, "x": x, "state": dict(s), "step": k, "calls": counts.calls,
                "equivalents": counts.equivalents, "rows": np.array(self.rows, dtype=np.float64).reshape(-1, len(COLUMNS)), "seconds": self.seconds,
            },
        )  # fmt: skip

    def _load(self) -> tuple[Params, State, int]:
        assert self.checkpoint is not None
        content = ckpt.load(self.checkpoint, next(iter(leaves(self.x0).values())))
        ckpt.check_run(content)
        for key, value in self.identity.items():
            stored = content.get("run", {}).get(key)
            if stored != value:
                raise CheckpointError(
                    f"checkpoint: {self.checkpoint} is of another run: its {key}: {stored}; this run's: {value}"
                )
        self.rows = to_numpy(content["rows"]).tolist()
        self.seconds = content["seconds"]
        self.oracle.counts.calls = content["calls"]
        self.oracle.counts.equivalents = content["equivalents"]
        x, s, k = content["x"], content["state"], content["step"]
        if self.rows and self.rows[-1][0] == k:
            self.rows.pop()
        self.last_good = (x, s, k)
        return x, s, k
