"""The zoo in pictures: every registered problem with its formula, sizes, derivatives, optimum, and how methods fall on it."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import refopt
from charts import contours, falling, figure, shown, spectrum
from curves import above, lowest
from prose import inline, prose, sections
from refopt.core.params import flatten, leaves, size
from refopt.core.problem import offered, offers
from refopt.core.registry import Entry
from rst import heading, literal

# What falls on any smooth problem, beside what asks for a problem's own capability.
USUAL = ("lbfgs", "adam", "sgd")
# What at most so many problems offer is a problem's own.
RARE = 4
MOST_CURVES = 3
# Of at most so many unknowns the whole spectrum is formed, by as many Hessian products.
MOST_UNKNOWNS = 150


@cache
def rare() -> frozenset[str]:
    """Return the capabilities that few problems of the zoo offer."""
    count = Counter(n for m in refopt.methods("problem") for n in offered(refopt.problem(m.name)))
    return frozenset(n for n, k in count.items() if k <= RARE)


def candidates(problem: Any, methods: Sequence[Entry]) -> list[Entry]:
    """Return methods that may be drawn on a problem: those for what few problems offer, then the usual ones."""
    fitting = [
        m
        for m in methods
        if m.kind in ("optimizer", "bilevel") and m.needs and all(offers(problem, n) for n in m.needs)
    ]
    if offers(problem, "constraint"):
        # Whoever does not look at the constraints falls where nobody may be.
        fitting = [m for m in fitting if "constraint" in m.needs] or fitting
    special = [next((m for m in fitting if n in m.needs), None) for n in offered(problem) if n in rare()]
    by_name = {m.name: m for m in fitting}
    usual = [by_name[n] for n in USUAL if n in by_name] or fitting
    # Entries hold mappings, which have no hash.
    names = dict.fromkeys(m.name for m in special if m)
    return [by_name[n] for n in dict.fromkeys([*list(names)[: MOST_CURVES - 1], *(m.name for m in usual)])]


def falls(problem: Any, methods: Sequence[Entry]) -> list[str]:
    """Return the picture of up to three methods on a problem, each at its best rate of a few, or nothing."""
    found = []
    optimum = getattr(problem, "optimum", None)
    two_levels = offers(problem, "upper_value")
    for method in candidates(problem, methods):
        ran = lowest(problem, method) if len(found) < MOST_CURVES else None
        if ran is None:
            continue
        if optimum is not None and not two_levels and min(ran[0][1]) < optimum - 1e-6 * (1.0 + abs(optimum)):
            # It has left the set on which this is the optimum.
            continue
        found.append((method, *ran))
    floor = min((least for *_, least in found), default=math.nan) if optimum is None else optimum
    drawn = [
        (m.name, m.name if rate is None else f"{m.name}, lr = {rate:g}", curve)
        for m, ran, rate, _ in found
        if (curve := above(ran, floor, optimum is not None)) is not None
    ]
    if not drawn:
        return []
    of = "The upper level's objective" if two_levels else "The objective"
    words = (
        f"{of}, its distance from {'the least value found' if optimum is None else 'that at the solution'}"
    )
    links = "; ".join(
        f'<a class="c{i}" href="methods/{name}.html">{told}</a>' for i, (name, told, _) in enumerate(drawn)
    )
    picture = falling([curve for *_, curve in drawn], f"{words}: {'; '.join(told for _, told, _ in drawn)}")
    return [figure(picture, f"{words}, as a part of the start's: {links}")]


def curved(problem: Any) -> list[str]:
    """Return the picture of the Hessian's eigenvalues at the start, where its products are known and they are few."""
    x = problem.start(0)
    if not offers(problem, "hvp") or not 2 < size(x) <= MOST_UNKNOWNS:
        return []
    values = refopt.curvature("hessian", problem, x).spectrum()
    if not np.abs(values).max() > 0:
        return []
    words = "Eigenvalues of the Hessian at the start, of the largest's size; hollow ones are negative"
    words = words if (values < 0).any() else words.partition(";")[0]
    return [figure(spectrum(values.tolist(), words), words)]


