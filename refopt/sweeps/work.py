"""One run of a sweep, in whatever process: from a `Job` to an `Outcome`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.errors import RefoptError
from refopt.core.result import Result
from refopt.driver import minimize
from refopt.sweeps.specification import Job

# What a run that made no result says of itself.
ERROR, CRASHED = "error", "crashed"


@dataclass(frozen=True)
class Outcome:
    """What is kept of a run.

    Attributes
    ----------
    status : str
        Of `Result`, or ``"error"`` (a typed error of refopt, which comes again), or ``"crashed"`` (any other, which is
        tried again when the sweep goes on).
    fun : float
        NaN where there is none.
    met : bool or None
        Whether the target was met; None without a target.
    history : dict of str to array
    """

    key: str
    status: str
    message: str
    fun: float
    nit: int
    gradient_equivalents: float
    seconds: float
    calls: Mapping[str, int]
    met: bool | None
    history: Mapping[str, np.ndarray]


def budget(steps: int | None, max_calls: Any, max_seconds: Any, record_every: int | None) -> dict[str, Any]:
    """Return how far a run goes: without `steps` to the end of another budget, where there is one."""
    if steps is None:
        steps = 1000 if max_calls is None and max_seconds is None else 10**9
    return {
        "steps": steps,
        "max_calls": dict(max_calls) if isinstance(max_calls, Mapping) else max_calls,
        "max_seconds": max_seconds,
        "record_every": record_every,
    }


def every(problem: Any, limit: float, batch_size: int | None) -> int:
    """Return how often to record about a hundred times in a budget, if a step were one gradient of a batch."""
    n = getattr(problem, "n_examples", None) or 1
    return max(1, int(limit * n / (batch_size or n)) // 100)


def run(job: Job) -> Outcome:
    """Make one run; what goes wrong in it is an outcome, too."""
    try:
        problem = job.problem.build()
        watch = None if job.target is None else _Watch(job.target)
        r = minimize(
            problem, job.name, callback=watch, seed=job.seed, **dict(job.arguments), **dict(job.settings)
        )
    except RefoptError as error:
        return _failed(job, ERROR, str(error))
    except Exception as error:  # of a user's problem, or of a machine: one run's, not the sweep's
        return _failed(job, CRASHED, f"{type(error).__name__}: {error}")
    return _outcome(job, r, None if watch is None else watch.met and r.success)


class _Watch:
    """Ends a run at the first point whose whole objective is at most the target; not counted."""

    def __init__(self, target: float) -> None:
        self.target, self.met = target, False

    def __call__(self, *, intermediate_result: Any) -> None:
        if intermediate_result.fun <= self.target:
            self.met = True
            raise StopIteration


def _outcome(job: Job, r: Result, met: bool | None) -> Outcome:
    seconds = r.history["seconds"]
    return Outcome(
        job.key, r.status, r.message, float(r.fun), r.nit, float(r.gradient_equivalents),
        float(seconds[-1]) if len(seconds) else 0.0, dict(r.calls), met,
        {k: np.asarray(v, dtype=np.float64) for k, v in r.history.items()},
    )  # fmt: skip


def _failed(job: Job, status: str, message: str) -> Outcome:
    met = None if job.target is None else False
    return Outcome(job.key, status, message, math.nan, 0, 0.0, 0.0, {}, met, {})
