"""The figures of a sweep, made: medians over seeds, the best point of a grid, performance profiles, curves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from refopt.sweeps.figures import Best, Curve, Curves, Point, Profile, Row

LEVELS = (0.25, 0.5, 0.75)


def quantiles(values: Any, levels: Sequence[float]) -> np.ndarray:
    """Return quantiles along the first axis as `numpy.quantile` interpolates them, infinite values allowed."""
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=0)
    out = []
    for level in levels:
        at = level * (len(ordered) - 1)
        low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
        with np.errstate(invalid="ignore"):
            between = low + (at - math.floor(at)) * (high - low)
        out.append(np.where((low == high) | (at == math.floor(at)), low, between))
    return np.stack(out)


def grouped(rows: Iterable[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Return rows by method, problem and settings, in the order in which they were asked for."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        text = json.dumps(row.settings, sort_keys=True)
        found.setdefault((row.method, row.problem, text), []).append(row)
    return found


def final(row: Row) -> float:
    """Return the objective at the end, infinite where the run failed or has none."""
    return row.fun if row.success and not math.isnan(row.fun) else math.inf


def spent(row: Row) -> float:
    """Return the gradient equivalents until the target, infinite where it was not met."""
    return row.gradient_equivalents if row.met else math.inf


MEASURES: dict[str, Callable[[Row], float]] = {"fun": final, "gradients": spent}


def best(rows: Iterable[Row], measure: str, of: Callable[[Row], float]) -> Best:
    """Return the point with the least median of every method on every problem; the first of equals."""
    points: list[Point] = []
    by_pair: dict[tuple[str, str], list[Point]] = {}
    for (method, problem, _), group in grouped(rows).items():
        low, median, high = (float(q) for q in quantiles([of(r) for r in group], LEVELS))
        failed = sum(not r.success for r in group)
        point = Point(method, problem, group[0].settings, median, low, high, len(group), failed)
        points.append(point)
        by_pair.setdefault((method, problem), []).append(point)
    return Best(measure, tuple(_least(found) for found in by_pair.values()), tuple(points))


def _least(points: list[Point]) -> Point:
    least = min(points, key=lambda p: p.median)
    ties = tuple(p.settings for p in points if p.median == least.median and p is not least)
    return Point(**{**vars(least), "ties": ties})


def until(row: Row, value: float) -> float:
    """Return the gradient equivalents at the first whole objective on record that is at most `value`."""
    if not row.success or not row.history:
        return math.inf
    there = np.flatnonzero((row.history["value"] <= value) & (row.history["full"] == 1.0))
    return float(row.history["gradient_equivalents"][there[0]]) if len(there) else math.inf


def whole_values(row: Row) -> np.ndarray:
    """Return the whole objectives on record that are finite."""
    if not row.history:
        return np.zeros(0)
    value = row.history["value"]
    return value[(row.history["full"] == 1.0) & np.isfinite(value)]


def profile(rows: Sequence[Row], tolerance: float | None) -> Profile:
    """Return the performance profiles of the methods, each at its best point on each problem.

    Solved is, with a tolerance, ``f <= f_L + tolerance (f_0 - f_L)`` on record, f_L the least of all rows on that problem
    and f_0 the run's own first; without one, the target.
    """
    least: dict[str, float] = {}
    for row in rows:
        least[row.problem] = min([least.get(row.problem, math.inf), *whole_values(row)])

    def cost(row: Row) -> float:
        if tolerance is None:
            return spent(row)
        seen = whole_values(row)
        if not len(seen):
            return math.inf
        low = least[row.problem]
        return until(row, low + tolerance * (seen[0] - low))

    groups = grouped(rows)
    chosen: dict[tuple[str, str], tuple[str, str, str]] = {}
    ranks = {key: _rank(group, cost) for key, group in groups.items()}
    for key in groups:
        pair = key[:2]
        if pair not in chosen or ranks[key] < ranks[chosen[pair]]:
            chosen[pair] = key
    methods = tuple(dict.fromkeys(r.method for r in rows))
    instances = tuple(dict.fromkeys((r.problem, r.seed) for r in rows))
    costs = np.full((len(methods), len(instances)), math.inf)
    for (method, problem), key in chosen.items():
        for row in groups[key]:
            costs[methods.index(method), instances.index((problem, row.seed))] = cost(row)
    costs.flags.writeable = False
    return Profile(
        methods, instances, costs, tolerance, {p: groups[k][0].settings for p, k in chosen.items()}
    )


def _rank(group: list[Row], cost: Callable[[Row], float]) -> tuple[float, float]:
    median, last = (float(quantiles([of(r) for r in group], (0.5,))[0]) for of in (cost, final))
    return median, last


def curves(rows: Sequence[Row], levels: tuple[float, ...]) -> Curves:
    """Return the curve of every method on every problem, at the point that ends lowest."""
    groups = grouped(rows)
    chosen: dict[tuple[str, str], tuple[float, list[Row]]] = {}
    for (method, problem, _), group in groups.items():
        last = float(quantiles([final(r) for r in group], (0.5,))[0])
        if (method, problem) not in chosen or last < chosen[method, problem][0]:
            chosen[method, problem] = last, group
    return Curves(tuple(c for _, group in chosen.values() if (c := _curve(group, levels)) is not None))


def _curve(group: list[Row], levels: tuple[float, ...]) -> Curve | None:
    seen = [r for r in group if r.history and len(r.history["value"])]
    if not seen:
        return None
    grid = np.unique(np.concatenate([r.history["gradient_equivalents"] for r in seen]))
    values = [_on(grid, r) for r in seen] + [np.full(len(grid), math.inf)] * (len(group) - len(seen))
    failed = sum(not r.success for r in group)
    found = quantiles(values, levels)
    return Curve(seen[0].method, seen[0].problem, seen[0].settings, grid, levels, found, len(group), failed)


def _on(grid: np.ndarray, row: Row) -> np.ndarray:
    at, value = row.history["gradient_equivalents"], row.history["value"]
    out = np.interp(grid, at, value)
    return out if row.success else np.where(grid > at[-1], math.inf, out)
