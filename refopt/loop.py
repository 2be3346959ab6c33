"""One run: the loop, its stopping, its checkpoints."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core import checkpoint as ckpt
from refopt.core import params
from refopt.core.answers import NonFiniteAnswer, overflowed
from refopt.core.arguments import Intermediate, call_budget, check_callback, check_flag, check_path, whole
from refopt.core.arrays import to_numpy
from refopt.core.build import problems_with
from refopt.core.errors import (
    ArgumentError,
    CapabilityError,
    CheckpointError,
    ConvergenceError,
    NonFiniteError,
)
from refopt.core.forms import Outside, opened
from refopt.core.history import History
from refopt.core.hyper import check_number
from refopt.core.identity import identity
from refopt.core.method import Method, State
from refopt.core.objective import has_objective
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_like, check_start, copied, leaves
from refopt.core.problem import offers, require, start_of
from refopt.core.result import Result
from refopt.core.rows import RowsFile
from refopt.core.sampling import SAMPLING, Sampler


class Run:
    """One run: what does not change (checked in __init__) and what does (the loop)."""

    def __init__(
        self, problem: Any, method: Method, x0: Any, *, steps: int, tol: float | None, max_calls: Any,
        max_seconds: float | None, batch_size: Any, sampling: Any, seed: Any, callback: Any,
        record: Any, record_every: Any, checkpoint: Any, checkpoint_every: int, resume: bool,
    ) -> None:  # fmt: skip
        self.problem, self.user_s, self.method = problem, problem, method
        check_number(seed, "int [0, 9223372036854775807]", "seed")
        self._check_capabilities()
        x0 = self._start(x0, seed)
        self.problem, x0, self.form = opened(problem, x0, "x0")
        self.x0 = copied(check_start(x0, "x0"))
        self.sampler = self._sampler(batch_size, sampling, seed)
        self.oracle = Oracle(self.problem, int(seed), self.sampler)
        self.steps, self.tol, self.max_seconds, self.seed = steps, tol, max_seconds, int(seed)
        self.budget = call_budget(max_calls)
        every = max(1, steps // 100) if record_every is None else record_every
        self.record_every = whole(every, "record_every", 1)
        self.callback, self.intermediate = callback, check_callback(callback)
        self.checkpoint, self.checkpoint_every, self.resume = checkpoint, checkpoint_every, resume
        check_flag(resume, "resume")
        if resume and checkpoint is None:
            raise ArgumentError("resume: needs the checkpoint's path, checkpoint=...")
        if checkpoint is not None and os.path.exists(check_path(checkpoint, "checkpoint")) and not resume:
            raise CheckpointError(
                f"checkpoint: {checkpoint} exists; pass resume=True to go on from it, or remove it"
            )
        if self.form is not None and not isinstance(record, str):
            record = Outside(record, self.form)
        self.history = History(self.problem, record)
        self.kept = None if checkpoint is None else RowsFile(checkpoint)
        self.seconds = 0.0
        self.made: tuple[Params, State, int, dict[str, int], float] | None = None
        self.first: tuple[Params, State, int] = (self.x0, {}, 0)
        self.last_good: tuple[Params, State, int] | None = None

    def _check_capabilities(self) -> None:
        needs = self.method.needs
        name = self.method.registered_name or type(self.method).__qualname__
        if any(not offers(self.problem, n) for n in needs):
            require(self.problem, needs, name, problems_with(needs))

    def _start(self, x0: Any, seed: int) -> Any:
        if x0 is None:
            if callable(getattr(self.problem, "start", None)):
                x0 = start_of(self.problem, seed)
            else:
                x0 = getattr(self.problem, "x0", None)
            if x0 is None:
                raise ArgumentError("x0: the problem has no default start, so x0 must be given")
        return x0

    def _outside(self, x: Params) -> Any:
        """Return x in the form that it was given in."""
        return x if self.form is None else self.form.outside(x)

    def _sampler(self, batch_size: Any, sampling: Any, seed: int) -> Sampler | None:
        if not isinstance(sampling, str) or sampling not in SAMPLING:
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
            if recorded and (bad := self._look(x, s, k)):
                return self._diverged(x, s, k, bad)
            if recorded:
                start = time.perf_counter()
            # What a step that is cut off asks for is not counted.
            counts = self.oracle.counts
            self.made = x, s, k, dict(counts.calls), counts.equivalents
            before, seconds = counts.equivalents, self.seconds
            self.oracle.begin(k + 1, x)
            try:
                status = self._status(x, s, k, recorded)
                if status:
                    break
                new_x, new_s = self.method.step(x, s, self.oracle)
            except NonFiniteAnswer as answer:
                return self._diverged(x, s, k, f"met NaN or infinity in the problem's {answer.args[0]}")
            except (np.linalg.LinAlgError, NonFiniteError, ConvergenceError) as error:
                # A factorization inside the step that could not be made: nobody's argument.
                return self._diverged(x, s, k, f"could not be made ({error})")
            if not params.finite(check_like(new_x, x, f"x after step {k + 1}")):
                return self._diverged(x, s, k, "met NaN or infinity in x")
            if recorded and self.history.by_step:
                value = self.history.seen(self.oracle, k, before, seconds)
                if value is not None and not math.isfinite(value):
                    return self._diverged(x, s, k, "met a non-finite objective")
                if value is not None:
                    self.last_good = (x, s, k)
            x, s, k = new_x, new_s, k + 1
            self.seconds += time.perf_counter() - start
            if self.checkpoint is not None and k % self.checkpoint_every == 0:
                self._save(x, s, k)
            tick(k)
            if self.callback is not None and self._call_back(x, k):
                status = "callback"
        return self._end(x, s, k, status)

    def _end(self, x: Params, s: State, k: int, status: str) -> Result:
        """Record the last point and return the result there."""
        counts, rows = self.oracle.counts, self.history.rows
        if self.history.by_step:
            if slot := overflowed(s):
                return self._diverged(
                    x, s, k, f"cannot be made: {slot} of the method's state holds NaN or infinity"
                )
            value = self.history.last(x, k, counts.equivalents, self.seconds)
            if has_objective(self.problem) and not math.isfinite(value):
                rows.pop()
                return self._diverged(x, s, k, "met a non-finite objective")
        elif (not rows or rows[-1][0] != k) and (bad := self._look(x, s, k)):
            return self._diverged(x, s, k, bad)
        if self.checkpoint is not None:
            self._save(x, s, k)
        return self._result(x, s, k, status)

    def _begin(self) -> tuple[Params, State, int]:
        if self.resume and self.checkpoint is not None and os.path.exists(self.checkpoint):
            return self._load()
        self.first = self.x0, self.method.init(self.x0), 0
        return self.first

    def _status(self, x: Params, s: State, k: int, recorded: bool) -> str:
        if self.tol is not None and (self.sampler is None or recorded):
            # A check on all examples beside a run on batches is the driver's, not the method's.
            oracle = self.oracle if self.sampler is None else Oracle(self.problem, self.seed)
            if oracle is not self.oracle:
                self.history.count("grad")
            if self.method.stationarity(x, s, oracle) <= self.tol:
                return "converged"
        if k >= self.steps:
            return "steps"
        if self.budget(self.oracle):
            return "calls"
        if self.max_seconds is not None and self.seconds >= self.max_seconds:
            return "time"
        return ""

    def _look(self, x: Params, s: State, k: int) -> str:
        """Look at a point that is recorded; what is wrong, if the state or the objective is not finite there."""
        if slot := overflowed(s):
            return f"cannot be made: {slot} of the method's state holds NaN or infinity"
        if self.history.by_step:
            return ""
        value = self.history.full(x, k, self.oracle.counts.equivalents, self.seconds)
        if has_objective(self.history.whole) and not math.isfinite(value):
            return "met a non-finite objective"
        self.last_good = (x, s, k)
        return ""

    def _call_back(self, x: Params, k: int) -> bool:
        assert self.callback is not None
        x = self._outside(copied(x))  # who writes into it does not steer the run
        try:
            if self.intermediate:
                now = Intermediate(x, k, self.oracle.counts.equivalents, self.seconds, self.user_s)
                self.callback(intermediate_result=now)
            else:
                self.callback(x)
        except StopIteration:
            return True
        return False

    def _diverged(self, x: Params, s: State, k: int, what: str) -> Result:
        while has_objective(self.problem) and not math.isfinite(value := self.history.objective(x)):
            if k == 0:
                return self._result(x, s, 0, "diverged", f"the objective is {value} at the start")
            x, s, k = self.last_good if self.last_good is not None and self.last_good[2] < k else self.first
        where = f"step {k + 1} {what}; x is the last point with a finite objective (step {k})"
        return self._result(x, s, k, "diverged", where)

    def _advice(self, x: Params, k: int) -> str:
        """Return what a user would want to know of a run that went as asked."""
        m, said = self.method, ""
        lr, decay = getattr(m, "lr", None), getattr(m, "weight_decay", 0.0)
        if getattr(m, "decay", "") == "independent" and isinstance(lr, (int, float)) and decay > lr:
            said = (
                f" Each step also shrank x by {decay:g} of itself: this form does not multiply weight_decay by lr, as"
                " dialect='torch' does."
            )
        short = [n for n, v in leaves(x).items() if "float16" in str(v.dtype)]
        if k and any(bool((v == leaves(self.x0)[n]).all()) for n, v in leaves(x).items() if n in short):
            said += " Some of x has not moved: its steps are lost in rounding; run in float32."
        return said

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
        return Result(
            x=self._outside(x),
            fun=self._fun(x, k),
            lower_fun=self.history.lower(x),
            nit=k,
            calls=dict(self.oracle.counts.calls),
            gradient_equivalents=self.oracle.counts.equivalents,
            history=self.history.table(),
            recorded_calls=dict(self.history.calls),
            success=status != "diverged",
            status=status,
            message=sentence + "." + self._advice(x, k),
            state=s,
        )

    def _fun(self, x: Params, k: int) -> float:
        """Return the objective at the last point: that of the last row where it is its own."""
        row = self.history.rows[-1] if self.history.rows else None
        if row is not None and row[0] == k and row[5] == 1.0 and self.history.whole is self.problem:
            return row[1]
        return self.history.objective(x)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Whose run this is."""
        return identity(self.method, self.problem, self.x0, self.sampler, self.seed)

    def _save(self, x: Params, s: State, k: int) -> None:
        assert self.checkpoint is not None and self.kept is not None
        counts, rows = self.oracle.counts, self.history.rows
        # A resumed run makes the row of its first step anew.
        final = len(rows) - 1 if rows and rows[-1][0] == k else len(rows)
        try:
            mark = self.kept.keep(rows, final)
            ckpt.save(
                self.checkpoint,
                {
                    "run": self.identity, "x": x, "state": dict(s), "step": k, "calls": counts.calls,
                    "equivalents": counts.equivalents, "kept": mark, "rows": self.history.array(final),
                    "seconds": self.seconds,
                },
            )  # fmt: skip
        except BaseException:
            self.kept.drop()
            raise
        self.kept.needed()

    def _load(self) -> tuple[Params, State, int]:
        assert self.checkpoint is not None and self.kept is not None
        content = ckpt.load(self.checkpoint, next(iter(leaves(self.x0).values())))
        ckpt.check_run(content)
        for key, value in self.identity.items():
            stored = content.get("run", {}).get(key)
            if stored != value:
                raise CheckpointError(
                    f"checkpoint: {self.checkpoint} is of another run: its {key}: {stored}; this run's: {value}"
                )
        rows, mark = to_numpy(content["rows"]).tolist(), content.get("kept")
        if mark is not None:
            rows = self.kept.read(mark, len(self.history.columns)) + rows
        self.history.rows = rows
        self.seconds = content["seconds"]
        self.oracle.counts.calls = content["calls"]
        self.oracle.counts.equivalents = content["equivalents"]
        x, s, k = content["x"], content["state"], content["step"]
        if rows and rows[-1][0] == k:
            rows.pop()
        self.last_good = (x, s, k)
        return x, s, k
