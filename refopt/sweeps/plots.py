"""Figures of sweeps, by matplotlib (extra ``cli``). Each function returns a `matplotlib.figure.Figure`."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError, missing_extra
from refopt.sweeps.figures import Best, Curves, Point, Profile


def draw_best(best: Best, setting: str, path: str | os.PathLike[str] | None = None) -> Any:
    """Draw the measure against a numeric setting, a frame for each problem: median, quartiles, the best marked.

    Of other settings that vary besides, the points of the best are drawn.

    Parameters
    ----------
    best : Best
    setting : str
        Such as ``"lr"``. Methods without it are left out.
    path : path, optional
        Write the figure there (.png, .pdf, .svg).

    Raises
    ------
    ArgumentError
        No point has a number there, or the file cannot be written.
    MissingExtraError
        Matplotlib is not installed.
    """
    lines = {}
    for chosen in best.chosen:
        points = [p for p in best.points if _differs_in(p, chosen, setting)]
        if points:
            lines[chosen.problem, chosen.method] = chosen, sorted(points, key=lambda p: p.settings[setting])
    if not lines:
        raise ArgumentError(f"setting: no method has a number as {setting!r}")
    figure, frames = _frames(list(dict.fromkeys(problem for problem, _ in lines)))
    for (problem, method), (chosen, points) in lines.items():
        axes = frames[problem]
        at = [p.settings[setting] for p in points]
        low, middle, high = (_shown([getattr(p, k) for p in points]) for k in ("low", "median", "high"))
        (line,) = axes.plot(at, middle, "o-", markersize=3, label=method)
        axes.fill_between(at, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
        if math.isfinite(chosen.median):
            axes.plot(chosen.settings[setting], chosen.median, "*", markersize=12, color=line.get_color())
        if min(at) > 0:
            axes.set_xscale("log")
    what = {"fun": "objective at the end", "gradients": "gradient equivalents to the target"}[best.measure]
    return _finished(figure, frames, setting, what, path)


def draw_profile(profile: Profile, path: str | os.PathLike[str] | None = None) -> Any:
    """Draw performance profiles as steps, the ratio on a logarithmic axis.

    Parameters
    ----------
    profile : Profile
    path : path, optional

    Raises
    ------
    ArgumentError, MissingExtraError
    """
    figure, frames = _frames([""])
    axes = frames[""]
    solved = profile.ratios[np.isfinite(profile.ratios)]
    right = 1.1 * max([2.0, *solved])
    for method in profile.methods:
        tau, share = profile.curve(method)
        axes.step([*tau, right], [*share, share[-1]], where="post", label=method)
    axes.set_xscale("log", base=2)
    axes.set_xlim(1.0, right)
    axes.set_ylim(0.0, 1.02)
    until = "target" if profile.tolerance is None else f"tolerance {profile.tolerance:g}"
    return _finished(
        figure, frames, f"gradient equivalents over the least ({until})", "share of instances", path, False
    )


def draw_curves(curves: Curves, path: str | os.PathLike[str] | None = None) -> Any:
    """Draw the objective against gradient equivalents: the middle quantile, and a band from the first to the last.

    Parameters
    ----------
    curves : Curves
    path : path, optional

    Raises
    ------
    ArgumentError, MissingExtraError
    """
    figure, frames = _frames(list(dict.fromkeys(c.problem for c in curves.curves)))
    for c in curves.curves:
        failed = f", {c.failed} of {c.runs} failed" if c.failed else ""
        (line,) = frames[c.problem].plot(
            c.gradients, _shown(c.values[len(c.levels) // 2]), label=c.method + failed
        )
        if len(c.levels) > 1:
            frames[c.problem].fill_between(
                c.gradients, _shown(c.values[0]), _shown(c.values[-1]), alpha=0.2, color=line.get_color(), linewidth=0
            )  # fmt: skip
    return _finished(figure, frames, "gradient equivalents", "objective", path)


def _differs_in(point: Point, chosen: Point, setting: str) -> bool:
    """Tell whether a point is on the line through the chosen one along a setting that is a number."""
    if (point.method, point.problem) != (chosen.method, chosen.problem):
        return False
    value = point.settings.get(setting)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    rest = [{k: v for k, v in p.settings.items() if k != setting} for p in (point, chosen)]
    return number and rest[0] == rest[1]


def _shown(values: Any) -> np.ndarray:
    """Return values with gaps where they are infinite."""
    out = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(out), out, np.nan)


def _frames(titles: list[str]) -> tuple[Any, dict[str, Any]]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("cli", "matplotlib") from None
    columns = min(3, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure: Any = Figure(figsize=(2.2 + 4.2 * columns, 0.6 + 3.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in axes[len(titles) :]:
        spare.set_axis_off()
    for title, frame in zip(titles, axes):
        frame.set_title(title)
        frame.grid(alpha=0.3)
    return figure, dict(zip(titles, axes))


def _finished(
    figure: Any, frames: dict[str, Any], across: str, up: str, path: str | os.PathLike[str] | None, log: bool = True
) -> Any:  # fmt: skip
    for axes in frames.values():
        heights = np.concatenate([line.get_ydata() for line in axes.get_lines()] or [np.zeros(1)])
        if log and np.nanmin([*heights, np.inf]) > 0:
            axes.set_yscale("log")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.legend(frameon=False, fontsize=8)
    if path is not None:
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise ArgumentError(f"path: cannot write {path}: {error}") from None
    return figure
