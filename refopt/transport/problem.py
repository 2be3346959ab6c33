"""What the transport solvers share: checked masses and costs, point clouds, and the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from refopt.core.arrays import Array, Namespace, check_array, detached, like, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.result import TransportResult

DIRECT_DIMENSIONS = 16  # up to here differences are squared; beyond, the square is expanded for BLAS
BLOCK_ENTRIES = 1 << 22  # entries of the cost that exist at one time


def check_points(x: Any, y: Any) -> tuple[Array, Array]:
    """Return two clouds of points (n, d) and (m, d) of one library and dtype, or raise a typed error."""
    x, y = check_array(x, "x", ndim=2), check_array(y, "y", ndim=2)
    if x.shape[1] != y.shape[1] or 0 in (*x.shape, *y.shape):
        raise ShapeError(f"x, y: wanted shapes (n, d) and (m, d), got {tuple(x.shape)}, {tuple(y.shape)}")
    if namespace(x) is not namespace(y):
        raise ArgumentTypeError(f"x, y: wanted arrays of one library, got {type(x)} and {type(y)}")
    if x.dtype != y.dtype:
        raise DtypeError(f"x, y: wanted one dtype, got {x.dtype} and {y.dtype}")
    return x, y


@dataclass(frozen=True)
class PointCloud:
    """The cost between two clouds of points, formed a block of rows at a time.

    Parameters
    ----------
    x : array of shape (n, d)
    y : array of shape (m, d)
    cost : {"sqeuclidean", "euclidean"} or callable
        ``|x_i - y_j|^2`` (no factor one half), or its root; or a function of arrays (k, d) and (m, d) that
        returns the costs (k, m).

    Examples
    --------
    >>> import numpy as np
    >>> cloud = PointCloud(np.array([[0.0], [1.0]]), np.array([[0.0], [3.0]]))
    >>> cloud.rows(0, 2).tolist()
    [[0.0, 9.0], [1.0, 4.0]]
    """

    x: Array
    y: Array
    cost: str | Callable[[Array, Array], Array] = "sqeuclidean"

    def __post_init__(self) -> None:
        x, y = check_points(self.x, self.y)
        if callable(self.cost):
            if tuple(self.cost(x[:1, :], y).shape) != (1, y.shape[0]):
                raise ShapeError("cost: wanted a function of arrays (k, d) and (m, d) that returns (k, m)")
            return
        if self.cost not in ("sqeuclidean", "euclidean"):
            raise ArgumentError(f"cost: wanted 'sqeuclidean', 'euclidean' or a function, got {self.cost!r}")
        # A common centre keeps the expanded square from cancelling.
        centre = namespace(x, y).mean(y, axis=0)
        object.__setattr__(self, "x", x - centre)
        object.__setattr__(self, "y", y - centre)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return self.x.shape[0], self.y.shape[0]

    @property
    def dtype(self) -> Any:
        """The dtype of the points."""
        return self.x.dtype

    def rows(self, start: int, stop: int) -> Array:
        """Return the rows `start` to `stop` of the cost matrix.

        Parameters
        ----------
        start, stop : int

        Returns
        -------
        array of shape (stop - start, m)
        """
        xp = namespace(self.x)
        x = self.x[start:stop, :]
        if callable(self.cost):
            return self.cost(x, self.y)
        if x.shape[1] <= DIRECT_DIMENSIONS:
            square = (x[:, 0, None] - self.y[:, 0]) ** 2
            for k in range(1, x.shape[1]):
                square = square + (x[:, k, None] - self.y[:, k]) ** 2
        else:
            square = xp.sum(x * x, axis=1)[:, None] + xp.sum(self.y * self.y, axis=1)
            square = square - 2 * xp.matmul(x, self.y.T)
            square = xp.where(square > 0, square, xp.zeros_like(square))
        return square if self.cost == "sqeuclidean" else xp.sqrt(square)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Return ranges of rows of at most `BLOCK_ENTRIES` entries each.

        Yields
        ------
        start, stop : int
        """
        n, m = self.shape
        size = max(1, BLOCK_ENTRIES // m)
        return ((start, min(n, start + size)) for start in range(0, n, size))


@dataclass(frozen=True)
class BlockedPlan:
    """The plan ``exp((f_i + g_j - C_ij) / reg)`` of a point cloud, formed a block at a time."""

    cloud: PointCloud
    f: Array
    g: Array
    reg: float

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return self.cloud.shape

    def rows(self, start: int, stop: int) -> Array:
        """Return the rows `start` to `stop` of the plan.

        Parameters
        ----------
        start, stop : int

        Returns
        -------
        array of shape (stop - start, m)
        """
        xp = namespace(self.f)
        return xp.exp((self.f[start:stop, None] + self.g - self.cloud.rows(start, stop)) / self.reg)

    def dense(self) -> Array:
        """Return the plan as one array of shape (n, m).

        Returns
        -------
        array of shape (n, m)
        """
        return self.rows(0, self.shape[0])

    def apply(self, v: Array) -> Array:
        """Return ``P v`` for v of shape (m,) or (m, k).

        Parameters
        ----------
        v : array of shape (m,) or (m, k)

        Returns
        -------
        array of shape (n,) or (n, k)
        """
        xp = namespace(self.f)
        return xp.concat([xp.matmul(self.rows(i, j), v) for i, j in self.cloud.blocks()])


@dataclass(frozen=True)
class Transport:
    """A checked problem: masses a (..., n) and b (..., m), cost C (..., n, m), one dtype."""

    xp: Namespace
    a: Array
    b: Array
    C: Any

    @property
    def mass(self) -> float:
        """The largest total mass of the batch."""
        return float(self.xp.max(self.xp.sum(detached(self.a), axis=-1)))


def transport_problem(
    a: Any, b: Any, C: Any, *, batched: bool = True, clouds: bool = False, balanced: bool = True
) -> Transport:
    """Check masses and costs; None stands for uniform masses of total 1. Totals are equal if `balanced`.

    Raises
    ------
    ArgumentError, ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        Shapes that do not fit, negative or unequal masses, NaN or infinity.
    """
    if isinstance(C, PointCloud):
        if not clouds:
            raise ArgumentTypeError("C: this method takes a cost matrix, not a PointCloud")
        reference: Array = C.x
    else:
        C = check_array(C, "C", min_ndim=2)
        reference = C
        if not batched and C.ndim != 2:
            raise ShapeError(f"C: wanted 2 dimensions, got shape {tuple(C.shape)}")
    n, m = C.shape[-2:]
    if n == 0 or m == 0:
        raise ShapeError(f"C: is empty, shape {tuple(C.shape)}")
    xp = namespace(reference)
    lead = batched and not isinstance(C, PointCloud)
    a, b = (
        check_mass(value, name, reference, size, batched=lead)
        for value, name, size in ((a, "a", n), (b, "b", m))
    )
    check_totals(a, b, equal=balanced)
    return Transport(xp, a, b, C)


def check_mass(value: Any, name: str, reference: Array, size: int, *, batched: bool = False) -> Array:
    """Return `size` masses (with leading axes if `batched`) of the library and dtype of `reference`; None is uniform."""
    xp = namespace(reference)
    if value is None:
        uniform = like([1.0 / size] * size, reference)
        return uniform + 0 * reference[..., :1, 0] if batched else uniform
    value = check_array(value, name, min_ndim=1)
    if namespace(value) is not xp:
        raise ArgumentTypeError(
            f"{name}: wanted an array of the library of what it weighs, got {type(value)}"
        )
    if value.shape[-1] != size or (value.ndim > 1 and not batched):
        raise ShapeError(
            f"{name}: shape {tuple(value.shape)} does not fit the shape {tuple(reference.shape)} of what it weighs"
        )
    if value.dtype != reference.dtype:
        raise DtypeError(
            f"{name}: has dtype {value.dtype}, but what it weighs {reference.dtype}; convert one of them"
        )
    if bool(xp.any(value < 0)):
        raise ArgumentError(
            f"{name}: wanted masses of at least 0, the smallest is {float(xp.min(value)):.3g}"
        )
    return value


def check_totals(a: Array, b: Array, *, equal: bool = True) -> None:
    """Raise unless masses a (..., n) and b (..., m) have positive and, if asked, equal totals."""
    xp = namespace(a)
    total_a, total_b = xp.sum(a, axis=-1), xp.sum(b, axis=-1)
    for name, total in (("a", total_a), ("b", total_b)):
        if not bool(xp.all(total > 0)) and (name == "a" or not equal):
            raise ArgumentError(f"{name}: wanted a positive total mass, got 0")
    if not equal:
        return
    slack = 8 * (a.shape[-1] + b.shape[-1]) ** 0.5 * float(xp.finfo(a.dtype).eps)
    if bool(xp.any(xp.abs(total_a - total_b) > slack * total_a)):
        raise ArgumentError(
            f"a, b: wanted equal total masses, got {_shown(total_a)} and {_shown(total_b)};"
            " divide each by its sum"
        )


def _shown(total: Array) -> str:
    return f"{float(total):.8g}" if total.ndim == 0 else str(total)


def check_regularisation(reg: Any, tol: float | None, maxiter: int, dtype: Any, xp: Namespace) -> float:
    """Check the common numbers and return the tolerance: 1e-9 in float64, 1e-5 in float32 if None."""
    check_number(reg, "(0, inf)", "reg")
    check_number(maxiter, "int [0, inf)", "maxiter")
    if tol is None:
        return 1e-9 if xp.finfo(dtype).bits == 64 else 1e-5
    check_number(tol, "[0, inf)", "tol")
    return float(tol)


def start_potentials(potentials: Any, problem: Transport) -> tuple[Array, Array]:
    """Return the given start ``(f, g)`` after a check, or zeros."""
    xp, a, b = problem.xp, problem.a, problem.b
    if potentials is None:
        return xp.zeros_like(a), xp.zeros_like(b)
    if not isinstance(potentials, tuple) or len(potentials) != 2:
        raise ArgumentTypeError("potentials: wanted a pair (f, g), as a result's potentials")
    out = []
    for value, like_, name in ((potentials[0], a, "f"), (potentials[1], b, "g")):
        value = check_array(value, f"potentials: {name}", finite=False, min_ndim=1)
        if value.shape[-1] != like_.shape[-1] or value.dtype != like_.dtype:
            raise ShapeError(
                f"potentials: {name} has shape {tuple(value.shape)} and dtype {value.dtype}, wanted"
                f" {tuple(like_.shape)} and {like_.dtype}"
            )
        # An empty mass sends nothing from its first pass on. Elsewhere minus infinity is a total that underflowed: the next
        # pass sets it anew.
        start = xp.where(xp.isfinite(value), value, xp.zeros_like(value))
        out.append(xp.where(like_ > 0, start, xp.full_like(start, -math.inf)))
    return out[0], out[1]


def report(
    problem: Transport,
    plan: Array,
    potentials: tuple[Array, Array],
    iterations: int,
    tol: float,
    status: str | None = None,
    message: str | None = None,
    values: tuple[Array, Array] = (math.nan, math.nan),
) -> TransportResult:
    """Measure a dense plan and put the outcome into words; `tol` is relative to the mass.

    `values` are what the solver minimises, at the plan, and its dual, at the potentials.
    """
    xp = problem.xp
    error = xp.sum(xp.abs(xp.sum(plan, axis=-1) - problem.a), axis=-1)
    error = error + xp.sum(xp.abs(xp.sum(plan, axis=-2) - problem.b), axis=-1)
    cost = xp.sum(plan * problem.C, axis=(-2, -1))
    worst = float(xp.max(detached(error)))
    if status is None:
        status = "converged" if worst <= tol * problem.mass else "iterations"
    if message is None:
        message = f"marginal error {worst:.3g} after {iterations} passes (wanted {tol * problem.mass:.3g})"
        if status != "converged":
            message += "; raise maxiter or reg"
    return TransportResult(plan, cost, potentials, error, iterations, status, message, *values)


def pairing(potential: Array, mass: Array, xp: Namespace) -> Array:
    """Return the inner product along the last axis; a zero mass pays nothing, whatever its potential."""
    paid = xp.where(mass > 0, potential, xp.zeros_like(potential))
    return xp.sum(paid * mass, axis=-1)
