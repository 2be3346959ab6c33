"""The vector operations of conjugate gradients: as array code, and as compiled loops."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from refopt.core.arrays import Array
from refopt.linear import compiled
from refopt.linear.bands import bands_of
from refopt.linear.compiled import advance, next_direction, reduce_residual
from refopt.linear.operators import Operator, as_csr, inner, real_part, vector_norm
from refopt.linear.preconditioners import Factored, Preconditioner


@dataclass
class Vectors:
    """The loop's operations as array code, in whatever library the right side comes from."""

    operator: Operator
    preconditioner: Preconditioner | None
    in_place = False

    def begin(self, x: Array, r: Array) -> tuple[Array, Array, Array]:
        """Return the start, its residual and ``z = M^-1 r``."""
        return x, r, self.precondition(r)

    def precondition(self, r: Array) -> Array:
        """Return ``M^-1 r``."""
        return r if self.preconditioner is None else self.preconditioner.apply(r)

    def inner(self, r: Array, z: Array) -> float:
        """Return the real part of ``r^H z``."""
        return real_part(inner(r, z))

    def product(self, p: Array) -> tuple[Array, float]:
        """Return ``A p`` and the curvature ``p^H A p``."""
        q = self.operator.apply(p)
        return q, real_part(inner(p, q))

    def reduce_residual(self, r: Array, q: Array, alpha: float) -> tuple[Array, float]:
        """Return the next recursive residual and its norm."""
        r = reduce_residual(r, q, alpha)
        return r, vector_norm(r)

    def advance_both(self, x: Array, p: Array, z: Array, alpha: float, beta: float) -> tuple[Array, Array]:
        """Return the next iterate and the next direction."""
        return advance(x, p, alpha), next_direction(z, p, beta)


@dataclass
class CompiledVectors(Vectors):
    """The same operations as compiled loops that reuse their buffers."""

    in_place = True

    def begin(self, x: Array, r: Array) -> tuple[Array, Array, Array]:
        """Return copies to write into; prepare the matrix and the buffers."""
        self.kernels = compiled.kernels(r.size >= 50_000)
        self.partial = np.empty(-(-r.size // compiled.BLOCK), dtype=r.dtype)
        self.real = r.real.dtype.type
        self.q = np.empty_like(r)
        csr = as_csr(self.operator.matrix)
        bands = bands_of(csr)
        self.matrix: tuple[np.ndarray, ...]
        if bands is None:
            self.matrix = (csr.data, compiled.unsigned(csr.indices), compiled.unsigned(csr.indptr))
            self.multiply = self.kernels.csr_product
        else:
            self.matrix, self.multiply = bands, self.kernels.band_product
        self.factor: tuple[np.ndarray, ...] | None = None
        if isinstance(self.preconditioner, Factored):
            L, scale = self.preconditioner.unit()
            banded = bands_of(scipy.sparse.csr_array(L.T), triangle=True)
            if banded is None:
                rows = (L.data, compiled.unsigned(L.indices), compiled.unsigned(L.indptr))
                self.solve, self.factor = self.kernels.solve_factor, (*rows, scale)
            else:
                self.solve, self.factor = self.kernels.solve_bands, (*banded, scale)
        self.z = np.empty_like(r)
        r = r.copy()
        return x.copy(), r, self.precondition(r)

    def precondition(self, r: Array) -> Array:
        """Return ``M^-1 r``, solved by the compiled loop for a factor."""
        if self.factor is None:
            return super().precondition(r)
        self.solve(*self.factor, r, self.z)
        return self.z

    def inner(self, r: Array, z: Array) -> float:
        """Return the real part of ``r^H z``; a BLAS would wake threads that compete with the loop's."""
        self.kernels.inner_pass(r, z, self.partial)
        return float(np.sum(self.partial).real)

    def product(self, p: Array) -> tuple[Array, float]:
        """Return ``A p`` and the curvature ``p^H A p`` from one pass over A."""
        self.multiply(*self.matrix, p, self.q, self.partial)
        return self.q, float(np.sum(self.partial).real)

    def reduce_residual(self, r: Array, q: Array, alpha: float) -> tuple[Array, float]:
        """Update r in place and return it with its norm."""
        self.kernels.residual_pass(r, q, self.real(alpha), self.partial)
        return r, math.sqrt(float(np.sum(self.partial).real))

    def advance_both(self, x: Array, p: Array, z: Array, alpha: float, beta: float) -> tuple[Array, Array]:
        """Update x and p in place and return them."""
        self.kernels.direction_pass(x, p, z, self.real(alpha), self.real(beta))
        return x, p
