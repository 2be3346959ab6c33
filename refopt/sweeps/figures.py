"""The figures of a sweep: medians over seeds, the best point of a grid, performance profiles, curves."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError

LEVELS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Row:
    """A finished run.

    Attributes
    ----------
    method, problem : str
        The labels under which it was asked for.
    seed : int
    settings : dict
        Its hyperparameters, those of the grid included.
    status, message : str
        Of `refopt.minimize`; or ``"error"`` (a typed error, in the message) or ``"crashed"`` (any other error).
    fun : float
        The objective at the end; NaN where there is none.
    nit : int
    gradient_equivalents, seconds : float
    calls : dict of str to int
    met : bool or None
        Whether the target was met; None without a target.
    history : dict of str to array
        As `refopt.minimize` returns it; read-only.
    specification : dict
        All that the run belongs to: method, settings, problem with parameters, seed, arguments, target, refopt's version.
    key : str
        The specification's hash.
    """

    method: str
    problem: str
    seed: int
    settings: Mapping[str, Any]
    status: str
    message: str
    fun: float
    nit: int
    gradient_equivalents: float
    seconds: float
    calls: Mapping[str, int]
    met: bool | None
    history: Mapping[str, np.ndarray]
    specification: Mapping[str, Any]
    key: str

    @property
    def success(self) -> bool:
        """True unless the run diverged or ended in an error."""
        return self.status not in ("diverged", "error", "crashed")


@dataclass(frozen=True)
class Point:
    """One method on one problem at one point of its grid, over the seeds.

    Attributes
    ----------
    method, problem : str
    settings : dict
    median, low, high : float
        Median and quartiles of the measure; a run that failed counts as infinite.
    runs, failed : int
        How many seeds there are, and how many of them diverged or ended in an error.
    ties : tuple of dict
        Of a best point: the settings of the others with the same median.
    """

    method: str
    problem: str
    settings: Mapping[str, Any]
    median: float
    low: float
    high: float
    runs: int
    failed: int
    ties: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Best:
    """The best point of every method on every problem, beside all others.

    Attributes
    ----------
    measure : str
    chosen : tuple of Point
        One for each pair of method and problem; where every median is infinite, the first point, with that median.
    points : tuple of Point
    """

    measure: str
    chosen: tuple[Point, ...]
    points: tuple[Point, ...]

    def plot(self, setting: str, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the measure against one numeric setting, such as ``"lr"``; see `refopt.sweeps.plots.draw_best`."""
        from refopt.sweeps.plots import draw_best

        return draw_best(self, setting, path)


@dataclass(frozen=True)
class Profile:
    """Performance profiles: ``rho_s(tau)``, the share of instances that s solves for at most tau times the least cost.

    An instance is a problem with a seed, the cost of solving it in gradient equivalents.

    Attributes
    ----------
    methods : tuple of str
    instances : tuple of (str, int)
    costs : array of shape (methods, instances)
        Infinite where it was not solved.
    tolerance : float or None
        Of the convergence test; None: until the target.
    settings : dict
        By (method, problem), what each method ran with: its best point.

    References
    ----------
    E. D. Dolan, J. J. Moré. Benchmarking optimization software with performance profiles. Mathematical Programming 91,
    201-213, 2002. arXiv:cs/0102001.

    J. J. Moré, S. M. Wild. Benchmarking derivative-free optimization algorithms. SIAM Journal on Optimization 20(1),
    172-191, 2009: the convergence test.
    """

    methods: tuple[str, ...]
    instances: tuple[tuple[str, int], ...]
    costs: np.ndarray
    tolerance: float | None
    settings: Mapping[tuple[str, str], Mapping[str, Any]]

    @property
    def ratios(self) -> np.ndarray:
        """The costs over the least of each instance, at least 1; infinite where it was not solved."""
        least = self.costs.min(axis=0)
        solved = np.isfinite(self.costs)
        ratio = np.divide(
            self.costs, least, out=np.ones_like(self.costs), where=solved & (self.costs > least)
        )
        return np.where(solved, ratio, math.inf)

    def share(self, method: str, tau: float) -> float:
        """Return rho(tau) of a method: at 1 the share that it wins, at infinity the share that it solves."""
        ratios = self.ratios[self._index(method)]
        return float(np.mean(np.isfinite(ratios) & (ratios <= tau)))

    def curve(self, method: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps of rho: the ratios at which it rises, from 1 on, and its values there."""
        ratios = self.ratios[self._index(method)]
        tau = np.unique(np.append(ratios[np.isfinite(ratios)], 1.0))
        return tau, np.array([self.share(method, t) for t in tau])

    def figures(self) -> list[dict[str, Any]]:
        """Return, for each method, the shares of instances that it wins, has at twice the least cost, and solves."""
        return [
            {"method": m, "wins": self.share(m, 1.0), "within_2": self.share(m, 2.0), "solved": self.share(m, math.inf)}
            for m in self.methods
        ]  # fmt: skip

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the profiles; see `refopt.sweeps.plots.draw_profile`."""
        from refopt.sweeps.plots import draw_profile

        return draw_profile(self, path)

    def _index(self, method: str) -> int:
        if method not in self.methods:
            raise ArgumentError(f"method: wanted one of {', '.join(self.methods)}, got {method!r}")
        return self.methods.index(method)


@dataclass(frozen=True)
class Curve:
    """The objective on the way, over the seeds of one point.

    Attributes
    ----------
    method, problem : str
    settings : dict
    gradients : array of shape (k,)
        Gradient equivalents.
    levels : tuple of float
    values : array of shape (levels, k)
        Quantiles over the seeds. A run that ended keeps its last value, one that failed is infinite from there on.
    runs, failed : int
    """

    method: str
    problem: str
    settings: Mapping[str, Any]
    gradients: np.ndarray
    levels: tuple[float, ...]
    values: np.ndarray
    runs: int
    failed: int


@dataclass(frozen=True)
class Curves:
    """A curve for every method on every problem."""

    curves: tuple[Curve, ...]

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw them, a frame for each problem; see `refopt.sweeps.plots.draw_curves`."""
        from refopt.sweeps.plots import draw_curves

        return draw_curves(self, path)


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
