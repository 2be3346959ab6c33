"""What the matrix-recovery problems share: ground truths, and least squares whose residual is quadratic."""

from __future__ import annotations

from typing import Any

import numpy as np
from refopt.core.arrays import Array
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.params import Params, map_leaves
from refopt.core.problem import Problem
from refopt.core.registry import Source
from refopt.problems.common import square

SEED = "int [0, 18446744073709551616)"

OVERPARAMETERISED = Source(
    key="xu-2023-power",
    authors="Xingyu Xu, Yandi Shen, Yuejie Chi, Cong Ma",
    title="The Power of Preconditioning in Overparameterized Low-Rank Matrix Sensing",
    arxiv="2302.01186",
)
SCALED_GD = Source(
    key="tong-2021-accelerating",
    authors="Tian Tong, Cong Ma, Yuejie Chi",
    title="Accelerating Ill-Conditioned Low-Rank Matrix Estimation via Scaled Gradient Descent",
    arxiv="2005.08898",
)


def check_sizes(sizes: dict[str, Any], rank: Any, search_rank: Any, condition_number: Any, seed: Any) -> int:
    """Check what every recovery problem takes, and return the rank that is searched."""
    for name, value in sizes.items():
        check_number(value, "int [1, inf)", name)
    smallest = min(sizes.values())
    check_number(rank, "int [1, inf)", "rank")
    if rank > smallest:
        raise ArgumentError(f"rank: wanted at most {smallest}, the matrix's smaller size, got {rank}")
    check_number(condition_number, "[1, inf)", "condition_number")
    check_number(seed, SEED, "seed")
    if search_rank is None:
        return int(rank)
    check_number(search_rank, "int [1, inf)", "search_rank")
    return int(search_rank)


def spectrum(rank: int, condition_number: float) -> np.ndarray:
    """Return the truth's singular values: evenly spaced from 1 to 1 / condition_number."""
    return np.linspace(1.0, 1.0 / condition_number, rank)


def orthonormal(rng: np.random.Generator, n: int, rank: int) -> np.ndarray:
    """Return the left singular vectors of a random matrix of signs, as ScaledGD's code draws them."""
    while True:
        signs = rng.integers(0, 2, size=(n, rank)) * 2.0 - 1.0
        u, s, _ = np.linalg.svd(signs, full_matrices=False)
        if s[-1] > 1e-8 * s[0]:  # a small sign matrix may be singular; then draw again
            return u


def padded(factor: np.ndarray, rank: int) -> np.ndarray:
    """Return `factor` with zero columns added up to `rank`."""
    return np.concatenate([factor, np.zeros((len(factor), rank - factor.shape[1]))], axis=1)


def incoherence(*factors: np.ndarray) -> float:
    """Return max over the orthonormal factors of ``(n / r) max_i ||U_i||^2``, between 1 and n / r."""
    return max(float(np.max(np.sum(u * u, axis=1))) * len(u) / u.shape[1] for u in factors)


class QuadraticResidual(Problem):
    """``f(x) = ||r(x)||^2 / 2`` with r quadratic in x plus a constant.

    The Jacobian is linear in the point, so that the part of the Hessian that Gauss-Newton leaves out,
    ``sum_i r_i nabla^2 r_i v``, is the transposed Jacobian *at v* times r. Subclasses give `residual`,
    `jvp` and `vjp`.
    """

    least_squares = True

    def residual(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return r(x), one vector."""
        raise NotImplementedError

    def jvp(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Array:
        """Return the Jacobian of r at x times v."""
        raise NotImplementedError

    def vjp(self, x: Params, u: Array, batch: np.ndarray | None = None) -> Params:
        """Return the transposed Jacobian of r at x times u."""
        raise NotImplementedError

    def value(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return f(x), a 0-d array."""
        return square(self.residual(x, batch)) / 2

    def grad(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of f, ``J^T r``."""
        return self.vjp(x, self.residual(x, batch), batch)

    def value_and_grad(self, x: Params, batch: np.ndarray | None = None) -> tuple[Array, Params]:
        """Return f(x) and its gradient."""
        r = self.residual(x, batch)
        return square(r) / 2, self.vjp(x, r, batch)

    def hvp(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Params:
        """Return the Hessian of f at x times v: the Gauss-Newton part and the curvature of r."""
        gauss_newton = self.vjp(x, self.jvp(x, v, batch), batch)
        return map_leaves(lambda a, b: a + b, gauss_newton, self.vjp(v, self.residual(x, batch), batch))

    def loss_gradient(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return r(x): phi is half the sum of squares."""
        return self.residual(x, batch)

    def loss_hessian(self, x: Params, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return u: the Hessian of phi is the identity."""
        return u
