"""Curves of runs, by matplotlib (extra ``cli``)."""

from __future__ import annotations

from typing import Any

from refopt.core.errors import ArgumentError, missing_extra
from refopt.core.result import Result


def curves(results: dict[str, Result], optimum: float | None, title: str, path: str) -> None:
    """Write the objective against gradient equivalents, one curve a run.

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
    for name, r in results.items():
        axes.plot(r.history["gradient_equivalents"], r.history["value"] - below, label=name, linewidth=1.8)
    if all((r.history["value"] - below > 0).all() for r in results.values()):
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