def levels(problem: Any) -> list[str]:
    """Return the level lines of a function of two unknowns, a decade a line, with start and solution."""
    x = problem.start(0)
    if size(x) != 2 or not offers(problem, "value") or isinstance(x, dict):
        return []
    from contourpy import contour_generator

    marks = {"start": tuple(flatten(x).tolist())}
    if problem.solution is not None:
        marks["solution"] = tuple(flatten(problem.solution).tolist())
    points = np.array(list(marks.values()))
    margin = 0.4 * max(float(np.ptp(points, axis=0).max()), 1.0)
    (low, below), (high, above) = np.floor(points.min(axis=0) - margin), np.ceil(points.max(axis=0) + margin)
    across, up = np.linspace(low, high, 120), np.linspace(below, above, 120)
    heights = np.array([[float(problem.value(np.array([a, b]))) for a in across] for b in up])
    drawn = contour_generator(across, up, np.log10(np.maximum(heights, 1e-12)))
    top = math.floor(math.log10(heights.max()))
    lines = [line.tolist() for k in range(2 * top - 6, 2 * top + 1) for line in drawn.lines(k / 2)]
    words = "Level lines, two a decade"
    return [figure(contours(lines, marks, (low, high, below, above), words), words)]


def sizes(problem: Any) -> str:
    """Return the shapes of x and the number of examples."""
    x = problem.start(0)
    shapes = [
        f"{name + ' ' if name else ''}{'×'.join(map(str, a.shape)) or '1'}" for name, a in leaves(x).items()
    ]
    examples = getattr(problem, "n_examples", None)
    several = f" ({', '.join(shapes)})" if len(shapes) > 1 or "×" in shapes[0] else ""
    return f"{size(x)} unknown{'s' * (size(x) > 1)}{several}" + (f", {examples} examples" if examples else "")


def known(problem: Any) -> str:
    """Return what is known of its optimum and constants."""
    facts = {"least value": "optimum", "L": "lipschitz", "μ": "strong_convexity", "rank": "rank"}
    words = [
        f"{what} {getattr(problem, name):.4g}"
        for what, name in facts.items()
        if getattr(problem, name, None) is not None
    ]
    if getattr(problem, "solution", None) is not None:
        words.insert(0, "a solution")
    return ", ".join(words) or "nothing in closed form"


def entry(method: Entry, methods: Sequence[Entry]) -> list[str]:
    """Return one problem's part of the page."""
    problem = refopt.problem(method.name)
    summary, _, rest = sections(inspect.getdoc(method.obj) or "")[""].partition("\n\n")
    formula = rest.partition("\n\n")[0] if ":math:" not in inline(summary) else ""
    pictures = [*levels(problem), *falls(problem, methods), *curved(problem)]
    return [
        f".. _zoo-{method.name}:", "", *heading(method.name), inline(" ".join(summary.split())), "", *([prose(formula), ""] if formula else []),
        f"- With its defaults: {sizes(problem)}.",
        f"- Offers: {', '.join(map(literal, offered(problem)))}.",
        f"- Known: {known(problem)}.",
        f"- Parameters and sources: :doc:`{method.name} </methods/{method.name}>`.",
        "", *(shown(pictures) if pictures else []),
    ]  # fmt: skip


def page(methods: Sequence[Entry]) -> str:
    """Return the gallery."""
    zoo = [m for m in methods if m.kind == "problem"]
    lead = (
        f"{len(zoo)} problems with exact derivatives, each built by ``refopt.problem(name)`` with its defaults. The pictures are made"
        " while this page is built, from fixed seeds: up to three methods over 100 gradient equivalents or steps, each at"
        " the best of five rates, those first that ask for what few problems offer; and the Hessian at the start. What a capability is: :doc:`problems in"
        " the API reference </api/problems>`."
    )
    lines = [*heading("The zoo", "="), lead, ""]
    return "\n".join([*lines, *(line for m in zoo for line in entry(m, methods))])
