"""How a method falls on small problems: runs made while the site is built, drawn as SVG.

All pages have the same axes, so that two of them can be laid side by side. The pictures take their colours from the
page, which is light or dark.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import refopt
from refopt.core.build import problem as build
from refopt.core.build import problems_with
from refopt.core.errors import RefoptError
from refopt.core.registry import Entry
from rst import heading

# Gradients of all examples, and steps at most.
BUDGET = 100
RATES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
SEED = 0
# A run is drawn between these decades of what it had to fall.
TOP, BOTTOM = 1, -8
WIDTH, HEIGHT, LEFT, RIGHT, BELOW = 320, 200, 42, 14, 34

Curve = tuple[list[float], list[float]]


@cache
def problems() -> dict[str, tuple[Any, float]]:
    """Return the problems with their optimal values."""
    rng = np.random.default_rng(SEED)
    inputs = rng.standard_normal((100, 10))
    labels = np.where(inputs @ rng.standard_normal(10) + rng.standard_normal(100) > 0, 1.0, -1.0)
    logistic = refopt.problem("logistic", data=(inputs, labels), l2=1e-2)
    least = refopt.minimize(logistic, "lbfgs", steps=200, tol=1e-12).history["value"]
    quadratic = refopt.problem("quadratic", n=20, condition_number=100.0, seed=SEED)
    return {
        "quadratic, 20 unknowns, condition number 100": (quadratic, 0.0),
        "logistic regression, 100 examples": (logistic, float(min(least))),
    }


@cache
def network() -> dict[str, tuple[Any, float]]:
    """Return a problem with layers, for the methods that ask for them; its optimum is not known, and 0 is below it."""
    rng = np.random.default_rng(SEED)
    inputs = rng.standard_normal((100, 10))
    labels = (inputs @ rng.standard_normal((10, 3))).argmax(axis=1)
    problem = refopt.problem("mlp", widths=(8,), data=(inputs, labels), seed=SEED)
    return {"network of 8 tanh units, 100 examples": (problem, 0.0)}


def own(method: Entry) -> dict[str, tuple[Any, float | None]]:
    """Return a problem of the zoo that offers what the method asks for, one with a known optimum before others."""
    named = method.extra.get("calm_problem")
    choice = [named] if named else [(name, {}) for name in problems_with(method.needs)]
    found = [(name, build(name, **given)) for name, given in choice]
    known = [(name, p, p.optimum) for name, p in found if getattr(p, "optimum", None) is not None]
    name, problem, optimum = next(iter(known), None) or (*found[0], None)
    return {f"the problem {name}": (problem, optimum)}


def run(problem: Any, name: str, given: dict[str, float]) -> Curve | None:
    """Return gradient equivalents and objectives, or None: it cannot run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            history = refopt.minimize(
                problem, name, steps=BUDGET, max_calls=float(BUDGET), seed=SEED, record="full", **given
            ).history
        except (RefoptError, ArithmeticError, np.linalg.LinAlgError):
            return None
    asked, value = (history[k].tolist() for k in ("gradient_equivalents", "value"))
    return (asked, value) if len(value) >= 2 else None


def best(problem: Any, optimum: float | None, method: Entry) -> tuple[Curve, float | None] | None:
    """Return the run of the rate that ends lowest, and that rate; a method without one runs once.

    Values are distances from the optimum as parts of the start's. Without an optimum the least value of all these runs
    takes its place, and is not drawn.
    """
    rated = dataclasses.is_dataclass(method.obj) and any(
        f.name == "lr" for f in dataclasses.fields(method.obj)
    )
    found: list[tuple[Curve, float | None]] = []
    for rate in RATES if rated else (None,):
        curve = run(problem, method.name, {} if rate is None else {"lr": rate})
        if curve is None:
            # What cannot run at one rate can at none.
            break
        found.append((curve, rate))
    if not found:
        return None
    values = [v for (_, value), _ in found for v in value if math.isfinite(v)]
    floor = optimum if optimum is not None else min(values)
    (asked, value), rate = min(found, key=lambda f: f[0][1][-1] if math.isfinite(f[0][1][-1]) else math.inf)
    fall = value[0] - floor
    if not fall > 0:
        return None
    unknown = optimum is None
    return (asked, [math.nan if unknown and v == floor else (v - floor) / fall for v in value]), rate


def place(asked: float, left: float) -> tuple[float, float]:
    """Return where a point stands in the picture."""
    decade = min(max(math.log10(left) if left > 0 else BOTTOM, BOTTOM), TOP)
    x = LEFT + (WIDTH - LEFT - RIGHT) * min(asked, BUDGET) / BUDGET
    return round(x, 1), round(8 + (HEIGHT - BELOW - 8) * (TOP - decade) / (TOP - BOTTOM), 1)


def picture(curve: Curve, title: str) -> str:
    """Return one curve in its axes."""
    points = [place(a, v) for a, v in zip(*curve) if math.isfinite(v) and a <= BUDGET]
    path = " ".join(f"{x},{y}" for x, y in points)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>']
    for decade in range(TOP - 1, BOTTOM - 1, -2):
        _, y = place(0, 10.0**decade)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        power = "1" if decade == 0 else f'10<tspan dy="-4" font-size="8">{decade}</tspan>'
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4}" text-anchor="end">{power}</text>')
    for asked in range(0, BUDGET + 1, 25):
        x, y = place(asked, 10.0**BOTTOM)
        parts.append(f'<text x="{x}" y="{y + 14}" text-anchor="middle">{asked}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">gradient equivalents</text>'
    )
    return "".join([*parts, f'<polyline points="{path}"/></svg>'])


def caption(title: str, rate: float | None) -> str:
    """Return what stands under a picture."""
    return title if rate is None else f"{title}; lr = {rate:g}"


def section(method: Entry) -> list[str]:
    """Return the pictures of an optimizer that runs on at least one of the problems."""
    if method.kind != "optimizer":
        return []
    choices = (
        (problems, "the optimum"),
        (network, "0"),
        (lambda: own(method), "the optimum, or the least value found where that is unknown"),
    )
    found = ((drawn(method, on()), level) for on, level in choices)
    figures, level = next((f for f in found if f[0]), ([], ""))
    if not figures:
        return []
    lead = (
        f"The objective above {level}, as a part of what it was at the start, over {BUDGET} gradient equivalents or steps, all"
        f" other hyperparameters at their defaults. {rates(figures)}Small problems say how a method moves, not which is"
        " the better; for that see the :doc:`benchmarks </benchmarks>`."
    )
    return [*heading("Convergence"), lead, "", *raw(figures)]


def drawn(method: Entry, on: Mapping[str, tuple[Any, float | None]]) -> list[str]:
    """Return the pictures of those problems that the method runs on."""
    figures = []
    for title, (problem, optimum) in on.items():
        found = best(problem, optimum, method)
        if found is not None:
            text = caption(title, found[1])
            figures.append(f"<figure>{picture(found[0], text)}<figcaption>{text}</figcaption></figure>")
    return figures


def rates(figures: Sequence[str]) -> str:
    """Return how the rate was chosen, where there is one."""
    if not any("lr = " in f for f in figures):
        return ""
    return f"The rate is the one of {', '.join(f'{r:g}' for r in RATES)} that ends lowest. "


def raw(figures: Sequence[str]) -> list[str]:
    """Return the pictures as HTML in the page."""
    return [".. raw:: html", "", f'   <div class="curves">{"".join(figures)}</div>', ""]
