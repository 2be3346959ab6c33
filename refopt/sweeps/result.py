"""What a sweep comes to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.sweeps import summary
from refopt.sweeps.figures import Best, Curves, Profile, Row
from refopt.sweeps.store import Store
from refopt.sweeps.summary import LEVELS, MEASURES

PLAIN = (
    "method", "problem", "seed", "status", "message", "fun", "nit", "gradient_equivalents", "seconds", "met",
)  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    """The rows of a sweep and what they say, without the sweep: `Sweep.open` reads them from the file.

    Attributes
    ----------
    rows : tuple of Row
        The finished runs, in the order in which they were asked for: problems, methods, points of the grid, seeds.
    left : int
        How many that were asked for are not finished.

    Examples
    --------
    >>> import refopt
    >>> from refopt.sweeps import Serial
    >>> s = refopt.sweep("sgd", ("quadratic", {"n": 4}), [0, 1], {"lr": [0.001, 0.01]}, None, Serial(), steps=20)
    >>> [(p.settings["lr"], p.runs) for p in s.best().chosen]
    [(0.01, 2)]
    """

    rows: tuple[Row, ...]
    left: int = 0

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Sweep:
        """Read all rows of a store, of every sweep that wrote into it; a running sweep is not disturbed.

        Parameters
        ----------
        path : path

        Returns
        -------
        Sweep

        Raises
        ------
        StoreError
            There is no such file, or it is no store.
        """
        store = Store(path, existing=True)
        try:
            rows, left = store.read()
            return cls(tuple(Row(**row) for row in rows), left)
        finally:
            store.close()

    def where(self, **wanted: Any) -> Sweep:
        """Return the rows of which everything given is so: ``where(problem="mlp", lr=0.1)``.

        Parameters
        ----------
        wanted
            Columns of a row, settings, arguments of `refopt.minimize`, ``target``, ``refopt`` (the version): each a value
            or a list of values.

        Returns
        -------
        Sweep
            Of those rows, with none left to run.
        """

        def fits(row: Row) -> bool:
            about = row.specification
            own = {
                "target": about["target"],
                "refopt": about["refopt"],
                **{k: getattr(row, k) for k in PLAIN},
            }
            values = {**about["arguments"], **row.settings, **own}
            return all(
                k in values and values[k] in (v if isinstance(v, (list, tuple, set)) else [v])
                for k, v in wanted.items()
            )

        return Sweep(tuple(r for r in self.rows if fits(r)))

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as dicts, without history: `settings` and `calls` are dicts inside.

        Returns
        -------
        list of dict
        """
        return [
            {**{k: getattr(r, k) for k in PLAIN}, "settings": dict(r.settings), "calls": dict(r.calls)}
            for r in self.rows
        ]

    def columns(self) -> dict[str, list[Any]]:
        """Return the rows as columns of equal length, for ``pandas.DataFrame(...)``.

        Settings and calls have a column each (``settings.lr``, ``calls.grad``), None where a row has no such.

        Returns
        -------
        dict of str to list
        """
        flat: dict[str, list[Any]] = {k: [getattr(r, k) for r in self.rows] for k in PLAIN}
        for part in ("settings", "calls"):
            names: Iterable[str] = dict.fromkeys(k for r in self.rows for k in getattr(r, part))
            for name in names:
                flat[f"{part}.{name}"] = [getattr(r, part).get(name) for r in self.rows]
        return flat

    def best(self, measure: str = "fun") -> Best:
        """Return the best point of every method on every problem: the least median over the seeds.

        Parameters
        ----------
        measure : {"fun", "gradients"}
            The objective at the end, or the gradient equivalents until the target. A run that diverged, ended in an
            error or did not meet the target counts as infinite, and `Point.failed` says how many failed.

        Returns
        -------
        Best

        Raises
        ------
        ArgumentError
            Another measure, or ``"gradients"`` of runs without a target.
        """
        if measure not in MEASURES:
            raise ArgumentError(f"measure: wanted one of {', '.join(MEASURES)}, got {measure!r}")
        self._comparable()
        if measure == "gradients" and any(r.met is None for r in self.rows):
            raise ArgumentError("measure: 'gradients' is until the target, and there are runs without one")
        return summary.best(self.rows, measure, MEASURES[measure])

    def profile(self, tolerance: float | None = None) -> Profile:
        """Return the performance profiles of the methods (Dolan and Moré), each at its best point on each problem.

        Parameters
        ----------
        tolerance : float, optional
            Solved is the first recorded objective ``f <= f_L + tolerance (f_0 - f_L)``, with f_L the least that any
            row of that problem has seen and f_0 the run's start. Default: the target, where every run has one, else 0.01.

        Returns
        -------
        Profile

        Raises
        ------
        ArgumentError
            No rows, or rows that cannot be compared.
        """
        if tolerance is None:
            tolerance = None if self.rows and all(r.met is not None for r in self.rows) else 0.01
        else:
            check_number(tolerance, "(0, 1)", "tolerance")
        self._comparable()
        return summary.profile(self.rows, tolerance)

    def curves(self, levels: tuple[float, ...] = LEVELS) -> Curves:
        """Return the objective against gradient equivalents as quantiles over the seeds, each method at its best point.

        Parameters
        ----------
        levels : tuple of float
            Quantiles, each in [0, 1].

        Returns
        -------
        Curves

        Raises
        ------
        ArgumentError
            No rows, or rows that cannot be compared.
        """
        for level in levels:
            check_number(level, "[0, 1]", "levels")
        self._comparable()
        return summary.curves(self.rows, tuple(levels))

    def _comparable(self) -> None:
        """Raise unless there are rows, and those of a problem have one budget, target, version and data."""
        if not self.rows:
            raise ArgumentError("there are no rows: no run has finished, or none is like that")
        terms: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            own = {k: row.specification[k] for k in ("arguments", "target", "refopt", "problem")}
            first = terms.setdefault(row.problem, own)
            for k in own:
                if own[k] != first[k]:
                    raise ArgumentError(
                        f"{row.problem}: there are runs of different {k}, which cannot be compared: {first[k]} and {own[k]};"
                        " choose with where(...)"
                    )

    def __repr__(self) -> str:
        failed = sum(not r.success for r in self.rows)
        return f"Sweep({len(self.rows)} rows, {failed} failed, {self.left} left)"
