"""The Poincaré ball, a model of hyperbolic space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import check_number
from refopt.manifolds.base import Manifold
from refopt.manifolds.vectors import dot, length, over


@dataclass(frozen=True)
class PoincareBall(Manifold):
    """The ball of radius 1/√c with the metric ``λ_x^2 <u, v>``, ``λ_x = 2 / (1 - c ||x||^2)``: curvature -c.

    ``exp_x(u) = x ⊕ tanh(√c λ_x ||u|| / 2) u / (√c ||u||)``, ⊕ Möbius addition; along the last axis.

    Parameters
    ----------
    curvature : float
        c > 0.

    Notes
    -----
    `project` pulls what is beyond ``(1 - δ) / √c`` back to there, δ = 1e-5 in float64 and 4e-3 in float32, as geoopt does:
    the metric is infinite at the border. What `exp` and `retract` return lies within.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> M = refopt.manifold("poincare-ball", curvature=1.0)
    >>> print(M.dist(np.zeros(2), np.array([0.5, 0.0])).round(6))
    1.098612
    """

    name = "poincare-ball"
    curvature: float = 1.0
    second_order = False

    def __post_init__(self) -> None:
        check_number(self.curvature, "(0, inf)", "curvature")

    @property
    def root(self) -> float:
        """√c."""
        return math.sqrt(self.curvature)

    def factor(self, x: Array) -> Array:
        """Return the conformal factor λ_x, with an axis of one."""
        return 2.0 / (1.0 - self.curvature * dot(x, x))

    def add(self, x: Array, y: Array) -> Array:
        """Return the Möbius sum x ⊕ y."""
        c, xy, xx, yy = self.curvature, dot(x, y), dot(x, x), dot(y, y)
        top = (1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y
        return top / (1 + 2 * c * xy + c * c * xx * yy)

    def gyration(self, a: Array, b: Array, v: Array) -> Array:
        """Return ``gyr[a, b] v = ⊖(a ⊕ b) ⊕ (a ⊕ (b ⊕ v))``, the turn that makes up for ⊕ not being associative."""
        c = self.curvature
        aa, bb, ab, av, bv = dot(a, a), dot(b, b), dot(a, b), dot(a, v), dot(b, v)
        p = -c * c * av * bb + c * bv + 2 * c * c * ab * bv
        q = -c * c * bv * aa - c * av
        return v + 2 * (p * a + q * b) / (1 + 2 * c * ab + c * c * aa * bb)

    def _project(self, x: Array) -> Array:
        xp = namespace(x)
        margin = 1e-5 if float(xp.finfo(x.dtype).eps) < 1e-10 else 4e-3
        size, most = length(x), (1.0 - margin) / self.root
        return xp.where(size > most, most * (x / xp.where(size > most, size, xp.ones_like(size))), x)

    def _tangent(self, x: Array, u: Array) -> Array:
        return namespace(u).asarray(u, copy=True)

    def _gradient(self, x: Array, g: Array) -> Array:
        return g / self.factor(x) ** 2

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        return (self.factor(x) ** 2 * dot(u, v))[..., 0]

    def _exp(self, x: Array, u: Array) -> Array:
        half = self.factor(x) / 2
        reach = over(namespace(x).tanh, self.root * half * length(u)) * half
        return self._project(self.add(x, reach * u))

    def _half(self, x: Array, y: Array) -> Array:
        """Return √c / 2 times the distance, with an axis of one: ``atanh(√c ||-x ⊕ y||)``, without the atanh near 1."""
        xp = namespace(x)
        rest = (1 - self.curvature * dot(x, x)) * (1 - self.curvature * dot(y, y))
        return xp.asinh(self.root * length(x - y) / xp.sqrt(rest))

    def _log(self, x: Array, y: Array) -> Array:
        xp, d = namespace(x), self.add(-x, y)
        size = self.root * length(d)
        one = xp.ones_like(size)
        ratio = xp.where(size > 0, self._half(x, y) / xp.where(size > 0, size, one), one)
        return 2 / self.factor(x) * ratio * d

    def _dist(self, x: Array, y: Array) -> Array:
        return (2 / self.root * self._half(x, y))[..., 0]

    def _transport(self, x: Array, y: Array, v: Array) -> Array:
        return self.gyration(y, -x, v) * (self.factor(x) / self.factor(y))

    def _random(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        # Normal tangent vectors at the centre, carried along geodesics.
        zero = np.zeros(shape)
        return self._exp(zero, rng.standard_normal(shape) / (2 * self.root * math.sqrt(shape[-1])))
