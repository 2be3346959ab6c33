"""What Sinkhorn's two forms share: log-sum-exps, and one pass of scaling over a kernel."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass

import numpy as np

from refopt.core.arrays import Array, Namespace, detached
from refopt.core.errors import ArgumentError
from refopt.transport import compiled
from refopt.transport.compiled import scaled
from refopt.transport.problem import PointCloud, Transport, pairing


def log_safe(xp: Namespace, value: Array) -> Array:
    """Return the logarithm, minus infinity at 0, without a warning."""
    positive = value > 0
    return xp.where(positive, xp.log(xp.where(positive, value, xp.ones_like(value))), -math.inf)


def log_sum_exp(xp: Namespace, exponents: Array, axis: int) -> Array:
    """Return ``log sum exp`` along `axis`; minus infinity where every exponent is."""
    top = xp.max(exponents, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    return xp.squeeze(top, axis=axis) + log_safe(xp, xp.sum(xp.exp(exponents - top), axis=axis))


def gibbs(xp: Namespace, f: Array, g: Array, C: Array, reg: float) -> Array:
    """Return ``exp((f_i + g_j - C_ij) / reg)``."""
    return xp.exp((f[..., :, None] + g[..., None, :] - C) / reg)


def row_potential(xp: Namespace, a: Array, g: Array, C: Array, reg: float) -> Array:
    """Return ``f_i = reg log a_i - reg LSE_j((g_j - C_ij) / reg)``."""
    return reg * (log_safe(xp, a) - log_sum_exp(xp, (g[..., None, :] - C) / reg, -1))


def column_potential(xp: Namespace, b: Array, f: Array, C: Array, reg: float) -> Array:
    """Return ``g_j = reg log b_j - reg LSE_i((f_i - C_ij) / reg)``."""
    return reg * (log_safe(xp, b) - log_sum_exp(xp, (f[..., :, None] - C) / reg, -2))


def entropy(xp: Namespace, plan: Array) -> Array:
    """Return ``sum P log P`` over the last two axes; an entry that is 0 adds nothing."""
    used = xp.where(plan > 0, plan, xp.ones_like(plan))
    return xp.sum(plan * xp.log(used), axis=(-2, -1))


def entropic_values(problem: Transport, plan: Array, f: Array, g: Array, reg: float) -> tuple[Array, Array]:
    """Return ``<P, C> + reg sum P log P`` and its dual ``<f, a> + <g, b> - reg (sum P - mass)``."""
    xp = problem.xp
    value = xp.sum(plan * problem.C, axis=(-2, -1)) + reg * entropy(xp, plan)
    paid = pairing(f, problem.a, xp) + pairing(g, problem.b, xp)
    return value, paid - reg * (xp.sum(plan, axis=(-2, -1)) - xp.sum(problem.a, axis=-1))


@dataclass
class Scaling:
    """One pass ``u = a / (K v), v = b / (K^T u)`` over a kernel K, as array code."""

    problem: Transport
    K: Array

    def __call__(self, u: Array, v: Array) -> tuple[Array, Array, float, float, float]:
        """Return u', v', the row error of (u, v), and the smallest and largest scaling."""
        xp, a, b = self.problem.xp, self.problem.a, self.problem.b
        rows = xp.matmul(self.K, v[..., :, None])[..., 0]
        error = float(xp.max(xp.sum(xp.abs(detached(u * rows - a)), axis=-1)))
        u = divide(xp, a, rows)
        columns = xp.matmul(xp.matrix_transpose(self.K), u[..., :, None])[..., 0]
        v = divide(xp, b, columns)
        low, high = math.inf, 0.0
        for mass, scale in ((a, u), (b, v)):
            used = xp.where(mass > 0, detached(scale), xp.ones_like(scale))
            low, high = min(low, float(xp.min(used))), max(high, float(xp.max(used)))
        return u, v, error, low, high


def divide(xp: Namespace, mass: Array, total: Array) -> Array:
    """Return ``mass / total``, and 0 where the total has underflown: never NaN."""
    usable = total > 0
    quotient = scaled(mass, xp.where(usable, total, xp.ones_like(total)))
    return xp.where(usable, quotient, xp.zeros_like(quotient))


@dataclass
class CompiledScaling:
    """The same pass as one compiled loop that reads K once."""

    problem: Transport
    K: np.ndarray

    def __post_init__(self) -> None:
        self.loop = compiled.kernels(self.K.size >= 1_000_000).scaling_pass
        self.K = np.ascontiguousarray(self.K)
        self.a, self.b = (np.ascontiguousarray(m) for m in (self.problem.a, self.problem.b))
        self.sums = np.empty((compiled.GROUPS, self.K.shape[1]), dtype=self.K.dtype)

    def __call__(self, u: Array, v: Array) -> tuple[Array, Array, float, float, float]:
        """Return u', v', the row error of (u, v), and the smallest and largest scaling."""
        new_u, new_v = np.empty_like(self.a), np.empty_like(self.b)
        error, low, high = self.loop(self.K, self.a, self.b, u, v, new_u, new_v, self.sums)
        return new_u, new_v, float(error), float(low), float(high)


def scaling_class(engine: str, problem: Transport) -> type[Scaling] | type[CompiledScaling]:
    """Choose the pass; ``"auto"`` compiles for one NumPy problem of at least 10000 entries."""
    if engine not in ("auto", "array", "numba"):
        raise ArgumentError(f"engine: wanted one of 'auto', 'array', 'numba', got {engine!r}")
    fits = isinstance(problem.C, np.ndarray) and problem.C.ndim == 2 and problem.a.ndim == problem.b.ndim == 1
    if engine == "numba":
        if not fits:
            raise ArgumentError("engine: 'numba' takes one NumPy problem, not a batch or another library")
        return CompiledScaling
    large = fits and problem.C.size >= 10_000 and importlib.util.find_spec("numba") is not None
    return CompiledScaling if engine == "auto" and large else Scaling


def exchanged(cloud: PointCloud) -> PointCloud:
    """Return the cloud with its two sets of points exchanged."""
    given = cloud.cost
    cost = (lambda x, y: given(y, x).T) if callable(given) else given
    return PointCloud(cloud.y, cloud.x, cost)


def transposed(problem: Transport) -> Transport:
    """Return the problem with rows and columns exchanged."""
    C = problem.C
    if isinstance(C, PointCloud):
        return Transport(problem.xp, problem.b, problem.a, exchanged(C))
    return Transport(problem.xp, problem.b, problem.a, problem.xp.matrix_transpose(C))


def columns_first(first: str) -> bool:
    """Check the argument `first` and tell whether it is "columns"."""
    if first not in ("rows", "columns"):
        raise ArgumentError(f"first: wanted 'rows' or 'columns', got {first!r}")
    return first == "columns"
