"""An expectation over categorical variables, with everything known by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, frozen
from refopt.problems.losses import softmax

LIU = Source("liu-2023-bridging", "L. Liu, C. Dong, X. Liu, B. Yu, J. Gao",
    "Bridging Discrete and Backpropagation: Straight-Through and Beyond", arxiv="2304.08612")  # fmt: skip
MOST = 4096


@register(
    "categorical-latent", kind="problem", source=LIU, where="the expectation whose gradient is estimated"
)
class CategoricalLatent(Problem):
    """``F(θ) = E f(D)`` over m independent one-hot rows ``D_i ~ softmax(θ_i)`` of n categories, θ of shape (m, n).

    ``f(D) = <c, D> + quadratic <D, Q D>/2 + cubic <a, D>³/6`` with normal c, a and symmetric Q. `value` and `grad` are sums over
    all n^m outcomes; `sample_grad` is ∇f at one of them.

    Parameters
    ----------
    variables, categories : int
        m and n, at least 1 and 2, with n^m at most 4096.
    quadratic, cubic : float
    seed : int
        Of c, Q and a.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        A number out of its range.

    Examples
    --------
    >>> from refopt.problems.categorical_latent import CategoricalLatent
    >>> p = CategoricalLatent(variables=2, categories=3)
    >>> p.grad(p.start()).shape, len(p.outcomes)
    ((2, 3), 9)
    """

    def __init__(
        self,
        variables: int = 2,
        categories: int = 4,
        quadratic: float = 1.0,
        cubic: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_number(variables, "int [1, 13)", "variables")
        check_number(categories, "int [2, inf)", "categories")
        if categories**variables > MOST:
            raise ArgumentError(f"categories: wanted at most {MOST} outcomes, got {categories}^{variables}")
        check_number(quadratic, "(-inf, inf)", "quadratic")
        check_number(cubic, "(-inf, inf)", "cubic")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        rng, size = generator(seed, "problem"), variables * categories
        self._shapes = {"": (int(variables), int(categories))}
        self.quadratic, self.cubic = float(quadratic), float(cubic)
        self.linear = frozen(rng.standard_normal(size))
        Q = rng.standard_normal((size, size))
        self.matrix, self.direction = frozen((Q + Q.T) / 2), frozen(rng.standard_normal(size))
        every = itertools.product(np.eye(categories), repeat=variables)
        self.outcomes = frozen(np.array([np.stack(rows) for rows in every]))
        self._values = frozen([self._inner(d.ravel()) for d in self.outcomes])

    def _inner(self, d: np.ndarray) -> float:
        along = float(self.direction @ d)
        return (
            float(self.linear @ d)
            + self.quadratic * float(d @ self.matrix @ d) / 2
            + self.cubic * along**3 / 6
        )

    def start(self, seed: int = 0) -> Array:
        """Return normal logits."""
        return generator(seed, "start").standard_normal(self._shapes[""])

    def _chances(self, x: Array, batch: np.ndarray | None) -> tuple[Array, Array]:
        """Return the softmax, and the probabilities of the outcomes."""
        check_batch(batch, None)
        check_point(x, self._shapes)
        xp, p = namespace(x), softmax(x)
        return p, xp.prod(xp.sum(self._data("outcomes", x) * p[None, ...], axis=2), axis=1)

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return F(θ)."""
        return namespace(x).sum(self._chances(x, batch)[1] * self._data("_values", x))

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return ``Σ P(D) f(D) (D - softmax(θ))``."""
        p, chances = self._chances(x, batch)
        weighted = (chances * self._data("_values", x))[:, None, None]
        return namespace(x).sum(weighted * (self._data("outcomes", x) - p[None, ...]), axis=0)

    def sample_grad(self, x: Array, d: Array) -> Array:
        """Return ∇f at d, whatever θ."""
        check_point(x, self._shapes)
        check_point(d, self._shapes, "d")
        xp, flat = namespace(x), namespace(x).reshape(d, (-1,))
        a = self._data("direction", x)
        g = self._data("linear", x) + self.quadratic * (self._data("matrix", x) @ flat)
        return xp.reshape(g + self.cubic / 2 * xp.sum(a * flat) ** 2 * a, self._shapes[""])
