"""``refopt verify``: hold an implementation against the reference from a shell."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import math
import os
import shlex
import sys
from collections.abc import Callable
from typing import Any

from refopt.cli.runs import _pairs
from refopt.core.errors import ArgumentError
from refopt.core.registry import entry, methods
from refopt.verify.comparison import compare
from refopt.verify.diagnosis import diagnose, recognised_name
from refopt.verify.inputs.calls.kinds import kind_of
from refopt.verify.report import Diagnosis, Report


def _loaded(load: Callable[[], Any], module: str) -> Any:
    """Load code of the user's, and say in one line what it raised, or that it exits."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise ArgumentError(
            f"other: module {module!r} cannot be imported ({type(error).__name__}: {error})"
        ) from None


def load(spec: str) -> Any:
    """Return what ``module:name`` or ``file.py:name`` stands for; without a colon, a program's command line.

    Raises
    ------
    ArgumentError
        No such module, file or name.
    """
    module, colon, name = spec.rpartition(":")
    if not colon:
        return shlex.split(spec)
    if module.endswith(".py"):
        if not os.path.exists(module):
            raise ArgumentError(f"other: no file {module!r}")
        found = importlib.util.spec_from_file_location("refopt_verified", module)
        if found is None or found.loader is None:
            raise ArgumentError(f"other: {module!r} cannot be loaded")
        home = importlib.util.module_from_spec(found)
        _loaded(functools.partial(found.loader.exec_module, home), module)
    else:
        sys.path.insert(0, os.getcwd())
        try:
            home = _loaded(lambda: importlib.import_module(module), module)
        finally:
            sys.path.pop(0)
    value: Any = home
    for part in name.split("."):
        if not hasattr(value, part):
            raise ArgumentError(f"other: {module} has no {name!r}")
        value = getattr(value, part)
    return value


def verify(options: Any, rest: list[str]) -> int:
    """Compare, and where no dialect is named or the comparison fails, diagnose."""
    given = _pairs(rest)
    own = {k.removeprefix("other."): v for k, v in given.items() if k.startswith("other.")}
    hyper = {k: v for k, v in given.items() if not k.startswith("other.")}
    other = load(options.other)
    if own:
        other = functools.partial(other, **own)
    search = {"effort": options.effort, "patience": options.patience}
    common = {"dtype": options.dtype, "seed": options.seed, **hyper}
    if options.name is None:
        options.name = recognised_name(other, options.seed, hyper)
    if kind_of(options.name) is not None:
        return _function(other, options, search, hyper)
    steps = 100 if options.steps is None else options.steps
    name, dialect, answer = options.name, options.dialect, None
    if dialect is None:
        answer = diagnose(other, name, steps=min(steps, 30), **search, **common)
        name, dialect = _reference(answer)
    report = compare(other, name, dialect=dialect, steps=steps, **common)
    if answer is None and not report.agrees:
        answer = diagnose(other, options.name, steps=min(steps, 30), **search, **common)
    if options.plot:
        report.plot(options.plot)
    if options.json:
        print(json.dumps(as_json(report, answer)))
    else:
        if answer is not None:
            print(answer)
        print(report)
        if report.agrees:
            settings = "".join(f", {k}={v!r}" for k, v in report.hyperparameters.items() if k != "schedule")
            print(f'  The same from refopt: refopt.optimizer("{name}", dialect="{dialect}"{settings})')
        if options.plot:
            print(f"  errors by step: {options.plot}")
    return 0 if report.agrees else 1


def _function(other: Any, options: Any, search: dict[str, Any], hyper: dict[str, Any]) -> int:
    """Hold what is compared call by call."""
    if options.plot:
        raise ArgumentError(f"plot: {options.name} is compared call by call, and has no errors by step")
    common = {"seed": options.seed, "steps": options.steps, **hyper}
    held: Any = compare(other, options.name, dialect=options.dialect or "paper", **common)
    why: Any = diagnose(other, options.name, **search, **common)
    if options.json:
        cases = {
            a.case: {"error": _finite(a.error), "allowed": a.allowed, "problem": a.problem}
            for a in held.answers
        }
        out = {
            "agrees": held.agrees, "other": held.other, "method": held.method, "agrees_in": held.agrees_in,
            "cases": cases, "left_out": list(held.left_out), "explained_by": list(why.explained_by),
            "diagnosis": str(why),
        }  # fmt: skip
        print(json.dumps(out))
    else:
        print(why)
        print(held)
    return 0 if held.agrees else 1


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _reference(answer: Diagnosis) -> tuple[str, str]:
    """Return the method and dialect that the diagnosis names, or those that come nearest."""
    names = answer.explained_by or answer.nearest
    known = {e.name for e in methods("optimizer")}
    name = names[0] if names and names[0] in known else answer.method
    return name, next((n for n in names if n in entry(name).dialects), "paper")


def as_json(report: Report, answer: Diagnosis | None) -> dict[str, Any]:
    """Return report and diagnosis as plain data."""
    out: dict[str, Any] = {
        "agrees": report.agrees, "other": report.other, "method": report.method, "dialect": report.dialect,
        "dtype": report.dtype, "steps": report.steps, "step": report.step, "leaf": report.leaf,
        "index": report.index, "error": _finite(report.error), "ulps": _finite(report.ulps),
        "rtol": _finite(report.rtol), "notes": list(report.notes),
    }  # fmt: skip
    if answer is not None:
        out["explained_by"] = list(answer.explained_by)
        out["diagnosis"] = str(answer)
    return out
