"""Sparse logistic regression beside scikit-learn's solvers, in one run: ``python -m asv_bench.sparse_logistic [--record]``.

20 000 examples of 50 000 features, 75 of them nonzero, drawn as words are (the k-th most frequent in proportion to 1 / k), rows of
length 1, labels of a planted model with noise, l2 = 1e-4. What is timed is a run of as many steps as are needed until
``f - f* <= 1e-5 f*``: the number is found beforehand, so that nobody's time holds the looking. The stochastic
methods run at a few multiples of 1 / L.
"""

from __future__ import annotations

import argparse
import functools
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import refopt
import scipy.sparse
from refopt.core.errors import RefoptError

from asv_bench import record
from asv_bench.quiet import QUIET, watched

EXAMPLES, FEATURES, NONZEROS, L2 = 20_000, 50_000, 75, 1e-4
GAP = 1e-5
BATCH = 200
RATES = (1.0, 3.0, 10.0)  # in units of 1 / L
MOST_STEPS = 4000


def data(n: int, d: int, nonzeros: int, seed: int = 0) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Return unit rows of `nonzeros` features each, drawn as words are, and labels of a planted model."""
    rng = np.random.default_rng(seed)
    frequency = 1.0 / np.arange(1.0, d + 1.0)
    # Exponential clocks: the `nonzeros` first are a draw without replacement in proportion to the rates.
    rows = []
    for _ in range(n):
        clocks = rng.standard_exponential(d) / frequency
        rows.append(np.sort(np.argpartition(clocks, nonzeros)[:nonzeros]))
    values = rng.standard_exponential((n, nonzeros))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    at = (np.repeat(np.arange(n), nonzeros), np.concatenate(rows))
    inputs = scipy.sparse.csr_array((values.ravel(), at), shape=(n, d))
    planted = rng.standard_normal(d)
    margins = inputs @ planted
    labels = np.where(margins + 0.5 * rng.standard_normal(n) > 0, 1.0, -1.0)
    return inputs, labels


@dataclass(frozen=True)
class Way:
    """One method: `run(k)` makes k steps and returns x; `steps` says how many reach the target, None if too many."""

    name: str
    run: Callable[[int], np.ndarray]
    steps: Callable[[], int | None]
    unit: str


def counted(problem: Any, target: float, name: str, most: int, **given: Any) -> int | None:
    """Return the first step of a run after which f is at most `target`, looked at once a pass where there are batches."""
    every, found, t = given.pop("every", 1), None, 0

    def look(xk: np.ndarray) -> None:
        nonlocal found, t
        t += 1
        if t % every == 0 and float(problem.value(xk)) <= target:
            found = t
            raise StopIteration

    try:
        refopt.minimize(problem, name, steps=most, callback=look, record_every=10**9, **given)
    except RefoptError:
        return None
    return found


def ours(problem: Any, target: float) -> list[Way]:
    """Return refopt's methods, the stochastic ones at each of `RATES`."""

    def way(title: str, name: str, most: int, **given: Any) -> Way:
        every = given.pop("every", 1)
        return Way(
            title,
            lambda k: refopt.minimize(problem, name, steps=k, record_every=10**9, **given).x,  # type: ignore[return-value]
            lambda: counted(problem, target, name, most, every=every, **given),
            "steps",
        )

    once = problem.n_examples // BATCH
    ways = [
        way("refopt lbfgs", "lbfgs", MOST_STEPS),
        way("refopt nesterov, lr = auto", "nesterov", MOST_STEPS, lr="auto"),
    ]
    for name, further in (("svrg", {}), ("sarah", {"option": "last"})):
        for rate in RATES:
            title = f"refopt {name}, batches of {BATCH}, lr = {rate:g}/L"
            lr = rate / problem.lipschitz
            ways.append(way(title, name, MOST_STEPS, lr=lr, batch_size=BATCH, every=once, **further))
    return ways


def theirs(problem: Any, target: float) -> list[Way]:
    """Return scikit-learn's solvers of the same objective; `steps` by doubling and bisection."""
    from sklearn.linear_model import LogisticRegression

    inputs, labels = scipy.sparse.csr_matrix(problem.inputs), problem.labels
    # scikit-learn takes no others.
    inputs.indices, inputs.indptr = inputs.indices.astype(np.int32), inputs.indptr.astype(np.int32)

    def run(solver: str, k: int) -> np.ndarray:
        model = LogisticRegression(
            C=1.0 / (problem.n_examples * problem.l2),
            fit_intercept=False,
            solver=solver,
            tol=1e-300,
            max_iter=k,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(inputs, labels).coef_[0]  # type: ignore[no-any-return]

    def steps(solver: str, most: int) -> int | None:
        def met(k: int) -> bool:
            return float(problem.value(run(solver, k))) <= target

        high = 1
        while not met(high):
            high *= 2
            if high > most:
                return None
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if met(middle) else (middle, high)
        return high

    return [
        Way("scikit-learn lbfgs", lambda k: run("lbfgs", k), lambda: steps("lbfgs", MOST_STEPS), "steps"),
        Way("scikit-learn saga", lambda k: run("saga", k), lambda: steps("saga", 1024), "passes"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--features", type=int, default=FEATURES)
    parser.add_argument("--repeats", type=int, default=3)
    record.option(parser)
    options = parser.parse_args()
    recorder, rows = record.Recorder(record.command("sparse_logistic")), []
    problem = refopt.problem(
        "logistic", data=data(options.examples, options.features, NONZEROS), l2=L2, intercept=False
    )
    best = refopt.minimize(problem, "lbfgs", steps=2000, tol=1e-9)
    least = float(problem.value(best.x))
    # f - f* <= |grad|^2 / (2 mu): what the optimum is known to.
    known = float(np.sum(problem.grad(best.x) ** 2)) / (2 * L2)
    print(
        f"{options.examples} x {options.features}, {NONZEROS} a row, l2 = {L2:g}: f* = {least:.10f} to {known:.1e}, f(0) = log 2"
    )
    target = least * (1.0 + GAP)
    print(
        "| method | to 1e-5 of the optimum | seconds, median of runs | others' share of the cores |\n|---|---|---|---|"
    )
    for way in (*ours(problem, target), *theirs(problem, target)):
        k = way.steps()
        if k is None:
            print(f"| {way.name} | not met | | |", flush=True)
            rows.append([way.name, None, way.unit, None, None])
            continue
        seconds, foreign = [], []
        for _ in range(options.repeats):
            begin = time.perf_counter()
            x, share = watched(functools.partial(way.run, k))
            seconds.append(time.perf_counter() - begin)
            foreign.append(share)
        assert float(problem.value(x)) <= target, way.name
        loaded = max(foreign)
        rows.append([way.name, k, way.unit, float(np.median(seconds)), loaded])
        print(
            f"| {way.name} | {k} {way.unit} | {np.median(seconds):.2f} | {'' if loaded <= QUIET else 'disturbed, '}{loaded:.0%} |",
            flush=True,
        )
    if options.record:
        size = (
            f"{options.examples} examples of {options.features} features, median of {options.repeats} runs."
        )
        recorder.write("sparse_logistic", ("method", "number", "unit", "seconds", "others"), rows, size)


if __name__ == "__main__":
    main()
