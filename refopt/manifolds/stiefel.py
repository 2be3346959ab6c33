"""The Stiefel manifold of orthonormal frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.manifolds.base import Manifold

METRICS = ("euclidean", "canonical")


def check_tall(shape: tuple[int, ...], label: str) -> None:
    """Raise unless a frame may have `shape`."""
    if shape[0] < shape[1] or 0 in shape:
        raise ShapeError(f"{label}: wanted matrices (..., n, p) with n >= p >= 1, got shape {shape}")


def transposed(x: Array) -> Array:
    """Return the transpose of each matrix of a stack."""
    return namespace(x).matrix_transpose(x)


def polar(x: Array) -> Array:
    """Return the nearest matrix with orthonormal columns."""
    u, _, vt = namespace(x).linalg.svd(x, full_matrices=False)
    return u @ vt


def skew_exp(s: Array) -> Array:
    """Return the exponential of a skew-symmetric matrix, by the eigenvectors of the Hermitian ``i s``."""
    xp: Any = namespace(s)
    kind = xp.complex64 if s.dtype == xp.float32 else xp.complex128
    values, vectors = xp.linalg.eigh(1j * xp.astype(s, kind))
    turns = xp.exp(-1j * xp.astype(values, kind))
    return xp.real((vectors * turns[..., None, :]) @ transposed(xp.conj(vectors)))


@dataclass(frozen=True)
class Stiefel(Manifold):
    """Matrices x of shape (n, p) with ``x^T x = I``; tangent vectors have a skew ``x^T u``.

    The Euclidean metric is ``tr(u^T v)``, the canonical one ``tr(u^T (I - x x^T / 2) v)``. With ``A = x^T u`` and
    ``Q R = u - x A``, ``exp_x(u) = [x Q] exp([[s A, -R^T], [R, 0]])[:, :p] exp((1 - s) A)``; s = 2 for the Euclidean metric, 1
    for the canonical one.

    Parameters
    ----------
    metric : {"euclidean", "canonical"}

    Notes
    -----
    Its logarithm has no closed form, so `log` and `dist` are errors. `retract` is the Q factor of ``x + u`` with R's
    diagonal positive; `transport` projects.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> M = refopt.manifold("stiefel")
    >>> x = M.random((5, 2), 0)
    >>> y = M.exp(x, M.random_tangent(x, 1))
    >>> bool(np.allclose(y.T @ y, np.eye(2)))
    True
    """

    name = "stiefel"
    axes = 2
    isometric = False
    second_order = False
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ArgumentError(f"metric: wanted one of {', '.join(METRICS)}, got {self.metric!r}")

    def _check_shape(self, shape: tuple[int, ...], label: str) -> None:
        check_tall(shape, label)

    def _project(self, x: Array) -> Array:
        return polar(x)

    def _tangent(self, x: Array, u: Array) -> Array:
        a = transposed(x) @ u
        return u - x @ (a + transposed(a)) / 2

    def _gradient(self, x: Array, g: Array) -> Array:
        return g - x @ (transposed(g) @ x) if self.metric == "canonical" else self._tangent(x, g)

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        whole = super()._inner(x, u, v)
        if self.metric == "euclidean":
            return whole
        return whole - super()._inner(x, transposed(x) @ u, transposed(x) @ v) / 2

    def _exp(self, x: Array, u: Array) -> Array:
        xp, p = namespace(x), x.shape[-1]
        a = transposed(x) @ u
        a = (a - transposed(a)) / 2
        q, r = xp.linalg.qr(u - x @ a, mode="reduced")
        s = 2.0 if self.metric == "euclidean" else 1.0
        top = xp.concat([s * a, -transposed(r)], axis=-1)
        below = xp.concat([r, xp.zeros_like(r)], axis=-1)
        turn = skew_exp(xp.concat([top, below], axis=-2))[..., :, :p]
        return (x @ turn[..., :p, :] + q @ turn[..., p:, :]) @ skew_exp((1.0 - s) * a)

    def _retract(self, x: Array, u: Array) -> Array:
        xp = namespace(x)
        q, r = xp.linalg.qr(x + u, mode="reduced")
        diagonal = xp.linalg.diagonal(r)
        one = xp.ones_like(diagonal)
        return q * xp.where(diagonal < 0, -one, one)[..., None, :]

    def _transport(self, x: Array, y: Array, v: Array) -> Array:
        return self._tangent(y, v)
