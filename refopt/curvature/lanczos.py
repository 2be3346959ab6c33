"""Stochastic Lanczos quadrature: spectral densities, and what Granziol et al. (2020) set from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from refopt.core import params
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.curvature.base import Curvature, curvature
from refopt.curvature.estimates import PROBES

GRANZIOL = Source("granziol-2020-learning", "D. Granziol, S. Zohren, S. Roberts",
    "Learning Rates as a Function of Batch Size: A Random Matrix Theory Approach to Neural Network Training",
    arxiv="2006.09092")  # fmt: skip
GOLUB = Source("golub-1994-matrices", "G. H. Golub, G. Meurant", "Matrices, moments and quadrature",
    venue="Numerical Analysis 1993, Pitman Research Notes in Mathematics 303, 105-156")  # fmt: skip


def lanczos(
    product: Callable[[np.ndarray], np.ndarray], v: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tridiagonal matrix's diagonal and off-diagonal after at most `steps` products.

    Every vector is orthogonalised against all before it, twice. The run ends early where the Krylov space is
    exhausted: the quadrature is exact then.
    """
    basis = [v / np.linalg.norm(v)]
    alphas: list[float] = []
    betas: list[float] = []
    scale = 0.0
    for k in range(steps):
        w = product(basis[-1])
        alphas.append(float(basis[-1] @ w))
        Q = np.stack(basis, axis=1)
        for _ in range(2):
            w = w - Q @ (Q.T @ w)
        beta = float(np.linalg.norm(w))
        scale = max(scale, abs(alphas[-1]), beta)
        if k + 1 == steps or beta <= 64 * np.finfo(w.dtype).eps * scale * math.sqrt(w.size):
            break
        betas.append(beta)
        basis.append(w / beta)
    return np.array(alphas), np.array(betas[: len(alphas) - 1])


@register("lanczos-quadrature", kind="curvature", source=GRANZIOL, where="stochastic Lanczos quadrature and the batch scaling rules",
    needs=(), also=(GOLUB,))  # fmt: skip
