"""``refopt run`` and ``refopt compare``."""

from __future__ import annotations

import ast
import json
import math
import os
import sys
from typing import Any

import numpy as np

from refopt.cli.console import console, table
from refopt.core.arguments import check_path
from refopt.core.arrays import to_numpy
from refopt.core.build import optimizer
from refopt.core.build import problem as build_problem
from refopt.core.errors import ArgumentError, CheckpointError
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


def _start(problem: Any, options: Any) -> Any:
    return map_leaves(lambda a: np.asarray(a, dtype=options.dtype), problem.start(options.seed))


def _minimize(
    problem: Any, name: str, options: Any, hyperparameters: dict[str, Any], **further: Any
) -> Result:
    steps = options.steps if options.steps is not None else (1000 if options.budget is None else 10**9)
    every = None if options.steps is not None or options.budget is None else _every(problem, options)
    progress = sys.stderr.isatty() and sys.stdout.isatty() and not options.no_progress and not options.json
    return minimize(
        problem, name, _start(problem, options), steps=steps, max_calls=options.budget, record="full", record_every=every,
        batch_size=options.batch_size, seed=options.seed, progress=progress, **further, **hyperparameters,
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
    optimizer(options.method, **own[options.method])  # bad hyperparameters are told before any work
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
    _plot({options.method: r}, problem, options)
    return 0 if r.success else 1


def compare(options: Any, rest: list[str]) -> int:
    """Run several methods on one problem from the same start."""
    if len(set(options.methods)) < len(options.methods):
        raise ArgumentError("compare: a method is named twice")
    parameters, own = _split(rest, options.methods)
    if options.plot:
        check_path(options.plot, "--plot", ArgumentError)
    problem = build_problem(options.problem, **parameters)
    for name in options.methods:
        optimizer(name, **own[name])
    results = {name: _minimize(problem, name, options, own[name]) for name in options.methods}
    if options.json:
        print(json.dumps({name: as_json(r) for name, r in results.items()}))
    else:
        console().print(table(HEADER, [_row(name, r) for name, r in results.items()]))
    _plot(results, problem, options)
    return 0 if all(r.success for r in results.values()) else 1


def _plot(results: dict[str, Result], problem: Any, options: Any) -> None:
    """Write the curves, if they are asked for: last, so that the results are there whatever happens."""
    if not options.plot:
        return
    from refopt.cli.plot import curves

    curves(
        results, getattr(problem, "optimum", None), f"{options.problem}: {', '.join(results)}", options.plot
    )
    if not options.json:
        print(f"curves: {options.plot}")
