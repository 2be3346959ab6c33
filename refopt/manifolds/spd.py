"""Symmetric positive definite matrices, in two geometries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.manifolds.base import Manifold
from refopt.matrix.common import hermitian_part
from refopt.matrix.spd_geometry import spd_distance, spd_exp_map, spd_inner, spd_log_map

METRICS = ("affine-invariant", "bures-wasserstein")


@dataclass(frozen=True)
class SPD(Manifold):
    """Symmetric positive definite matrices; tangent vectors are symmetric.

    Affine-invariant: ``<u, v>_x = tr(x^{-1} u x^{-1} v)``, gradient ``x g x``, ``exp_x(u) = x^{1/2} exp(x^{-1/2} u x^{-1/2})
    x^{1/2}``, retraction ``x + u + u x^{-1} u / 2``, transport ``E v E^T``, ``E = (y x^{-1})^{1/2}``. Bures-Wasserstein:
    ``<u, v>_x = tr(u L) / 2``, ``x L + L x = v``, gradient ``2 (x g + g x)``, ``exp_x(u) = (I + L) x (I + L)``.

    Parameters
    ----------
    metric : {"affine-invariant", "bures-wasserstein"}

    Notes
    -----
    The Bures-Wasserstein transport is the identity, which is not isometric: the parallel one has no closed form. Its
    ``exp`` leaves the manifold where ``I + L`` is not positive definite, and is an error there.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> print(refopt.manifold("spd").dist(np.eye(2), np.diag([1.0, np.e])).round(12))
    1.0
    """

    name = "spd"
    axes = 2
    metric: str = "affine-invariant"

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ArgumentError(f"metric: wanted one of {', '.join(METRICS)}, got {self.metric!r}")

    @property
    def isometric(self) -> bool:  # type: ignore[override]
        """Whether `transport` is parallel."""
        return self.metric == "affine-invariant"

    def _check_shape(self, shape: tuple[int, ...], label: str) -> None:
        if shape[0] != shape[1] or 0 in shape:
            raise ShapeError(f"{label}: wanted square matrices (..., n, n), got shape {shape}")

    def _project(self, x: Array) -> Array:
        xp = namespace(x)
        values, q = xp.linalg.eigh(hermitian_part(x))
        floor = xp.finfo(x.dtype).eps * xp.max(xp.abs(values), axis=-1, keepdims=True)
        return hermitian_part(
            (q * xp.where(values > floor, values, floor)[..., None, :]) @ xp.matrix_transpose(q)
        )

    def _tangent(self, x: Array, u: Array) -> Array:
        return hermitian_part(u)

    def _gradient(self, x: Array, g: Array) -> Array:
        g = hermitian_part(g)
        return hermitian_part(x @ g @ x) if self.metric == "affine-invariant" else 4 * hermitian_part(x @ g)

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        return spd_inner(x, u, v, self.metric)

    def _exp(self, x: Array, u: Array) -> Array:
        return hermitian_part(spd_exp_map(x, u, self.metric))

    def _retract(self, x: Array, u: Array) -> Array:
        if self.metric == "bures-wasserstein":
            return self._exp(x, u)
        return hermitian_part(x + u + u @ namespace(x).linalg.solve(x, u) / 2)

    def _log(self, x: Array, y: Array) -> Array:
        return hermitian_part(spd_log_map(x, y, self.metric))

    def _dist(self, x: Array, y: Array) -> Array:
        return spd_distance(x, y, self.metric)

    def _transport(self, x: Array, y: Array, v: Array) -> Array:
        if self.metric == "bures-wasserstein":
            return namespace(v).asarray(v, copy=True)
        xp = namespace(x)
        # With x = L L^T, (y x^{-1})^{1/2} = L (L^{-1} y L^{-T})^{1/2} L^{-1}.
        L = xp.linalg.cholesky(x)
        inner = xp.linalg.solve(L, xp.matrix_transpose(xp.linalg.solve(L, y)))
        values, q = xp.linalg.eigh(hermitian_part(inner))
        root = (q * xp.sqrt(values)[..., None, :]) @ xp.matrix_transpose(q)
        E = L @ xp.matrix_transpose(xp.linalg.solve(xp.matrix_transpose(L), xp.matrix_transpose(root)))
        return hermitian_part(E @ v @ xp.matrix_transpose(E))

    def _random(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        a = rng.standard_normal(shape)
        return hermitian_part(a @ np.swapaxes(a, -1, -2) / shape[-1] + 0.1 * np.eye(shape[-1]))