class LanczosQuadrature(Curvature):
    """A curvature's spectral density from Lanczos runs at random vectors.

    From each of `probes` unit vectors v, m steps give a tridiagonal T with eigenvalues θ_i and eigenvectors y_i; the
    measure ``Σ_i (e_1ᵀ y_i)² δ(λ - θ_i)`` has the moments ``vᵀ C^k v``, k <= 2m - 1, exactly, and its mean over
    probes estimates the density of eigenvalues: ``tr f(C) ≈ (n / probes) Σ f(θ) ω``. Products, solves and the dense form are
    those of the curvature that is looked at.

    Parameters
    ----------
    of : str
        The curvature's name; "hessian" by default.
    steps : int
        m, in [1, inf); at most n are made.
    probes : int
        In [1, inf).
    distribution : {"rademacher", "normal"}
    options : dict, optional
        Of the curvature that is looked at.

    Attributes
    ----------
    nodes, weights : array of shape (k,)
        θ, ascending, and ω; the weights sum to 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("quadratic", n=20, condition_number=100.0)
    >>> C = refopt.curvature("lanczos-quadrature", p, np.zeros(20), steps=20, probes=4)
    >>> print(C.extremes().round(4), round(C.weights.sum(), 12))
    [0.01 1.  ] 1.0
    """

    exact = False

    def __init__(
        self, problem: Any, x: Params, batch: Any = None, *, of: str = "hessian", steps: int = 30, probes: int = 1,
        distribution: str = "rademacher", seed: int = 0, options: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        check_number(steps, "int [1, inf)", "steps")
        check_number(probes, "int [1, inf)", "probes")
        if distribution not in PROBES:
            raise ArgumentError(f"distribution: wanted one of {', '.join(PROBES)}, got {distribution!r}")
        if of == "lanczos-quadrature":
            raise ArgumentError("of: wanted another curvature than lanczos-quadrature itself")
        self.of = curvature(of, problem, x, batch, seed=seed, **(options or {}))
        super().__init__(problem, x, batch, seed=seed)
        self.oracle = self.of.oracle
        rng, nodes, weights = generator(seed, "method"), [], []
        for _ in range(probes):
            start = params.flatten(PROBES[distribution](rng, self.x))
            alphas, betas = lanczos(lambda u: self.of @ u.reshape(-1), start, min(int(steps), self.n))
            theta, Y = (
                scipy.linalg.eigh_tridiagonal(alphas, betas) if betas.size else (alphas, np.ones((1, 1)))
            )
            nodes.append(theta)
            weights.append(Y[0] ** 2 / probes)
        order = np.argsort(np.concatenate(nodes), kind="stable")
        self.nodes, self.weights = np.concatenate(nodes)[order], np.concatenate(weights)[order]

    def product(self, v: Params) -> Params:
        """Return C v of the curvature that is looked at."""
        return self.of.product(v)

    def inverse_product(self, v: Params, damping: float) -> Params:
        """Solve with the curvature that is looked at."""
        return self.of.inverse_product(v, damping)

    def trace_of(self, function: Callable[[np.ndarray], np.ndarray]) -> float:
        """Return the estimate of ``tr f(C)``."""
        if not callable(function):
            raise ArgumentTypeError(
                f"function: wanted a function of the nodes, got {type(function).__qualname__}"
            )
        answer = function(self.nodes)
        if np.shape(answer) != self.nodes.shape:
            raise ArgumentTypeError(
                f"function: wanted values of shape {self.nodes.shape} at the nodes, got "
                + ("None; is a `return` missing?" if answer is None else f"shape {np.shape(answer)}")
            )
        return float(self.n * np.sum(self.weights * answer))

    def trace(self) -> float:
        """Return the estimate of the trace, that of Hutchinson from the same vectors."""
        return self.trace_of(lambda theta: theta)

    def spectrum(self) -> np.ndarray:
        """Return the Ritz values, ascending; `weights` are theirs."""
        return self.nodes.copy()

    def extremes(self) -> np.ndarray:
        """Return the least and the greatest Ritz value."""
        return self.nodes[[0, -1]]

    def density(self, at: np.ndarray, sigma: float) -> np.ndarray:
        """Return the density smoothed by normal curves of deviation `sigma`, at the points `at`."""
        check_number(sigma, "(0, inf)", "sigma")
        gaps = (np.asarray(at, dtype=float)[:, None] - self.nodes[None, :]) / sigma
        return np.exp(-0.5 * gaps * gaps) @ self.weights / (sigma * math.sqrt(2 * math.pi))

    def heavy_ball(self) -> tuple[float, float]:
        """Return the rate ``4 / (√L + √μ)²`` and the momentum ``((√L - √μ) / (√L + √μ))²`` of Polyak's heavy ball.

        L is the greatest Ritz value and μ the least positive one.

        Raises
        ------
        ArgumentError
            No Ritz value is positive.
        """
        positive = self.nodes[self.nodes > 0]
        if not positive.size:
            raise ArgumentError("heavy_ball: no Ritz value is positive")
        high, low = math.sqrt(positive[-1]), math.sqrt(positive[0])
        return 4.0 / (high + low) ** 2, ((high - low) / (high + low)) ** 2


def batch_eigenvalue(eigenvalue: float, sigma: float, parameters: int, batch_size: int) -> float:
    """Return where an outlier λ of the whole Hessian stands in that of a batch of b examples.

    The batch adds symmetric noise of semicircle radius ``2 σ √(P/b)``: the outlier is at ``λ + (P/b) σ² / λ`` while
    λ > σ √(P/b), else at the edge. So the largest stable rate of SGD grows with b, linearly while noise
    dominates, until b is about P σ² / λ². The form is the paper's; the
    constants are checked here on random matrices, and were not read in it.
    """
    check_number(eigenvalue, "(0, inf)", "eigenvalue")
    check_number(sigma, "[0, inf)", "sigma")
    check_number(parameters, "int [1, inf)", "parameters")
    check_number(batch_size, "int [1, inf)", "batch_size")
    noise = sigma * math.sqrt(parameters / batch_size)
    return eigenvalue + noise**2 / eigenvalue if eigenvalue > noise else 2.0 * noise
