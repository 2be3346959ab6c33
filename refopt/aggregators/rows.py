"""What the aggregators share: the rows of J in a basis of their span, and two small least-squares problems.

An aggregator looks at inner products of the rows alone. They are taken from the triangular factor of the
rows, not from ``J J^T``, which would square the condition; what is solved on the host has m unknowns.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from refopt.core.arrays import Array, check_array, like, namespace, norm, to_numpy
from refopt.core.document import inserted
from refopt.core.errors import ArgumentError, ConvergenceError, ShapeError

T = TypeVar("T")
_PARAMETERS = """\
J : array of shape (m, n)
    The gradients of m objectives, one a row."""
_PREFERENCE = """\
preference : array of shape (m,), optional
    p, at least 0; 1/m each."""
_RETURNS = """\
Returns
-------
array of shape (n,)
    To step against."""
_RAISES = """\
Raises
------
ArgumentError, ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
    `J` is no matrix of finite numbers, or another argument is not what is wanted."""


def takes_gradients(function: T) -> T:
    """Complete an aggregator's docstring by what all of them say: J, the preference, what is returned and raised."""
    doc = inspect.cleandoc(function.__doc__ or "")
    takes_preference = "preference" in inspect.signature(cast(Callable[..., Any], function)).parameters
    shared = f"{_PARAMETERS}\n{_PREFERENCE}" if takes_preference else _PARAMETERS
    heading = "Parameters\n----------"
    if heading in doc:
        doc = doc.replace(heading, f"{heading}\n{shared}", 1)
    else:
        doc = inserted(doc, f"{heading}\n{shared}", _heads("Returns", "Raises", "Notes", "Examples"))
    if "Returns\n-------" not in doc:
        doc = inserted(doc, _RETURNS, _heads("Raises", "Notes", "Examples"))
    if "Raises\n------" not in doc:
        doc = inserted(doc, _RAISES, _heads("Notes", "Examples"))
    function.__doc__ = doc
    return function


def sent_by_workers(function: T) -> T:
    """Mark an aggregator whose rows, but one's own, other workers send: what runs it counts their bytes."""
    function.sent_by_workers = True  # type: ignore[attr-defined]
    return function


def _heads(*names: str) -> re.Pattern[str]:
    return re.compile(rf"^({'|'.join(names)})\n-+$", re.MULTILINE)


@dataclass(frozen=True)
class Rows:
    """The rows of J, taken apart into directions and lengths.

    Attributes
    ----------
    directions : array of shape (m, n)
        Row over its norm, in J's library; a zero row stays zero.
    units : ndarray of shape (k, m)
        The same directions as columns, in an orthonormal basis of their span; float64 on the host.
    lengths : ndarray of shape (m,)
        Norms of the rows over `scale`, the largest of them is in [1, 2).
    scale : float
        A power of two.
    eps : float
        The machine epsilon of J's dtype.
    """

    directions: Array
    units: np.ndarray
    lengths: np.ndarray
    scale: float
    eps: float

    @property
    def m(self) -> int:
        """The number of objectives."""
        return int(self.lengths.size)

    @property
    def vectors(self) -> np.ndarray:
        """The rows over `scale` as columns, in the basis."""
        return self.units * self.lengths

    @property
    def tolerance(self) -> float:
        """Below this, relative to the largest, a length is rounding."""
        return 32 * self.m * self.eps

    def combined(self, along: np.ndarray, scale: float | None = None) -> Array:
        """Return ``scale * sum_i along_i directions_i``; `scale` is the rows' own where it is left out."""
        a = like(along, self.directions)
        return (self.scale if scale is None else scale) * (a @ self.directions)


def rows_of(J: Any) -> Rows:
    """Check the matrix of gradients `J` and take it apart.

    Raises
    ------
    ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
    """
    J = check_array(J, "J", ndim=2)
    if 0 in J.shape:
        raise ShapeError(f"J: wanted a matrix (m, n) of m gradients, got shape {tuple(J.shape)}")
    xp = namespace(J)
    norms = [norm(J[i, :]) for i in range(J.shape[0])]
    scale = 2.0 ** (math.frexp(max(norms))[1] - 1) if max(norms) > 0.0 else 1.0
    # By powers of two first: a subnormal row's norm has no inverse.
    near = [2.0 ** (1 - math.frexp(v)[1]) if v > 0.0 else 0.0 for v in norms]
    directions = xp.stack([_unit(J[i, :], s) for i, s in enumerate(near)])
    factor = xp.linalg.qr(xp.matrix_transpose(directions), mode="reduced")[1]
    lengths = np.array([v / scale for v in norms])
    eps = float(xp.finfo(J.dtype).eps)
    return Rows(directions, to_numpy(factor).astype(np.float64), lengths, scale, eps)


def _unit(row: Array, near: float) -> Array:
    """Return a row over its norm, whose inverse is about `near`."""
    while near > 2.0**100:  # a factor that float32 holds
        row, near = row * 2.0**100, near * 2.0**-100
    row = row * near
    length = norm(row)
    return row / length if length > 0.0 else row


def preference_of(preference: Any, m: int) -> np.ndarray:
    """Return the weights of the objectives, 1/m each where none are given.

    Raises
    ------
    ArgumentError, ShapeError
        Negative, or not one for each objective.
    """
    if preference is None:
        return np.full(m, 1.0 / m)
    p = to_numpy(check_array(preference, "preference", shape=(m,))).astype(np.float64)
    if np.any(p < 0.0):
        raise ArgumentError(f"preference: wanted weights of at least 0, got {p.tolist()}")
    return p


def non_negative_least_squares(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``argmin_{v >= 0} ||A v - b||``, by Lawson and Hanson's active sets.

    Raises
    ------
    ConvergenceError
    """
    from scipy.optimize import nnls

    try:
        return nnls(A, b, maxiter=100 * A.shape[1])[0]
    except RuntimeError as error:
        raise ConvergenceError(f"J: the active sets of its rows did not settle ({error})") from None


def nearest_in_hull(vectors: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return the weights of the point of the convex hull of the columns that is nearest to `point`.

    With ``A = vectors - point``, ``min_{v >= 0} ||A v||^2 + (sum v - 1)^2`` has ``v = t alpha``, where alpha are
    the weights: for given alpha the best t leaves ``q / (1 + q)``, q = ||A alpha||^2, which grows with q.
    """
    away = vectors - point[:, None]
    size = float(np.max(np.abs(away)))
    away = away / size if size > 0.0 else away
    system = np.vstack([away, np.ones(away.shape[1])])
    v = non_negative_least_squares(system, np.append(np.zeros(len(point)), 1.0))
    return v / np.sum(v)
