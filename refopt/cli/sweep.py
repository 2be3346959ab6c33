"""``refopt sweep``: a sweep from a TOML file, or what a store of one says."""

from __future__ import annotations

import json
import math
import sys
import tomllib
from typing import Any

from refopt.cli.console import console, table
from refopt.core.arguments import check_path
from refopt.core.errors import ArgumentError, ArgumentTypeError, StoreError, nearest
from refopt.core.hyper import check_number
from refopt.sweeps import Serial
from refopt.sweeps.executors import Processes
from refopt.sweeps.figures import Best
from refopt.sweeps.result import Sweep
from refopt.sweeps.running import sweep as run_sweep

KEYS = ("methods", "problems", "seeds", "grids", "store", "jobs", "target", "budget")
BUDGET = (
    "steps", "tol", "max_calls", "max_seconds", "batch_size", "sampling", "record", "record_every",
)  # fmt: skip


def sweep(options: Any) -> int:
    """Run what the file says, or read a store; print the best points and the profiles.

    Returns
    -------
    int
        1 if a run ended in an error; divergence is none.
    """
    for flag in ("curves", "profile", "best"):
        if getattr(options, flag):
            check_path(getattr(options, flag), f"--{flag}", ArgumentError)
    found = Sweep.open(options.file) if _is_store(options.file) else _run(options)
    if not found.rows:
        raise StoreError(f"{options.file}: no run has finished yet; {found.left} are left")
    if options.json:
        print(json.dumps(_as_json(found, options.tolerance)))
    else:
        _print(found, options.tolerance)
    if options.curves:
        found.curves().plot(options.curves)
    if options.profile:
        found.profile(options.tolerance).plot(options.profile)
    if options.best:
        found.best().plot(options.setting, options.best)
    return int(any(r.status in ("error", "crashed") for r in found.rows))


def _is_store(path: str) -> bool:
    try:
        with open(path, "rb") as f:
            return f.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror})") from None


def _run(options: Any) -> Sweep:
    given = read(options.file)
    jobs = options.jobs if options.jobs is not None else given.get("jobs")
    if jobs is not None:
        check_number(jobs, "int [1, inf)", "jobs")
    arguments: dict[str, Any] = {
        "methods": given["methods"], "problems": given["problems"], "seeds": given.get("seeds", [0]), "grids": given.get("grids"),
        "store": options.store or given.get("store", "runs.sqlite"), "target": given.get("target"), **given.get("budget", {}),
        "progress": False if options.no_progress or options.json else None,
    }  # fmt: skip
    if jobs is None:
        return run_sweep(**arguments)
    if jobs == 1:
        return run_sweep(**arguments, executor=Serial())
    with Processes(jobs) as executor:
        return run_sweep(**arguments, executor=executor)


def read(path: str) -> dict[str, Any]:
    """Return what a sweep's TOML file says.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        It cannot be read, or has an unknown key, or lacks methods or problems.
    """
    try:
        with open(path, "rb") as f:
            given = tomllib.load(f)
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{path}: is no TOML ({error})") from None
    _known(given, KEYS, path)
    for key in ("methods", "problems"):
        if key not in given:
            raise ArgumentError(f"{path}: {key} is missing")
    budget = given.get("budget", {})
    if not isinstance(budget, dict):
        raise ArgumentTypeError(f"{path}: budget: wanted a table, got {budget!r}")
    _known(budget, BUDGET, f"{path}: budget")
    return given


def _known(given: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            raise ArgumentError(
                f"{where}: there is no {key!r}.{nearest(key, known)} It has: {', '.join(known)}"
            )


def _best(found: Sweep) -> Best:
    return found.best("gradients" if all(r.met is not None for r in found.rows) else "fun")


def _print(found: Sweep, tolerance: float | None) -> None:
    best = _best(found)
    measure = {"fun": "objective", "gradients": "gradients to target"}[best.measure]
    header = ("problem", "method", "best", f"{measure}: median", "quartiles", "runs", "failed", "ties")
    rows = [
        (p.problem, p.method, _settings(p.settings), f"{p.median:.6g}", f"{p.low:.4g} to {p.high:.4g}", p.runs, p.failed,
         "; ".join(map(_settings, p.ties)))
        for p in best.chosen
    ]  # fmt: skip
    console().print(table(header, rows))
    profile = found.profile(tolerance)
    until = "the target" if profile.tolerance is None else f"tolerance {profile.tolerance:g}"
    console().print(
        table(
            ("method", f"wins (of {len(profile.instances)}, to {until})", "within twice the least", "solved"),
            [
                (f["method"], *(f"{f[k]:.3g}" for k in ("wins", "within_2", "solved")))
                for f in profile.figures()
            ],
        )
    )
    for row in found.rows:
        if row.status in ("error", "crashed"):
            print(f"{row.method} on {row.problem}, seed {row.seed}: {row.message}", file=sys.stderr)
    print(f"{len(found.rows)} runs, {sum(not r.success for r in found.rows)} failed, {found.left} left")


def _settings(settings: Any) -> str:
    return ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items())


def _as_json(found: Sweep, tolerance: float | None) -> dict[str, Any]:
    best, profile = _best(found), found.profile(tolerance)
    return _finite(
        {
            "rows": found.records(),
            "left": found.left,
            "measure": best.measure,
            "best": [{**vars(p), "settings": dict(p.settings), "ties": list(p.ties)} for p in best.chosen],
            "profile": {"tolerance": profile.tolerance, "methods": profile.figures()},
        }
    )


def _finite(value: Any) -> Any:
    """JSON has no NaN or infinity."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
