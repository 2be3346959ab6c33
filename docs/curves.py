"""How a method falls on small problems: runs made while the site is built."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import refopt
from charts import BUDGET, Curve, falling, figure, shown
from refopt.core.build import problem as build
from refopt.core.build import problems_with
from refopt.core.errors import RefoptError
from refopt.core.registry import Entry
from rst import heading

RATES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
SEED = 0


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


def horizon(method: Entry) -> int | None:
    """Return how many steps a method makes and no more, where that is one of its hyperparameters."""
    fields = dataclasses.fields(method.obj) if dataclasses.is_dataclass(method.obj) else ()
    return next((f.default for f in fields if f.name == "total_steps" and isinstance(f.default, int)), None)


def run(problem: Any, name: str, given: dict[str, float], steps: int | None = None) -> Curve | None:
    """Return gradient equivalents (of a run of so many steps: the steps) and objectives, or None: it cannot run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            history = refopt.minimize(
                problem,
                name,
                steps=steps or BUDGET,
                max_calls=float(BUDGET),
                seed=SEED,
                record="full",
                **given,
            ).history
        except (RefoptError, ArithmeticError, np.linalg.LinAlgError):
            return None
    asked, value = (history[k].tolist() for k in ("step" if steps else "gradient_equivalents", "value"))
    return (asked, value) if len(value) >= 2 else None


def lowest(problem: Any, method: Entry) -> tuple[Curve, float | None, float] | None:
    """Return the run of the rate that ends lowest, that rate, and the least value of all runs, or None: none ran.

    A method without a rate runs once.
    """
    rated = dataclasses.is_dataclass(method.obj) and any(
        f.name == "lr" for f in dataclasses.fields(method.obj)
    )
    found: list[tuple[Curve, float | None]] = []
    for rate in RATES if rated else (None,):
        curve = run(problem, method.name, {} if rate is None else {"lr": rate}, horizon(method))
        if curve is None:
            # What cannot run at one rate can at none.
            break
        found.append((curve, rate))
    if not found:
        return None
    least = min((v for (_, value), _ in found for v in value if math.isfinite(v)), default=math.inf)
    curve, rate = min(found, key=lambda f: f[0][1][-1] if math.isfinite(f[0][1][-1]) else math.inf)
    return curve, rate, least


def above(curve: Curve, floor: float, known: bool) -> Curve | None:
    """Return a curve as distances from `floor`, parts of the start's; None where it starts there.

    A floor that is not `known`, but the least value of some run, is not drawn where it is met.
    """
    asked, value = curve
    fall = abs(value[0] - floor)
    if not 0 < fall < math.inf:
        return None
    return asked, [math.nan if not known and v == floor else abs(v - floor) / fall for v in value]


def best(problem: Any, optimum: float | None, method: Entry) -> tuple[Curve, float | None] | None:
    """Return the run of the rate that ends lowest, above the optimum or else the least value found, and that rate."""
    found = lowest(problem, method)
    if found is None:
        return None
    curve, rate, least = found
    drawn = above(curve, least if optimum is None else optimum, optimum is not None)
    return None if drawn is None else (drawn, rate)


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
    steps = horizon(method)
    span = f"the {steps} steps that it makes" if steps else f"{BUDGET} gradient equivalents or steps"
    lead = (
        f"The objective above {level}, as a part of what it was at the start, over {span}, all"
        f" other hyperparameters at their defaults. {rates(figures)}Small problems say how a method moves, not which is"
        " the better; for that see the :doc:`benchmarks </benchmarks>`."
    )
    return [*heading("Convergence"), lead, "", *shown(figures)]


def drawn(method: Entry, on: Mapping[str, tuple[Any, float | None]]) -> list[str]:
    """Return the pictures of those problems that the method runs on."""
    figures = []
    for title, (problem, optimum) in on.items():
        found = best(problem, optimum, method)
        if found is not None:
            text = caption(title, found[1])
            steps = horizon(method)
            picture = falling([found[0]], text, steps, "steps") if steps else falling([found[0]], text)
            figures.append(figure(picture, text))
    return figures


def rates(figures: Sequence[str]) -> str:
    """Return how the rate was chosen, where there is one."""
    if not any("lr = " in f for f in figures):
        return ""
    return f"The rate is the one of {', '.join(f'{r:g}' for r in RATES)} that ends lowest. "
