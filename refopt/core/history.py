"""The history of a run: what its steps saw, or, where that is asked for, the whole objective."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refopt.core.errors import ArgumentError
from refopt.core.objective import gradient_norm, has_objective, objective
from refopt.core.oracle import Oracle
from refopt.core.params import Params, norm

COLUMNS = ("step", "value", "grad_norm", "gradient_equivalents", "seconds", "full")


class History:
    """Rows of a run.

    Parameters
    ----------
    problem : object
        The run's.
    record : {"step", "full"} or object
        Where values and gradients of a row come from: the step itself, all of the problem's examples, or another
        problem's (a validation set's), which must have `value`.

    Attributes
    ----------
    rows : list of list of float
        In the order of `columns`; ``full`` is 1 where the row's value is that of a whole objective.
    calls : dict of str to int
        What recording alone asked for.
    """

    def __init__(self, problem: Any, record: Any) -> None:
        if isinstance(record, str) and record not in ("step", "full"):
            raise ArgumentError(f"record: wanted 'step', 'full' or a problem with value(x), got {record!r}")
        if not isinstance(record, str) and not callable(
            getattr(record, "value", getattr(record, "upper_value", None))
        ):
            raise ArgumentError(f"record: wanted 'step', 'full' or a problem with value(x), got {record!r}")
        self.problem = problem
        self.by_step = record == "step" if isinstance(record, str) else False
        self.whole = problem if isinstance(record, str) else record
        self.rows: list[list[float]] = []
        self.calls: dict[str, int] = {}
        self.two = hasattr(self.whole, "lower_value")
        self.columns = (*COLUMNS, "lower_value") if self.two else COLUMNS

    def count(self, name: str) -> None:
        """Count a call that recording alone makes."""
        self.calls[name] = self.calls.get(name, 0) + 1

    def objective(self, x: Params) -> float:
        """Return the run's whole objective at x."""
        for name in ("value", "upper_value"):
            if hasattr(self.problem, name):
                self.count(name)
        return objective(self.problem, x)

    def lower(self, x: Params) -> float | None:
        """Return the lower level's objective at x, None where there is one level."""
        if not hasattr(self.problem, "lower_value"):
            return None
        self.count("lower_value")
        return float(self.problem.lower_value(x))

    def _row(self, row: list[float], x: Params | None) -> None:
        """Add a row; of two levels with the lower's objective at x, or NaN for None."""
        if self.two:
            if x is not None:
                self.count("lower_value")
            row = [*row, math.nan if x is None else float(self.whole.lower_value(x))]
        self.rows.append(row)

    def full(self, x: Params, step: int, equivalents: float, seconds: float) -> float:
        """Add a row of the whole objective and gradient at x; return the value, NaN where there is none."""
        value = objective(self.whole, x)
        for name in ("value", "grad", "upper_value"):
            if hasattr(self.whole, name):
                self.count(name)
        if math.isfinite(value) or not has_objective(self.whole):
            self._row([step, value, gradient_norm(self.whole, x), equivalents, seconds, 1.0], x)
        return value

    def seen(self, oracle: Oracle, step: int, equivalents: float, seconds: float) -> float | None:
        """Add a row of what the step from x asked for; return the value, None where it asked for none."""
        value, grad = oracle.seen if oracle.seen is not None else (None, None)
        row = [math.nan if value is None else value, math.nan if grad is None else norm(grad)]
        self._row([step, *row, equivalents, seconds, 0.0], None)
        return value

    def last(self, x: Params, step: int, equivalents: float, seconds: float) -> float:
        """Add the row of the last point, whose value the result holds anyway, and return that value."""
        value = self.objective(x)
        self._row([step, value, math.nan, equivalents, seconds, 1.0], x)
        return value

    def table(self) -> dict[str, np.ndarray]:
        """Return the columns by name."""
        found = self.array()
        return {name: found[:, i] for i, name in enumerate(self.columns)}

    def array(self, first: int = 0) -> np.ndarray:
        """Return the rows from `first` on as one array."""
        return np.array(self.rows[first:], dtype=np.float64).reshape(-1, len(self.columns))
