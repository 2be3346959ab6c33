"""`refopt.sweep`."""

from __future__ import annotations

import math
import numbers
import os
import pickle
import queue
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from refopt.core.arguments import check_flag
from refopt.core.errors import ArgumentTypeError, ExecutorError, RefoptError, UnknownNameError, nearest
from refopt.core.hyper import check_number
from refopt.driver import prepared
from refopt.sweeps import specification, work
from refopt.sweeps.executors import Processes, cores
from refopt.sweeps.figures import Row
from refopt.sweeps.progress import Progress
from refopt.sweeps.result import Sweep
from refopt.sweeps.specification import Job, ProblemChoice
from refopt.sweeps.store import Store
from refopt.sweeps.work import Outcome

# So many runs are with the executor at a time: enough for any machine, and nothing to hold in memory.
WINDOW = 256


def sweep(
    methods: Any,
    problems: Any,
    seeds: Sequence[int] = (0,),
    grids: Mapping[str, Any] | None = None,
    store: str | os.PathLike[str] | None = "runs.sqlite",
    executor: Executor | None = None,
    *,
    steps: int | None = None,
    tol: float | None = None,
    max_calls: float | Mapping[str, int] | None = None,
    max_seconds: float | None = None,
    batch_size: int | None = None,
    sampling: str = "shuffle",
    record: str = "full",
    record_every: int | None = None,
    target: float | Mapping[str, float] | None = None,
    progress: bool | None = None,
) -> Sweep:
    """Run every method on every problem with every seed and every point of a grid, and keep what comes of it.

    What finishes is written to `store` at once. The same call again runs what is missing, after a kill as after an error; a call
    with more methods, problems, seeds or values adds to the file. A run is known by its whole specification (method,
    hyperparameters, problem and its parameters, seed, budget, refopt's version), never by its place in the call.

    Parameters
    ----------
    methods : str, pair, dict, or a sequence or dict of them
        A method is a name, ``(name, settings)`` or ``{"name": name, **settings}``; settings are hyperparameters and
        ``dialect``. A dict ``{label: method}`` names its rows; otherwise the label is the name with its settings.
    problems : str, pair, dict, object, or a sequence or dict of them
        In the same forms; or problems of the zoo; or, in a dict with a label, any problem that `refopt.minimize` takes.
        One of one's own goes to other processes by pickle, for which its functions stand at a module's top level. With
        `Serial` or a thread pool as executor that does not matter.
    seeds : sequence of int
        Of starts, batches and the methods' random numbers.
    grids : dict, optional
        ``{"lr": [0.1, 0.01]}`` for all methods, ``{"adam": {"lr": [...]}}`` for one, by label or name, or both together,
        where the method's own wins. All combinations are run.
    store : path or None
        An SQLite file on a local disk; None: nothing is kept.
    executor : concurrent.futures.Executor, optional
        Default: a process a core, which end with this one. Any other is used and not shut down:
        ``ThreadPoolExecutor``, `refopt.sweeps.Serial`, Dask's ``client.get_executor()``, ``mpi4py.futures.MPIPoolExecutor``.
    steps, tol, max_calls, max_seconds, batch_size, sampling, record, record_every
        As in `refopt.minimize`, for every run. Without `steps` another budget alone ends a run; `record` is of all
        examples by default, about a hundred times a run.
    target : float or dict of str to float, optional
        A run ends at the first step whose whole objective is at most this; the evaluations for it are not counted. By
        problem's label, where it is a dict.
    progress : bool, optional
        A line on standard error: what is done, failed and left. Default: on a terminal.

    Returns
    -------
    Sweep
        The rows of this call: `Sweep.rows`, `Sweep.columns`, `Sweep.best`, `Sweep.profile`, `Sweep.curves`.

    Raises
    ------
    ArgumentError, ArgumentTypeError, HyperparameterError, CapabilityError, UnknownNameError
        Bad input, before the first run: every method is built at every point of its grid, and held against every problem.
    StoreError
        The file is no store, or cannot be written.
    ExecutorError
        The executor lost a worker, or could not carry a run. What has finished is in the store.

    Examples
    --------
    >>> import refopt
    >>> from refopt.sweeps import Serial
    >>> s = refopt.sweep(["sgd", "adam"], "rosenbrock", [0], {"lr": [0.001, 0.0001]}, None, Serial(), steps=100)
    >>> s
    Sweep(4 rows, 0 failed, 0 left)
    >>> s.profile().methods
    ('sgd', 'adam')
    """
    if executor is not None and not isinstance(executor, Executor):
        raise ArgumentTypeError(
            f"executor: wanted a concurrent.futures.Executor, got {type(executor).__qualname__}"
        )
    if progress is not None:
        check_flag(progress, "progress")
    arguments = {
        "tol": tol, "batch_size": batch_size, "sampling": sampling, "record": record,
        **work.budget(steps, max_calls, max_seconds, record_every),
    }  # fmt: skip
    wanted = _checked(methods, problems, seeds, grids, arguments, target)
    if executor is None or isinstance(executor, ProcessPoolExecutor):
        _check_carried({j.problem.label: j.problem for j in wanted})
    kept = Store(store)
    try:
        done = kept.ask(wanted)
        missing = [j for j in {j.key: j for j in wanted}.values() if j.key not in done]
        bar = Progress(len(missing), progress)
        if executor is None and missing:
            with Processes(min(cores(), len(missing))) as own:
                _run(own, missing, kept, bar)
        elif missing:
            assert executor is not None
            _run(executor, missing, kept, bar)
        places = {(j.key, j.method, j.problem.label): k for k, j in enumerate(wanted)}
        rows = [r for row in kept.read()[0] if _place(r := Row(**row)) in places]
        return Sweep(tuple(sorted(rows, key=lambda r: places[_place(r)])), len(places) - len(rows))
    finally:
        kept.close()


