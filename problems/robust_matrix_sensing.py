"""Recovery of a symmetric low-rank matrix from measurements of which some are grossly wrong."""

from __future__ import annotations

import math

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, count, frozen, real_part, rows
from refopt.problems.sensing import SCALED_GD, check_sizes, incoherence, orthonormal, padded, spectrum


@register(
    "robust-matrix-sensing",
    kind="problem",
    source=Source(
        key="ma-2022-robust",
        authors="Jianhao Ma, Salar Fattahi",
        title="Global Convergence of Sub-gradient Method for Robust Matrix Recovery: Small Initialization, "
        "Noisy Measurements, and Over-parameterization",
        arxiv="2202.08788",
    ),
    where="the l1 loss of the measurements",
    also=(SCALED_GD,),
)
class RobustMatrixSensing(Problem):
    """Robust symmetric matrix sensing ``f(U) = (1/m) sum_i |y_i - <A_i, U U^T>|``, y = A(M*) + s.

    A_i = (B_i + B_i^T) / 2 with standard normal B_i (for a symmetric matrix the same measurement as B_i's);
    s has gross errors on a fraction of the entries, and normal noise on all. f has kinks: `grad` is the
    subgradient ``(2/m) sum_i sign(<A_i, U U^T> - y_i) A_i U`` with sign(0) = 0: the exact derivative
    wherever there is one. (The paper's D_t U is half of it; its step sizes absorb the 2.)

    Parameters
    ----------
    n : int
        Size of M*.
    rank : int
        Of M*.
    search_rank : int, optional
        Columns of U; the rank if left out.
    measurements : int, optional
        m; 8 n rank if left out.
    condition_number : float
        kappa of M*: its singular values are evenly spaced from 1 to 1/kappa.
    outliers : float
        Fraction of wrong measurements, in [0, 1); they are floor(outliers * m) in number.
    outlier_scale : float
        A wrong measurement has ``outlier_scale * max|A(M*)| * Uniform(-1, 1)`` added to it.
    noise : float
        Standard deviation of normal noise on each y_i, relative to the root mean square of A(M*).
    init_scale : float
        alpha of the start alpha G, G_ij ~ N(0, 1/n).
    seed : int
        Of the truth, the measurements and the errors.

    Attributes
    ----------
    truth : array of shape (n, n)
        M*.
    errors : array of shape (m,)
        s.
    solution, optimum
        A factor of M* with zero columns appended, and 0, where nothing is wrong or noisy and
        search_rank >= rank; otherwise None (with outliers the truth is what one wants, but no minimum is
        known).
    rank : int
    truth_condition_number : float
        kappa.
    incoherence : float
        Of its eigenvectors.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        Bad sizes or settings.

    References
    ----------
    J. Ma, S. Fattahi (2022). Global Convergence of Sub-gradient Method for Robust Matrix Recovery,
    arXiv:2202.08788. Truth, m and outliers as in the code of T. Tong, C. Ma, Y. Chi (2021), arXiv:2005.08898.

    Examples
    --------
    >>> from refopt.problems.robust_matrix_sensing import RobustMatrixSensing
    >>> p = RobustMatrixSensing(n=6, rank=1, outliers=0.25)
    >>> p.n_examples, int((p.errors != 0).sum())
    (48, 12)
    """

    def __init__(
        self,
        n: int = 20,
        rank: int = 2,
        search_rank: int | None = None,
        measurements: int | None = None,
        condition_number: float = 1.0,
        outliers: float = 0.1,
        outlier_scale: float = 10.0,
        noise: float = 0.0,
        init_scale: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.search_rank = check_sizes({"n": n}, rank, search_rank, condition_number, seed)
        check_number(outliers, "[0, 1)", "outliers")
        check_number(outlier_scale, "[0, inf)", "outlier_scale")
        check_number(noise, "[0, inf)", "noise")
        check_number(init_scale, "(0, inf)", "init_scale")
        if measurements is not None:
            check_number(measurements, "int [1, inf)", "measurements")
        m = 8 * n * rank if measurements is None else int(measurements)
        self.n, self.rank, self.n_examples = int(n), int(rank), m
        self.init_scale, self.truth_condition_number = float(init_scale), float(condition_number)
        rng = generator(seed, "problem")
        u, s = orthonormal(rng, n, rank), spectrum(rank, condition_number)
        self.incoherence = incoherence(u)
        self.truth = frozen((u * s) @ u.T)
        a = rng.standard_normal((m, n, n))
        self.matrices = frozen(((a + np.swapaxes(a, 1, 2)) / 2).reshape(m, n * n))  # A_i as rows
        clean = self.matrices @ self.truth.reshape(-1)
        errors = np.zeros(m)
        wrong = rng.permutation(m)[: math.floor(outliers * m)]
        errors[wrong] = outlier_scale * np.max(np.abs(clean)) * rng.uniform(-1, 1, size=wrong.size)
        errors += noise * math.sqrt(float(np.mean(clean**2))) * rng.standard_normal(m)
        self.errors, self.observations = frozen(errors), frozen(clean + errors)
        if not errors.any() and self.search_rank >= rank:
            self.solution, self.optimum = frozen(padded(u * np.sqrt(s), self.search_rank)), 0.0

    def start(self, seed: int = 0) -> Array:
        """Return ``alpha G`` with G_ij ~ N(0, 1/n)."""
        g = generator(seed, "start").standard_normal((self.n, self.search_rank))
        return self.init_scale / math.sqrt(self.n) * g

    def error(self, x: Array) -> float:
        """Return ``||U U^T - M*||_F / ||M*||_F``."""
        gap = x @ x.T - self._data("truth", x)
        return math.sqrt(float(namespace(x).sum(gap * gap))) / float(np.linalg.norm(self.truth))

    def _gaps(self, x: Array, batch: np.ndarray | None) -> tuple[Array, Array, Array]:
        """Return the A_i as rows, ``<A_i, U U^T> - y_i`` and its sign (taken at the real part)."""
        check_point(x, {"": (self.n, self.search_rank)})
        check_batch(batch, self.n_examples)
        xp, a = namespace(x), rows(self, "matrices", x, batch)
        e = a @ xp.reshape(x @ x.T, (-1,)) - rows(self, "observations", x, batch)
        return a, e, xp.astype(xp.sign(real_part(e)), e.dtype)

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f(U), a 0-d array."""
        _, e, sign = self._gaps(x, batch)
        return namespace(x).mean(sign * e)

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return a subgradient of f, the gradient where f has one."""
        return self.value_and_grad(x, batch)[1]

    def value_and_grad(self, x: Array, batch: np.ndarray | None = None) -> tuple[Array, Array]:
        """Return f(U) and a subgradient."""
        a, e, sign = self._gaps(x, batch)
        xp = namespace(x)
        d = xp.reshape(a.T @ sign, (self.n, self.n))
        return xp.mean(sign * e), (2 / count(self, batch)) * (d @ x)

    def example_grads(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``2 sign_i A_i U`` for each measurement, shape (B, n, search_rank)."""
        a, _, sign = self._gaps(x, batch)
        a = namespace(x).reshape(a, (count(self, batch), self.n, self.n))
        return (2 * sign)[:, None, None] * (a @ x)
