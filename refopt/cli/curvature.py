"""``refopt curvature``: a matrix at a problem's start, in numbers, and its density of eigenvalues as a picture."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from refopt.cli.console import console, table
from refopt.core.build import problem as build_problem
from refopt.core.errors import ArgumentError, missing_extra
from refopt.curvature.base import Curvature, curvature

# Up to so many parameters `--spectrum` takes all eigenvalues; beyond, Lanczos quadrature.
ALL_UP_TO = 3000
LANCZOS = {"steps": 80, "probes": 4}


def show(options: Any, own: dict[str, Any], problem_parameters: dict[str, Any]) -> int:
    """Print order, trace and extremes; with ``--spectrum`` the density, in letters or to a file."""
    problem = build_problem(options.problem, **problem_parameters)
    x = problem.start(options.seed)
    batch = None if options.batch_size is None else np.arange(options.batch_size)
    if batch is not None and (getattr(problem, "n_examples", None) or 0) < batch.size:
        raise ArgumentError(f"--batch-size: {options.problem} has no {batch.size} examples")
    C = curvature(options.name, problem, x, batch, seed=options.seed, **own)
    found: dict[str, Any] = {"name": options.name, "n": C.n, "exact": bool(C.exact)}
    values, weights = _spectrum(C, options, problem, x, batch, own)
    found |= {
        "least": float(values[0]), "greatest": float(values[-1]), "trace": float(C.n * values @ weights),
        "eigenvalues": "all" if len(values) == C.n else f"Ritz values of {LANCZOS['probes']} x {LANCZOS['steps']} steps",
        "calls": dict(C.calls),
    }  # fmt: skip
    if options.json:
        print(json.dumps({**found, "values": values.tolist(), "weights": weights.tolist()}))
    else:
        console().print(table(("", ""), [(k, v if isinstance(v, str) else f"{v}") for k, v in found.items()]))
        if options.spectrum:
            print("\n".join(_letters(values, weights)))
    if options.plot:
        _plot(values, weights, f"{options.name} of {options.problem}", options.plot)
    return 0


def _spectrum(
    C: Curvature, options: Any, problem: Any, x: Any, batch: Any, own: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and weights that sum to 1."""
    if options.name == "lanczos-quadrature":
        return C.spectrum(), C.weights  # type: ignore[attr-defined]
    if C.n <= ALL_UP_TO:
        return C.spectrum(), np.full(C.n, 1.0 / C.n)
    estimate = curvature(
        "lanczos-quadrature", problem, x, batch, of=options.name, seed=options.seed, options=own, **LANCZOS
    )
    return estimate.spectrum(), estimate.weights  # type: ignore[attr-defined]


def _letters(values: np.ndarray, weights: np.ndarray, rows: int = 20, width: int = 50) -> list[str]:
    """Draw shares of eigenvalues in bins, on a logarithmic scale: outliers are few, and what counts."""
    shares, edges = np.histogram(values, bins=rows, weights=weights)
    least = min((s for s in shares if s > 0), default=1.0)
    out = []
    for share, low, high in zip(shares, edges, edges[1:]):
        length = (
            0
            if share <= 0
            else 1 + int((width - 1) * (np.log(share / least) / max(np.log(1 / least), 1e-12)))
        )
        out.append(f"{low:>11.3g} to {high:>11.3g}  {100 * share:6.2f} %  {'#' * length}")
    return out


def _plot(values: np.ndarray, weights: np.ndarray, title: str, path: str) -> None:
    """Write the density, smoothed by normal curves of a hundredth of the range."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("cli", "matplotlib") from None
    sigma = max(float(values[-1] - values[0]) / 100, np.finfo(float).tiny)
    at = np.linspace(values[0] - 4 * sigma, values[-1] + 4 * sigma, 1000)
    gaps = (at[:, None] - values[None, :]) / sigma
    density = np.exp(-0.5 * gaps * gaps) @ weights / (sigma * np.sqrt(2 * np.pi))
    figure: Any = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.semilogy(at, np.maximum(density, density.max() * 1e-7))
    axes.set_xlabel("eigenvalue")
    axes.set_ylabel("density")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"--plot: cannot write {path}: {error}") from None
    print(f"density: {path}")
