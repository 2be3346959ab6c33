"""Recovery of a symmetric low-rank matrix from linear measurements, by its factor."""

from __future__ import annotations

import math

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, count, frozen, rows
from refopt.problems.sensing import (
    OVERPARAMETERISED,
    SCALED_GD,
    QuadraticResidual,
    check_sizes,
    incoherence,
    orthonormal,
    padded,
    spectrum,
)  # fmt: skip


@register(
    "matrix-sensing",
    kind="problem",
    source=OVERPARAMETERISED,
    where="the loss ||A(X X^T) - y||^2 / 4 with Gaussian measurements",
    also=(SCALED_GD,),
)
class MatrixSensing(QuadraticResidual):
    """Symmetric matrix sensing ``f(X) = ||A(X X^T) - y||^2 / 4`` with ``y = A(M*)`` plus noise.

    ``M* = X* X*^T`` (n, n) has the given rank; ``A(M)_i = <A_i, M>`` with random symmetric A_i (diagonal
    entries of twice the variance of the others). X is (n, search_rank) and may have more columns than
    the rank. As least squares, ``r = sqrt(w / (2 B)) (A(X X^T) - y)`` over the B measurements of a batch,
    with w = m for ``scaling="isometric"`` (r = (A(X X^T) - y) / sqrt(2) on all of them) and w = 1 for
    ``"mean"``. The gradient is ``A*(A(X X^T) - y) X``.

    Parameters
    ----------
    n : int
        Size of M*.
    rank : int
        Of M*.
    search_rank : int, optional
        Columns of X; the rank if left out.
    measurements : int, optional
        m; 5 n rank if left out.
    condition_number : float
        kappa of M*, the quotient of its largest and its rank-th singular value (that of X* is its root).
    scaling : {"isometric", "mean"}
        Where 1/m goes. ``"isometric"``: into A_i (diagonal N(0, 1/m), else N(0, 1/(2m))), so that the mean
        of ||A(M)||^2 is ||M||_F^2. ``"mean"``: into the loss, f = sum_i (<A_i, X X^T> - y_i)^2 / (4 m) with
        diagonal N(0, 1), else N(0, 1/2). The functions f are the same.
    operator : {"gaussian", "identity"}
        ``"identity"``: A(M) = M, every entry observed; no batches, and `measurements` and `scaling` have
        no meaning.
    noise : float
        Standard deviation of normal noise on each y_i, relative to the root mean square of A(M*).
    init_scale : float
        alpha of the start X_0 = alpha G, G_ij ~ N(0, 1/n).
    seed : int
        Of the truth, the measurements and the noise.

    Attributes
    ----------
    truth : array of shape (n, n)
        M*.
    solution : array of shape (n, search_rank)
        X*, with zero columns appended, where search_rank >= rank and there is no noise; one of many, as
        f(X O) = f(X) for orthogonal O.
    optimum
        0, where there is a solution.
    rank : int
    truth_condition_number : float
        kappa of M*.
    incoherence : float
        Of its eigenvectors.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        Bad sizes or settings.

    References
    ----------
    X. Xu, Y. Shen, Y. Chi, C. Ma (2023). The Power of Preconditioning in Overparameterized Low-Rank Matrix
    Sensing, arXiv:2302.01186. Truth as in the code of T. Tong, C. Ma, Y. Chi (2021), arXiv:2005.08898.

    Examples
    --------
    >>> from refopt.problems.matrix_sensing import MatrixSensing
    >>> p = MatrixSensing(n=6, rank=2, search_rank=3, seed=1)
    >>> p.start().shape, float(p.value(p.solution)) < 1e-30, p.rank
    ((6, 3), True, 2)
    """

    rank: int

    def __init__(
        self,
        n: int = 20,
        rank: int = 3,
        search_rank: int | None = None,
        measurements: int | None = None,
        condition_number: float = 1.0,
        scaling: str = "isometric",
        operator: str = "gaussian",
        noise: float = 0.0,
        init_scale: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.search_rank = check_sizes({"n": n}, rank, search_rank, condition_number, seed)
        if scaling not in ("isometric", "mean"):
            raise ArgumentError(f"scaling: wanted 'isometric' or 'mean', got {scaling!r}")
        if operator not in ("gaussian", "identity"):
            raise ArgumentError(f"operator: wanted 'gaussian' or 'identity', got {operator!r}")
        check_number(noise, "[0, inf)", "noise")
        check_number(init_scale, "(0, inf)", "init_scale")
        if measurements is not None:
            check_number(measurements, "int [1, inf)", "measurements")
            if operator == "identity":
                raise ArgumentError("measurements: the operator 'identity' observes every entry")
        self.n, self.rank, self.scaling, self.operator = int(n), int(rank), scaling, operator
        self.init_scale, self.truth_condition_number = float(init_scale), float(condition_number)
        rng = generator(seed, "problem")
        u, s = orthonormal(rng, n, rank), spectrum(rank, condition_number)
        self.incoherence = incoherence(u)
        self.truth = frozen((u * s) @ u.T)
        if operator == "identity":
            self._weight, observed = 1.0, self.truth.reshape(-1)
            self.__dict__["example_grads"] = None  # no sum over examples, so this is not offered
        else:
            m = 5 * n * rank if measurements is None else int(measurements)
            a = rng.standard_normal((m, n, n))
            a = (a + np.swapaxes(a, 1, 2)) / 2
            if scaling == "isometric":
                a /= math.sqrt(m)
            self.n_examples, self._weight = m, float(m) if scaling == "isometric" else 1.0
            self.matrices = frozen(a.reshape(m, n * n))  # A_i as rows
            observed = self.matrices @ self.truth.reshape(-1)
        if noise:
            size = math.sqrt(float(np.mean(observed**2)))
            observed = observed + noise * size * rng.standard_normal(observed.shape)
        elif self.search_rank >= rank:
            self.solution, self.optimum = frozen(padded(u * np.sqrt(s), self.search_rank)), 0.0
        self.observations = frozen(observed)

    def start(self, seed: int = 0) -> Array:
        """Return ``alpha G`` with G_ij ~ N(0, 1/n)."""
        g = generator(seed, "start").standard_normal((self.n, self.search_rank))
        return self.init_scale / math.sqrt(self.n) * g

    def error(self, x: Array) -> float:
        """Return ``||X X^T - M*||_F / ||M*||_F``."""
        gap = x @ x.T - self._data("truth", x)
        return math.sqrt(float(namespace(x).sum(gap * gap))) / float(np.linalg.norm(self.truth))

    def rip_estimate(self, rank: int | None = None, draws: int = 100, seed: int = 0) -> float:
        """Return max | ||A(M)||^2 / ||M||_F^2 - 1 | over random symmetric M of a rank (2 `self.rank`).

        A lower bound on the constant of restricted isometry, in the scaling "isometric".
        """
        rng, k = np.random.default_rng(seed), 2 * self.rank if rank is None else rank
        worst = 0.0
        for _ in range(draws):
            b = rng.standard_normal((self.n, k))
            m = (b * rng.choice([-1.0, 1.0], size=k)) @ b.T
            seen = float(np.sum(np.asarray(self._apply(m, None)) ** 2))
            seen *= self._weight / count(self, None) if self.n_examples else 1.0
            worst = max(worst, abs(seen / float(np.sum(m * m)) - 1))
        return worst

    def _apply(self, matrix: Array, batch: np.ndarray | None) -> Array:
        """Return A(M) of the batch, for symmetric M."""
        vector = namespace(matrix).reshape(matrix, (-1,))
        return vector if self.operator == "identity" else rows(self, "matrices", matrix, batch) @ vector

    def _adjoint(self, u: Array, batch: np.ndarray | None) -> Array:
        """Return A*(u), symmetric."""
        if self.operator == "gaussian":
            u = rows(self, "matrices", u, batch).T @ u
        z = namespace(u).reshape(u, (self.n, self.n))
        return (z + z.T) / 2 if self.operator == "identity" else z

    def _factor(self, batch: np.ndarray | None) -> float:
        """Return ``sqrt(w / (2 B))``."""
        return math.sqrt(self._weight / (2 * count(self, batch)))

    def _check(self, x: Array, batch: np.ndarray | None, name: str = "x") -> None:
        check_point(x, {"": (self.n, self.search_rank)}, name)
        check_batch(batch, self.n_examples)

    def residual(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``sqrt(w / (2 B)) (A(X X^T) - y)``, shape (B,)."""
        self._check(x, batch)
        return self._factor(batch) * (self._apply(x @ x.T, batch) - rows(self, "observations", x, batch))

    def jvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``sqrt(w / (2 B)) A(X V^T + V X^T)``."""
        self._check(x, batch)
        self._check(v, batch, "v")
        product = x @ v.T
        return self._factor(batch) * self._apply(product + product.T, batch)

    def vjp(self, x: Array, u: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``sqrt(w / (2 B)) 2 A*(u) X``."""
        self._check(x, batch)
        size = self.n**2 if self.operator == "identity" else count(self, batch)
        if tuple(getattr(u, "shape", ())) != (size,):
            raise ShapeError(f"u: wanted shape {(size,)} like the residual, got {getattr(u, 'shape', None)}")
        return 2 * self._factor(batch) * (self._adjoint(u, batch) @ x)

    def example_grads(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``w (<A_i, X X^T> - y_i) A_i X`` for each measurement, shape (B, n, search_rank)."""
        b = count(self, batch)
        e = self.residual(x, batch) * (self._weight / self._factor(batch))
        a = namespace(x).reshape(rows(self, "matrices", x, batch), (b, self.n, self.n))
        return e[:, None, None] * (a @ x)
