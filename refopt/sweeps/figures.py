"""What the figures of a sweep are: rows, best points, performance profiles, curves (made in `refopt.sweeps.summary`)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError


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
        """Draw the measure against one numeric setting, such as ``"lr"``; see `refopt.sweeps.plots.draw_best`.

        Parameters
        ----------
        setting : str
            An axis of the grid.
        path : path, optional
            Where the picture is written (.png, .pdf, .svg).

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        """
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
        """Return rho(tau) of a method: at 1 the share that it wins, at infinity the share that it solves.

        Parameters
        ----------
        method : str
        tau : float

        Returns
        -------
        float
            In [0, 1].

        Raises
        ------
        ArgumentError
            No such method.
        """
        ratios = self.ratios[self._index(method)]
        return float(np.mean(np.isfinite(ratios) & (ratios <= tau)))

    def curve(self, method: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps of rho: the ratios at which it rises, from 1 on, and its values there.

        Parameters
        ----------
        method : str

        Returns
        -------
        tau, rho : arrays of one length

        Raises
        ------
        ArgumentError
            No such method.
        """
        ratios = self.ratios[self._index(method)]
        tau = np.unique(np.append(ratios[np.isfinite(ratios)], 1.0))
        return tau, np.array([self.share(method, t) for t in tau])

    def figures(self) -> list[dict[str, Any]]:
        """Return, for each method, the shares of instances that it wins, has at twice the least cost, and solves.

        Returns
        -------
        list of dict
            With ``method``, ``wins``, ``within_2`` and ``solved``.
        """
        return [
            {"method": m, "wins": self.share(m, 1.0), "within_2": self.share(m, 2.0), "solved": self.share(m, math.inf)}
            for m in self.methods
        ]  # fmt: skip

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the profiles; see `refopt.sweeps.plots.draw_profile`.

        Parameters
        ----------
        path : path, optional
            Where the picture is written (.png, .pdf, .svg).

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        """
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
        """Draw them, a frame for each problem; see `refopt.sweeps.plots.draw_curves`.

        Parameters
        ----------
        path : path, optional
            Where the picture is written (.png, .pdf, .svg).

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        """
        from refopt.sweeps.plots import draw_curves

        return draw_curves(self, path)
