"""Time to target, each method with its own tuned rate: ``python -m asv_bench.target [METHOD ...]``.

``--libsvm FILE`` runs logistic regression on a file of one's own in place of the four problems.

Every method has the same search on every problem: the rates of `target_spaces.json`, then two between the
best one and its neighbours, as two sweeps (`refopt.sweep`). A run ends at the target or at the budget, in gradient
equivalents. Rates are ranked by what the run asked for until the target, or by the last objective if none reached it.
What was tried and what came of it is written to `results/target.json`; seconds are those of the chosen run, with the
recording left out, on the machine that made the file, one run at a time unless ``--jobs`` says otherwise. With
``--store FILE`` an interrupted search goes on from its finished runs; a checkout whose code has changed needs a new file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import refopt
from refopt.core.errors import ArgumentError, RefoptError
from refopt.core.objective import objective
from refopt.core.problem import offers
from refopt.core.registry import methods
from refopt.sweeps import Serial
from refopt.sweeps.executors import Processes
from refopt.sweeps.figures import Row

from asv_bench import record

HERE = pathlib.Path(__file__).parent
SPACES = HERE / "target_spaces.json"
COLUMNS = ("problem", "method", "lr", "gradients", "seconds", "fun", "tried")


@dataclass(frozen=True)
class Trial:
    """One run: its rate, whether and at what price it met the target, and where it ended.

    Attributes
    ----------
    lr : float or None
        None: the method has no rate.
    gradients, seconds : float or None
        Spent until the target; None if it was not met.
    fun : float
        The last objective, infinity if the run diverged.
    """

    lr: float | None
    gradients: float | None
    seconds: float | None
    fun: float

    @property
    def rank(self) -> tuple[bool, float]:
        """Smaller is better: what was spent, or where it ended."""
        met = self.gradients is not None
        return (not met, self.gradients if met else self.fun)  # type: ignore[return-value]


def search(run: Callable[[list[float]], list[Trial]], rates: list[float]) -> list[Trial]:
    """Try all `rates`, then the geometric means of the best and its neighbours: one or two more.

    Parameters
    ----------
    run : callable
        From rates to a `Trial` each.
    rates : list of float
        Increasing.

    Returns
    -------
    list of Trial
        ``len(rates) + 2`` of them, in the order of the rates; at an end of `rates` the second further rate
        lies beyond it, as far as the neighbour on the other side.
    """
    found = run(rates)
    k = min(range(len(rates)), key=lambda i: found[i].rank)
    below = rates[k - 1] if k > 0 else rates[0] ** 2 / rates[1]
    above = rates[k + 1] if k + 1 < len(rates) else rates[-1] ** 2 / rates[-2]
    return found + run([math.sqrt(rates[k] * other) for other in (below, above)])


def best(trials: list[Trial]) -> Trial:
    """Return the trial of the smallest rank, the first of equals."""
    return min(trials, key=lambda trial: trial.rank)


def build(spec: dict[str, Any]) -> Any:
    """Return a problem of the spaces; ``"libsvm": name`` writes that data set as a LIBSVM file first."""
    parameters = dict(spec["parameters"])
    if "libsvm" not in parameters:
        return refopt.problem(spec["problem"], **parameters)
    from refopt.problems.data import load
    from sklearn.datasets import dump_svmlight_file

    inputs, targets = load(parameters.pop("libsvm"))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data.libsvm")
        dump_svmlight_file(inputs, targets, path)
        return refopt.problem(spec["problem"], data=path, **parameters)


@dataclass(frozen=True)
class Sweeps:
    """Where runs are kept and what makes them."""

    store: str | None = None
    executor: Executor = Serial()

    def trials(
        self, title: str, problem: Any, name: str, rates: list[Any], spec: dict[str, Any]
    ) -> list[Trial]:
        """Run a method with each rate until the target or the budget; None: it has no rate."""
        allowed = [lr for lr in rates if lr is None or takes(name, lr)]
        if not allowed:
            return [Trial(lr, None, None, math.inf) for lr in rates]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            s = refopt.sweep(
                {name: name}, {title: problem}, [0], {} if allowed == [None] else {"lr": allowed}, self.store, self.executor,
                steps=10**6, max_calls=float(spec["budget"]), max_seconds=spec["seconds"], batch_size=spec.get("batch_size"),
                record="step", record_every=10**6, target=spec["target"],
            )  # fmt: skip
        found = {row.settings.get("lr"): trial(row) for row in s.rows}
        return [found.get(lr, Trial(lr, None, None, math.inf)) for lr in rates]

    def tune(
        self, title: str, problem: Any, name: str, spec: dict[str, Any], rates: list[float]
    ) -> list[Trial]:
        """Search the rate of one method on one problem; a method without a rate is run once."""
        if not takes(name, 0.1):
            return self.trials(title, problem, name, [None], spec)
        return search(lambda several: self.trials(title, problem, name, several, spec), rates)


def trial(row: Row) -> Trial:
    """Return what counts of a run here; an error inside it is raised."""
    if row.status in ("error", "crashed"):
        raise ArgumentError(row.message)
    fun = row.fun if row.success and math.isfinite(row.fun) else math.inf
    seconds = float(row.history["seconds"][-1])
    return Trial(
        row.settings.get("lr"),
        row.gradient_equivalents if row.met else None,
        seconds if row.met else None,
        fun,
    )


def fits(name: str, problem: Any) -> bool:
    """Tell whether the problem offers what the method needs."""
    return all(offers(problem, need) for need in refopt.optimizer(name).needs)


def takes(name: str, lr: float) -> bool:
    """Tell whether the method (or a wrapper's base) takes this rate."""
    try:
        refopt.optimizer(name, lr=lr)
    except RefoptError:
        return False
    return True


def rounded(value: float | None) -> float | None:
    """Four digits are kept in the file; JSON has no infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def own_file(path: str) -> dict[str, Any]:
    """Return the problem of a LIBSVM file: logistic regression, until 1 % of the gap to its minimum is left."""
    from scipy.optimize import minimize

    parameters = {"data": path, "l2": 0.001}
    problem = refopt.problem("logistic", **parameters)
    start = problem.start(0)
    least = minimize(problem.value, start, jac=problem.grad, method="L-BFGS-B",
                     options={"maxiter": 10_000, "gtol": 1e-9, "ftol": 0.0}).fun  # fmt: skip
    target = least + 0.01 * (objective(problem, start) - least)
    about = f"1 % of the gap to {least:.6g} is left"
    return {"problem": "logistic", "parameters": parameters, "about": about, "target": float(target),
            "budget": 300, "seconds": 60}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="METHOD", help="left out: every one that fits")
    parser.add_argument(
        "--libsvm", metavar="FILE", help="this problem alone, for a look: it cannot be recorded"
    )
    record.option(parser)
    parser.add_argument("--store", metavar="FILE", help="keep the runs there, and go on from what is there")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="J", help="in J processes, each beside the others"
    )
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        executor = Serial() if options.jobs == 1 else stack.enter_context(Processes(options.jobs))
        run(options, Sweeps(options.store, executor))


def run(options: argparse.Namespace, sweeps: Sweeps) -> None:
    """Tune every method that is wanted on every problem, print and write what came of it."""
    spaces = json.loads(SPACES.read_text(encoding="utf-8"))
    if options.libsvm and options.record:
        raise ArgumentError(
            "--record: of the problems of target_spaces.json alone, not of a file of one's own"
        )
    if options.libsvm:
        spaces["problems"] = {os.path.basename(options.libsvm): own_file(options.libsvm)}
    recorder = record.Recorder(record.command("target"))
    # A method that is named is measured anew among the others.
    kept = results() if options.record and options.names else {}
    wanted = options.names or [m.name for m in (*methods("optimizer"), *methods("wrapper"))]
    for title, spec in spaces["problems"].items():
        problem = build(spec)
        print(
            f"{title}: {objective(problem, problem.start(0)):.4g} at the start, target {spec['target']:.4g}"
        )
        for name in wanted:
            if not fits(name, problem):
                continue
            try:
                trials = sweeps.tune(title, problem, name, spec, spaces["rates"])
            except RefoptError as error:
                print(f"  {name:22} does not fit: {error}", flush=True)
                continue
            chosen = best(trials)
            print(f"  {name:22} {chosen}", flush=True)
            kept.setdefault(title, {})[name] = {
                "lr": rounded(chosen.lr),
                "gradients": rounded(chosen.gradients),
                "seconds": rounded(chosen.seconds),
                "fun": rounded(chosen.fun),
                "tried": [[rounded(t.lr), rounded(t.gradients), rounded(t.fun)] for t in trials],
            }
    if options.record:
        rows = [
            [p, n, *(row[c] for c in COLUMNS[2:])]
            for p, found in sorted(kept.items())
            for n, row in sorted(found.items())
        ]
        note = (
            f"Anew: {', '.join(options.names)}. Of the others: {record.load('target').note}"
            if options.names
            else ""
        )
        recorder.write("target", COLUMNS, rows, note)


def results() -> dict[str, dict[str, Any]]:
    """Return what is recorded, by problem and method."""
    found: dict[str, dict[str, Any]] = {}
    for row in record.load("target").dicts():
        found.setdefault(row.pop("problem"), {})[row.pop("method")] = row
    return found


if __name__ == "__main__":
    main()