def _place(row: Row) -> tuple[str, str, str]:
    return row.key, row.method, row.problem


def _run(executor: Executor, missing: list[Job], store: Store, bar: Progress) -> None:
    """Hand the jobs out, a window of them at a time, and write what comes back as it comes."""
    finished: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
    waiting: set[Future[Outcome]] = set()
    todo = iter(missing)
    try:
        for job in todo:
            future = _sent(executor, job)
            waiting.add(future)
            future.add_done_callback(finished.put)
            _collect(finished, waiting, store, bar, wait=len(waiting) >= WINDOW)
        while waiting:
            _collect(finished, waiting, store, bar, wait=True)
    finally:
        for future in waiting:
            future.cancel()
        bar.close()


def _sent(executor: Executor, job: Job) -> Future[Outcome]:
    try:
        return executor.submit(work.run, job)
    except BrokenProcessPool as error:
        raise _lost(error) from error


def _collect(
    finished: queue.SimpleQueue[Future[Outcome]], waiting: set[Future[Outcome]], store: Store, bar: Progress, wait: bool
) -> None:  # fmt: skip
    """Write every outcome that is there, in one transaction; `wait` for one."""
    found = [finished.get()] if wait else []
    while not finished.empty():
        found.append(finished.get())
    waiting.difference_update(found)
    broken = [error for f in found if (error := f.exception()) is not None]
    outcomes = [f.result() for f in found if f.exception() is None]
    if outcomes:
        store.add(outcomes)
        bar.step(outcomes)
    if broken:
        raise _lost(broken[0]) from broken[0]


def _lost(error: BaseException) -> ExecutorError:
    if isinstance(error, BrokenProcessPool):
        return ExecutorError(
            "executor: a worker process ended before its run did. Where it is the first run, the script needs `if __name__ =="
            " '__main__':` around its work; else memory is the usual reason. What has finished is in the store, and the same"
            " call goes on from there."
        )
    return ExecutorError(
        f"executor: a run could not be carried out ({type(error).__name__}: {error}); what has finished is in the store"
    )


def _check_carried(problems: Mapping[str, ProblemChoice]) -> None:
    """Raise unless every problem that is an object can go to another process."""
    for label, problem in problems.items():
        try:
            pickle.dumps(problem.thing)
        except Exception as error:
            raise ArgumentTypeError(
                f"problems[{label!r}]: cannot be sent to other processes ({error}). Define its functions at a module's top"
                " level, or stay in this process: executor=refopt.sweeps.Serial(), or a ThreadPoolExecutor"
            ) from None


def _checked(
    methods: Any, problems: Any, seeds: Any, grids: Any, arguments: dict[str, Any], target: Any
) -> list[Job]:
    """Return all jobs, or raise on bad input: each point of each grid is held against each problem."""
    chosen = specification.method_choices(methods)
    seeds = specification.check_seeds(seeds)
    grids = specification.check_grids(grids, chosen)
    if not isinstance(arguments["record"], str):
        raise ArgumentTypeError(f"record: wanted 'step' or 'full', got {arguments['record']!r}")
    out: list[Job] = []
    found = specification.problem_choices(problems)
    targets = _targets(target, found)
    for problem in found:
        built = problem.build()
        own = {**arguments, "record_every": _every(built, arguments)}
        points: set[tuple[str, str]] = set()
        started: set[str] = set()
        for job in specification.jobs(chosen, problem, seeds, grids, own, targets[problem.label]):
            if (point := (job.method, repr(job.settings))) not in points:
                points.add(point)
                _hold(built, job, job.method not in started)
                started.add(job.method)
            out.append(job)
    return out


def _hold(problem: Any, job: Job, start: bool) -> None:
    """Raise what is wrong with a run, without a step of it; with `start`, its state is made. Messages say where it is."""
    settings = dict(job.settings)
    try:
        run = prepared(
            problem, job.name, None, settings.pop("dialect", "paper"), settings, seed=job.seed, callback=None,
            checkpoint=None, resume=False, **dict(job.arguments),
        )  # fmt: skip
        if start:
            run.method.init(run.x0)
    except RefoptError as error:
        where = ", ".join(f"{k}={v}" for k, v in job.settings.items())
        raise type(error)(
            f"{job.name} on {job.problem.label}{f' ({where})' if where else ''}: {error}"
        ) from None


def _every(problem: Any, arguments: Mapping[str, Any]) -> int | None:
    """Return how often to record, where steps do not say it."""
    given, limit = arguments["record_every"], arguments["max_calls"]
    steps = arguments["steps"]
    if (
        given is not None or not isinstance(steps, numbers.Integral) or steps < 10**9
    ):  # what is no number is told later
        return given
    number = isinstance(limit, (int, float)) and not isinstance(limit, bool) and math.isfinite(limit)
    size = arguments["batch_size"] if isinstance(arguments["batch_size"], int) else None
    return work.every(problem, limit, size) if number else 1


def _targets(target: Any, problems: list[ProblemChoice]) -> dict[str, float | None]:
    """Return the target of every problem, or raise."""
    labels = [p.label for p in problems]
    given = target if isinstance(target, Mapping) else dict.fromkeys(labels, target)
    for label, value in given.items():
        if label not in labels:
            raise UnknownNameError(
                f"target: {label!r} is none of the problems.{nearest(str(label), labels)} They are: {', '.join(labels)}"
            )
        if value is not None:
            check_number(
                value, "(-inf, inf)", f"target[{label!r}]" if isinstance(target, Mapping) else "target"
            )
    return {label: None if given.get(label) is None else float(given[label]) for label in labels}
