"""Kernel principal components in the dual, plain, robust and sparse (Tonin et al. 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np
from refopt.core.arrays import Array, lengths, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.matrix.common import eigh
from refopt.problems.common import check_batch, check_point, frozen, square
from refopt.problems.data import load

TONIN = Source("tonin-2023-extending", "F. Tonin, A. Lambert, P. Patrinos, J. A. K. Suykens",
    "Extending Kernel PCA through Dualization: Sparsity, Robustness and Fast Algorithms", arxiv="2306.05815")  # fmt: skip
KERNELS = ("gaussian", "laplace", "linear")
VARIANTS = ("plain", "robust", "sparse")
NORMS = ("rows", "entries")


def gram_matrix(inputs: np.ndarray, kernel: str, width: float) -> np.ndarray:
    """Return ``exp(-‖x - y‖²/width²)``, ``exp(-‖x - y‖/width)`` or <x, y> of all pairs of rows."""
    if kernel == "linear":
        return inputs @ inputs.T
    far = np.linalg.norm(inputs[:, None, :] - inputs[None, :, :], axis=-1) / width
    return np.exp(-(far**2) if kernel == "gaussian" else -far)


@register(
    "kpca", kind="problem", source=TONIN, where="the dual of kernel PCA, and its robust and sparse forms"
)
class KPCA(Problem):
    """The dual of kernel PCA: ``f(H) = ‖H‖²/2 - tr (Hᵀ G H)^(1/2)``, H of shape (n, s).

    G is the Gram matrix, not centred. Its gradient is ``H - G H (Hᵀ G H)^(-1/2)``, and ``K(x, X) H`` are the scores
    of new points. Robust: on the set
    where no row (or no entry) of H is longer than `limit`, on which `project` projects. Sparse: with the penalty of `limit`
    times the sum of the rows' norms (or of the entries' absolute values), which `penalty` and `prox` are of.

    Parameters
    ----------
    components : int
        s, at most n.
    kernel : {"gaussian", "laplace", "linear"}
        ``exp(-‖x - y‖²/width²)``, ``exp(-‖x - y‖/width)``, <x, y>.
    width : float
        Positive.
    variant : {"plain", "robust", "sparse"}
    norm : {"rows", "entries"}
        Of the variants.
    limit : float
        κ or ε of the paper, positive.
    data : pair of arrays or path, optional
        X (n, d) with targets that are not looked at; else 12 normal points in three dimensions.
    seed : int
        Of these.

    Attributes
    ----------
    gram_matrix : array of shape (n, n)
    solution, optimum
        Of the plain problem: ``U √Λ``, and minus half the sum of the s largest eigenvalues; all ``U √Λ O`` with orthogonal O are
        as good.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError, NonFiniteError
        A number out of its range, bad data.

    Examples
    --------
    >>> from refopt.problems.kpca import KPCA
    >>> p = KPCA(components=2)
    >>> bool(abs(p.value(p.solution) - p.optimum) < 1e-12)
    True
    """

    def __init__(
        self,
        components: int = 2,
        kernel: str = "gaussian",
        width: float = 2.0,
        variant: str = "plain",
        norm: str = "rows",
        limit: float = 0.5,
        data: Any = None,
        seed: int = 0,
    ) -> None:
        for name, value, allowed in (
            ("kernel", kernel, KERNELS),
            ("variant", variant, VARIANTS),
            ("norm", norm, NORMS),
        ):
            if value not in allowed:
                raise ArgumentError(f"{name}: wanted one of {', '.join(allowed)}, got {value!r}")
        check_number(width, "(0, inf)", "width")
        check_number(limit, "(0, inf)", "limit")
        check_number(seed, "int [0, 18446744073709551616)", "seed")
        inputs = generator(seed, "problem").standard_normal((12, 3)) if data is None else load(data)[0]
        check_number(components, f"int [1, {len(inputs)}]", "components")
        self.variant, self.norm, self.limit = variant, norm, float(limit)
        self.gram_matrix = frozen(gram_matrix(np.asarray(inputs), kernel, float(width)))
        self._shapes = {"": (len(inputs), int(components))}
        if variant == "plain":
            values, vectors = np.linalg.eigh(self.gram_matrix)
            top = np.maximum(values[-components:], 0.0)
            self.solution = frozen(vectors[:, -components:] * np.sqrt(top))
            self.optimum = -float(np.sum(top)) / 2
        if variant == "robust":
            self.project = self._project
        if variant == "sparse":
            self.penalty, self.prox = self._penalty, self._prox

    def start(self, seed: int = 0) -> Array:
        """Return a normal start, of the robust problem the feasible point nearest to it."""
        H = generator(seed, "start").standard_normal(self._shapes[""])
        return self._project(H) if self.variant == "robust" else H

    def gram(self, x: Array) -> Array:
        """Return G H."""
        check_point(x, self._shapes)
        return self._data("gram_matrix", x) @ x

    def _parts(self, x: Array, batch: np.ndarray | None) -> tuple[Array, Array, Array]:
        """Return G H, and the roots of the eigenvalues of Hᵀ G H with their vectors."""
        check_batch(batch, None)
        GH = self.gram(x)
        values, vectors = eigh(x.T @ GH)
        xp = namespace(x)
        return GH, xp.sqrt(xp.where(inverted(values) > 0.0, values, xp.zeros_like(values))), vectors

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f(H)."""
        return square(x) / 2 - namespace(x).sum(self._parts(x, batch)[1])

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the gradient; without the part along which Hᵀ G H is singular."""
        GH, roots, vectors = self._parts(x, batch)
        return x - (GH @ vectors) * inverted(roots) @ vectors.T

    def hvp(self, x: Array, v: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Hessian times v."""
        check_point(v, self._shapes, "v")
        GH, roots, Q = self._parts(x, batch)
        inverse = inverted(roots)
        turned = Q.T @ (v.T @ GH + GH.T @ v) @ Q
        kernel = inverse[:, None] * inverse[None, :] * inverted(roots[:, None] + roots[None, :])
        return v - (self.gram(v) @ Q) * inverse @ Q.T + (GH @ Q) @ (kernel * turned) @ Q.T

    def _sizes(self, x: Array) -> Array:
        check_point(x, self._shapes)
        return namespace(x).abs(x) if self.norm == "entries" else lengths(x, axis=1, keepdims=True)

    def _project(self, x: Array) -> Array:
        """Return x with every row or entry cut to κ."""
        xp, size = namespace(x), self._sizes(x)
        longer = size > self.limit
        return xp.where(longer, x * (self.limit / xp.where(longer, size, xp.ones_like(size))), x)

    def _penalty(self, x: Array) -> Array:
        """Return ε times the sum of the norms."""
        return self.limit * namespace(x).sum(self._sizes(x))

    def _prox(self, x: Array, step: float) -> Array:
        """Return x with every row or entry shortened by ``step ε``, zero where it is not longer."""
        xp, size, less = namespace(x), self._sizes(x), self.limit * step
        longer = size > less
        return xp.where(
            longer, x * (1.0 - less / xp.where(longer, size, xp.ones_like(size))), xp.zeros_like(x)
        )


def inverted(values: Array) -> Array:
    """Return the inverses of nonnegative numbers, and 0 where one is 0 but for rounding."""
    xp = namespace(values)
    least = float(xp.finfo(values.dtype).eps) * xp.max(values)
    some = values > least
    return xp.where(some, 1.0 / xp.where(some, values, xp.ones_like(values)), xp.zeros_like(values))
