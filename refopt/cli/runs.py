"""``refopt run`` and ``refopt compare``."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import json
import math
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from refopt.cli.console import console, table
from refopt.core.arguments import check_path
from refopt.core.arrays import to_numpy
from refopt.core.build import optimizer
from refopt.core.build import problem as build_problem
from refopt.core.errors import ArgumentError, CheckpointError
from refopt.core.hyper import check_number
from refopt.core.params import leaves, map_leaves
from refopt.core.result import Result
from refopt.driver import minimize


def _value(text: str) -> Any:
    """Read a number, tuple, boolean or None; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _pairs(rest: list[str]) -> dict[str, Any]:
    """Read ``--name value`` and ``--name=value``."""
    found: dict[str, Any] = {}
    words = list(rest)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise ArgumentError(f"unexpected argument {word!r}; hyperparameters are given as --name value")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not words:
                raise ArgumentError(f"--{name}: wanted a value")
            text = words.pop(0)
        found[name.replace("-", "_") if "." not in name else name] = _value(text)
    return found


def _split(rest: list[str], names: list[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the problem's parameters, and each method's hyperparameters."""
    problem: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {n: {} for n in names}
    for key, value in _pairs(rest).items():
        owner, dot, name = key.partition(".")
        name = name.replace("-", "_")
        if not dot:
            shared[key] = value
        elif owner == "problem":
            problem[name] = value
        elif owner in own:
            own[owner][name] = value
        else:
            raise ArgumentError(f"--{key}: {owner!r} is neither 'problem' nor one of {', '.join(names)}")
    return problem, {n: {**shared, **own[n]} for n in names}


def parts(rest: list[str], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read ``--name value`` as one thing's own options, ``--problem.name value`` as the problem's parameters."""
    problem, own = _split(rest, [name])
    return own[name], problem


def hyperparameters(rest: list[str], name: str) -> dict[str, Any]:
    """Read ``--name value`` as one method's hyperparameters, where there is no problem."""
    problem, own = _split(rest, [name])
    if problem:
        raise ArgumentError(f"--problem.{next(iter(problem))}: there is no problem here")
    return own[name]


def _check(name: str, hyperparameters: dict[str, Any]) -> None:
    """Tell bad hyperparameters before any work; a rate that is still to follow from the problem is left out."""
    optimizer(name, **{k: v for k, v in hyperparameters.items() if (k, v) != ("lr", "auto")})


def _start(problem: Any, options: Any) -> Any:
    return map_leaves(lambda a: np.asarray(a, dtype=options.dtype), problem.start(options.seed))


def _minimize(
    problem: Any, name: str, options: Any, hyperparameters: dict[str, Any], **further: Any
) -> Result:
    steps = options.steps if options.steps is not None else (1000 if options.budget is None else 10**9)
    every = None if options.steps is not None or options.budget is None else _every(problem, options)
    progress = sys.stderr.isatty() and sys.stdout.isatty() and not options.no_progress and not options.json
    return minimize(
        problem, name, _start(problem, options), steps=steps, max_calls=options.budget, record_every=every,
        batch_size=options.batch_size, seed=options.seed, progress=progress, **{"record": "full", **further}, **hyperparameters,
    )  # fmt: skip


def _every(problem: Any, options: Any) -> int:
    """Record about a hundred times in a budget, if a step were one gradient of a batch."""
    n = getattr(problem, "n_examples", None) or 1
    return max(1, int(options.budget * n / (options.batch_size or n)) // 100)


def _row(name: str, r: Result) -> tuple[str, ...]:
    calls = " ".join(f"{k}:{v}" for k, v in r.calls.items() if v)
    return (
        name, r.status, str(r.nit), f"{r.gradient_equivalents:.4g}", f"{r.fun:.6g}",
        f"{r.history['grad_norm'][-1]:.3g}" if len(r.history["grad_norm"]) else "",
        f"{r.history['seconds'][-1]:.3g}" if len(r.history["seconds"]) else "", calls,
    )  # fmt: skip


HEADER = ("method", "status", "steps", "gradients", "objective", "gradient norm", "seconds", "calls")


def _finite(value: float) -> float | None:
    """JSON has no NaN or infinity."""
    return value if math.isfinite(value) else None


def as_json(r: Result) -> dict[str, Any]:
    """Return a result as plain data; the point itself only if it is short."""
    x = {k: to_numpy(v).tolist() for k, v in leaves(r.x).items()}
    size = sum(to_numpy(v).size for v in leaves(r.x).values())
    return {
        "fun": _finite(r.fun), "nit": r.nit, "status": r.status, "success": r.success, "message": r.message,
        "calls": dict(r.calls), "gradient_equivalents": r.gradient_equivalents,
        "history": {k: [_finite(float(u)) for u in v] for k, v in r.history.items()},
        "x": (x.get("", x) if size <= 1000 else None),
    }  # fmt: skip


def run(options: Any, rest: list[str]) -> int:
    """Run one method on one problem."""
    parameters, own = _split(rest, [options.method])
    if options.plot:
        check_path(options.plot, "--plot", ArgumentError)
    problem = build_problem(options.problem, **parameters)
    _check(options.method, own[options.method])
    further = {}
    if options.checkpoint:
        if os.path.exists(options.checkpoint) and not options.resume:
            raise CheckpointError(
                f"checkpoint: {options.checkpoint} exists; --resume goes on from it, or remove it"
            )
        further = {"checkpoint": options.checkpoint, "resume": options.resume}
    elif options.resume:
        raise ArgumentError("resume: needs the checkpoint's path, --checkpoint FILE")
    r = _minimize(problem, options.method, options, own[options.method], **further)
    if options.json:
        print(json.dumps(as_json(r)))
    else:
        console().print(table(HEADER, [_row(options.method, r)]))
        print(r.message)
    _plot({options.method: [r]}, problem, options)
    return 0 if r.success else 1


def compare(options: Any, rest: list[str]) -> int:
    """Run several methods on one problem from the same start, once or with several seeds."""
    if len(set(options.methods)) < len(options.methods):
        raise ArgumentError("compare: a method is named twice")
    parameters, own = _split(rest, options.methods)
    if options.plot:
        check_path(options.plot, "--plot", ArgumentError)
    for flag in ("seeds", "jobs"):
        check_number(getattr(options, flag), "int [1, inf)", f"--{flag}")
    problem = build_problem(options.problem, **parameters)
    if options.validation is not None:
        problem.split(options.validation, options.seed)  # what is wrong with it is told before any work
    for name in options.methods:
        _check(name, own[name])
    asked = [(name, options.seed + k) for name in options.methods for k in range(options.seeds)]
    work = functools.partial(_one, options, parameters, own)
    if options.jobs == 1:
        found = [work(name, seed) for name, seed in asked]
    else:
        with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(work, *zip(*asked)))
    runs: dict[str, list[Result]] = {name: [] for name in options.methods}
    for (name, _), r in zip(asked, found):
        runs[name].append(r)
    if options.json:
        each = {n: [as_json(r) for r in rs] for n, rs in runs.items()}
        print(json.dumps(each if options.seeds > 1 else {n: rs[0] for n, rs in each.items()}))
    elif options.seeds > 1:
        recorded = "validation" if options.validation is not None else "recorded"
        console().print(table(over_seeds(recorded), [_quantiles(name, rs) for name, rs in runs.items()]))
    else:
        console().print(table(HEADER, [_row(name, rs[0]) for name, rs in runs.items()]))
    _plot(runs, problem, options)
    return 0 if all(r.success for rs in runs.values() for r in rs) else 1


def _one(
    options: Any, parameters: dict[str, Any], own: dict[str, dict[str, Any]], name: str, seed: int
) -> Result:
    """Make one run of a comparison, in a process of its own perhaps."""
    problem = build_problem(options.problem, **parameters)
    further: dict[str, Any] = {}
    if options.validation is not None:
        problem, further["record"] = problem.split(options.validation, options.seed)
    options = argparse.Namespace(**{**vars(options), "seed": seed})
    r = _minimize(problem, name, options, own[name], **further)
    return dataclasses.replace(r, state={}, x=map_leaves(to_numpy, r.x))


def over_seeds(recorded: str) -> tuple[str, ...]:
    """Return the heads of the table over seeds."""
    return (
        "method",
        "runs",
        "failed",
        "objective: median",
        "quartiles",
        f"best {recorded}: median",
        "quartiles",
        "at step",
    )


def _quantiles(name: str, results: list[Result]) -> tuple[str, ...]:
    """Return a row: the last objectives, and the least values on the way with their steps, over the runs that ended."""
    ended = [r for r in results if r.success]
    best = [int(np.nanargmin(r.history["value"])) for r in ended if np.any(np.isfinite(r.history["value"]))]
    lows = [float(r.history["value"][k]) for r, k in zip(ended, best)]
    steps = [float(r.history["step"][k]) for r, k in zip(ended, best)]

    def spread(values: list[float]) -> tuple[str, str]:
        if not values:
            return "", ""
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        return f"{middle:.6g}", f"{low:.4g} to {high:.4g}"

    at = f"{np.median(steps):.4g}" if steps else ""
    return (
        name,
        str(len(results)),
        str(len(results) - len(ended)),
        *spread([r.fun for r in ended]),
        *spread(lows),
        at,
    )


def _plot(results: dict[str, list[Result]], problem: Any, options: Any) -> None:
    """Write the curves, if they are asked for: last, so that the results are there whatever happens."""
    if not options.plot:
        return
    from refopt.cli.plot import curves

    curves(
        results, getattr(problem, "optimum", None), f"{options.problem}: {', '.join(results)}", options.plot
    )
    if not options.json:
        print(f"curves: {options.plot}")
