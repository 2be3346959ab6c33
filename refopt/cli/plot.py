"""Curves of runs, by matplotlib (extra ``cli``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError, missing_extra
from refopt.core.result import Result


def band(results: list[Result], below: float) -> tuple[np.ndarray, np.ndarray]:
    """Return gradient equivalents, and quartiles and median (3, points) of the runs' values there.

    Runs whose rows lie elsewhere are interpolated; the band ends where the first of them does.
    """
    asked = [np.asarray(r.history["gradient_equivalents"], dtype=np.float64) for r in results]
    grid = min(asked, key=lambda a: a[-1])
    values = [np.interp(grid, a, np.asarray(r.history["value"]) - below) for a, r in zip(asked, results)]
    return grid, np.quantile(np.stack(values), (0.25, 0.5, 0.75), axis=0)


def curves(results: dict[str, list[Result]], optimum: float | None, title: str, path: str) -> None:
    """Write the objective against gradient equivalents: a curve a method, over several runs the median and quartiles.

    Raises
    ------
    MissingExtraError
        Matplotlib is not installed.
    ArgumentError
        The file cannot be written or its ending is unknown.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("cli", "matplotlib") from None
    figure: Any = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    below = 0.0 if optimum is None else optimum
    positive = True
    for name, runs in results.items():
        seen = [r for r in runs if len(r.history["value"])]
        if not seen:
            continue
        grid, (low, middle, high) = band(seen, below)
        (line,) = axes.plot(grid, middle, label=name, linewidth=1.8)
        if len(seen) > 1:
            axes.fill_between(grid, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        positive &= bool((low > 0).all())
    if positive:
        axes.set_yscale("log")
    axes.set_xlabel("gradient equivalents (one = the gradient of all examples)")
    axes.set_ylabel("objective" if below == 0.0 else "objective above the optimum")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"--plot: cannot write {path}: {error}") from None
