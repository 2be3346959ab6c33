"""The results that refopt returns: frozen, always of the same form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refopt.core.arrays import Array
from refopt.core.params import Params


@dataclass(frozen=True)
class Result:
    """What `refopt.minimize` returns (SciPy's names where SciPy has one).

    Attributes
    ----------
    x : array or dict of arrays
        The last finite point.
    fun : float
        The full objective at `x`; of a problem of two levels the upper's.
    nit : int
        Steps taken.
    calls : dict of str to int
        How often each oracle was asked (``grad``, ``hvp``, ``value``, …); of methods with simulated workers also
        ``bytes_sent``, what these sent.
    gradient_equivalents : float
        The same in units of one full gradient (`refopt.core.counts.COST`).
    history : dict of str to array
        Columns ``step``, ``value``, ``grad_norm``, ``gradient_equivalents``, ``seconds``, and ``full``: 1 where the
        value is that of all examples, 0 where it is what the step saw (`refopt.minimize`, ``record``). A problem of
        two levels adds ``lower_value``, NaN where ``full`` is 0.
    success : bool
        True unless the run diverged.
    status : str
        ``"steps"``, ``"converged"``, ``"calls"``, ``"time"``, ``"callback"`` or ``"diverged"``.
    message : str
        One sentence.
    state : dict
        The method's state at `x`, to go on from.
    recorded_calls : dict of str to int
        What recording and the result's `fun` asked for, beside the method's own `calls`.
    lower_fun : float or None
        The lower level's objective at `x`, of a problem that has two.
    """

    x: Params
    fun: float
    nit: int
    calls: Mapping[str, int]
    gradient_equivalents: float
    history: Mapping[str, np.ndarray]
    success: bool
    status: str
    message: str
    state: Mapping[str, Any] = field(repr=False)
    recorded_calls: Mapping[str, int] = field(default_factory=dict)
    lower_fun: float | None = None

    def __str__(self) -> str:
        calls = ", ".join(f"{k} {v}" for k, v in self.calls.items() if v)
        return f"{self.message}\nfun {self.fun:.6g} after {self.nit} steps ({calls})"


@dataclass(frozen=True)
class LinearResult:
    """What a linear solver returns.

    Attributes
    ----------
    x : array
        The last iterate.
    iterations : int
        Of several right sides the largest.
    residuals : array of shape (iterations + 1,)
        The norms of the residual, from the start's on (NumPy); of several right sides a column each.
    status : str
        ``"converged"``, ``"iterations"``, ``"negative-curvature"``, ``"residual-gap"``, ``"diverged"``, of a
        preconditioned solve also ``"indefinite-preconditioner"``.
    message : str
        One sentence, with advice where the solve failed.
    direction : array or None
        The direction of negative curvature, where one was met.
    true_residual : float
        ``norm(b - A x)`` at the end, NaN where the solver did not form it.
    """

    x: Array
    iterations: int
    residuals: np.ndarray
    status: str
    message: str
    direction: Array | None = None
    true_residual: float = math.nan

    @property
    def success(self) -> bool:
        """True if the tolerance was met."""
        return self.status == "converged"


@dataclass(frozen=True)
class TransportResult:
    """What a transport solver returns.

    Attributes
    ----------
    plan : array of shape (..., n, m)
        Of a point cloud a `refopt.transport.problem.BlockedPlan`, which forms it by blocks.
    cost : array of shape (...)
        The linear cost ``<plan, C>``.
    potentials : tuple of array
        The dual potentials ``(f, g)``, of shapes (..., n) and (..., m).
    marginal_error : array of shape (...)
        The 1-norm of ``plan.sum(-1) - a`` plus that of ``plan.sum(-2) - b``.
    iterations : int
    status : str
        ``"converged"``, ``"iterations"`` or ``"diverged"``.
    message : str
    value : array of shape (...)
        What the solver minimises, at this plan: the cost and its penalty. NaN where it was not formed.
    dual_value : array of shape (...)
        The dual at the potentials: at most the least value over all plans, and equal to it at convergence.
    """

    plan: Array
    cost: Any
    potentials: tuple[Array, Array]
    marginal_error: Any
    iterations: int
    status: str
    message: str
    value: Any = math.nan
    dual_value: Any = math.nan

    @property
    def success(self) -> bool:
        """True if the tolerance was met."""
        return self.status == "converged"
