"""Recovery of a low-rank matrix from some of its entries."""

from __future__ import annotations

import math

import numpy as np
from refopt.core.arrays import Array, like, namespace
from refopt.core.errors import ArgumentError, ShapeError
from refopt.core.hyper import check_number
from refopt.core.registry import register
from refopt.core.rng import generator
from refopt.problems.common import check_batch, check_point, count, frozen, rows
from refopt.problems.sensing import (
    SCALED_GD,
    QuadraticResidual,
    check_sizes,
    incoherence,
    orthonormal,
    padded,
    spectrum,
)  # fmt: skip

Params = dict[str, Array]


@register(
    "matrix-completion",
    kind="problem",
    source=SCALED_GD,
    where="the matrix completion experiment, loss ||P_Omega(L R^T - M*)||^2 / (2 p)",
)
class MatrixCompletion(QuadraticResidual):
    """Matrix completion ``f(L, R) = ||P_Omega(L R^T - M*)||_F^2 / (2 p)`` from a random set Omega of entries.

    Parameters are ``{"L": (n1, search_rank), "R": (n2, search_rank)}``; every entry is in Omega with
    probability p, independently. The examples are the N observed entries, row by row; a batch of B of
    them has ``f = N / (2 p B) sum e_ij^2``, so that on all of them it is the above, and as least squares
    ``r = sqrt(N / (p B)) e``.

    Parameters
    ----------
    n1, n2 : int
        Sizes of M*.
    rank : int
        Of M*.
    search_rank : int, optional
        Columns of L and R; the rank if left out.
    p : float
        Probability that an entry is observed, in (0, 1].
    condition_number : float
        kappa of M*: singular values are evenly spaced from 1 to 1/kappa.
    noise : float
        Standard deviation of normal noise on each observed entry, relative to the root mean square of M*.
    init : {"spectral", "random"}
        ``"spectral"``: the best approximation of P_Omega(M*) / p of the searched rank, its factors balanced,
        whatever the start's seed. ``"random"``: `init_scale` times entries N(0, 1/n).
    init_scale : float
        alpha of the random start.
    seed : int
        Of the truth, Omega and the noise.

    Attributes
    ----------
    truth : array of shape (n1, n2)
        M*.
    observed : array of shape (N, 2)
        The rows and columns of Omega.
    solution : dict
        Balanced factors of M*, with zero columns appended, where search_rank >= rank and there is no noise;
        `optimum` is 0 there.
    rank : int
    truth_condition_number : float
        kappa.
    incoherence : float
        mu of the singular vectors, the larger of both sides.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        Bad sizes or settings; p so small that nothing is observed.

    References
    ----------
    T. Tong, C. Ma, Y. Chi (2021). Accelerating Ill-Conditioned Low-Rank Matrix Estimation via Scaled Gradient
    Descent, arXiv:2005.08898.

    Examples
    --------
    >>> from refopt.problems.matrix_completion import MatrixCompletion
    >>> p = MatrixCompletion(n1=6, n2=4, rank=1, p=0.8)
    >>> {k: v.shape for k, v in p.start().items()}, float(p.value(p.solution)) < 1e-30
    ({'L': (6, 1), 'R': (4, 1)}, True)
    """

    def __init__(
        self,
        n1: int = 40,
        n2: int = 30,
        rank: int = 2,
        search_rank: int | None = None,
        p: float = 0.5,
        condition_number: float = 1.0,
        noise: float = 0.0,
        init: str = "spectral",
        init_scale: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.search_rank = k = check_sizes({"n1": n1, "n2": n2}, rank, search_rank, condition_number, seed)
        check_number(p, "(0, 1]", "p")
        check_number(noise, "[0, inf)", "noise")
        check_number(init_scale, "(0, inf)", "init_scale")
        if init not in ("spectral", "random"):
            raise ArgumentError(f"init: wanted 'spectral' or 'random', got {init!r}")
        if init == "spectral" and k > min(n1, n2):
            raise ArgumentError(f"search_rank: the spectral start wants at most {min(n1, n2)}, got {k}")
        self.n1, self.n2, self.rank, self.p = int(n1), int(n2), int(rank), float(p)
        self.init, self.init_scale = init, float(init_scale)
        self.truth_condition_number = float(condition_number)
        self._shapes = {"L": (self.n1, k), "R": (self.n2, k)}
        rng = generator(seed, "problem")
        u, v, s = orthonormal(rng, n1, rank), orthonormal(rng, n2, rank), spectrum(rank, condition_number)
        self.incoherence = incoherence(u, v)
        self.truth = frozen((u * s) @ v.T)
        self.observed = np.argwhere(rng.random((n1, n2)) < p)
        self.observed.flags.writeable = False
        if len(self.observed) == 0:
            raise ArgumentError(f"p: no entry is observed with p = {p}; wanted a larger one")
        self.n_examples = len(self.observed)
        entries = self.truth[self.observed[:, 0], self.observed[:, 1]]
        if noise:
            size = math.sqrt(float(np.mean(self.truth**2)))
            entries = entries + noise * size * rng.standard_normal(entries.shape)
        elif k >= rank:
            roots = np.sqrt(s)
            self.solution = {"L": frozen(padded(u * roots, k)), "R": frozen(padded(v * roots, k))}
            self.optimum = 0.0
        self.observations = frozen(entries)

    def start(self, seed: int = 0) -> Params:
        """Return the spectral start, or the random one (see `init`)."""
        if self.init == "random":
            rng = generator(seed, "start")
            return {
                key: self.init_scale / math.sqrt(shape[0]) * rng.standard_normal(shape)
                for key, shape in self._shapes.items()
            }
        matrix = np.zeros((self.n1, self.n2))
        matrix[self.observed[:, 0], self.observed[:, 1]] = self.observations / self.p
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        k, roots = self.search_rank, np.sqrt(s[: self.search_rank])
        return {"L": u[:, :k] * roots, "R": vt[:k].T * roots}

    def error(self, x: Params) -> float:
        """Return ``||L R^T - M*||_F / ||M*||_F``."""
        gap = x["L"] @ x["R"].T - self._data("truth", x)
        return math.sqrt(float(namespace(gap).sum(gap * gap))) / float(np.linalg.norm(self.truth))

    def _check(self, x: Params, batch: np.ndarray | None, name: str = "x") -> None:
        check_point(x, self._shapes, name)
        check_batch(batch, self.n_examples)

    def _places(self, batch: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and columns of the batch's entries."""
        places = self.observed if batch is None else self.observed[batch]
        return places[:, 0], places[:, 1]

    def _factor(self, batch: np.ndarray | None) -> float:
        """Return ``sqrt(N / (p B))``."""
        return math.sqrt(len(self.observed) / (self.p * count(self, batch)))

    def _gather(self, left: Array, right: Array, batch: np.ndarray | None) -> Array:
        """Return the batch's entries of ``left right^T``."""
        xp, (i, j) = namespace(left), self._places(batch)
        a = xp.take(left, like(i, left, dtype=xp.int64), axis=0)
        return xp.sum(a * xp.take(right, like(j, right, dtype=xp.int64), axis=0), axis=-1)

    def _scatter(self, u: Array, batch: np.ndarray | None) -> Array:
        """Return the matrix (n1, n2) with u added at the batch's places, which may repeat.

        The array API has no scattered addition. All places are different, so there each entry of the
        matrix looks up its u (or a zero at the end); a batch is a product of indicator matrices.
        """
        xp, (i, j) = namespace(u), self._places(batch)
        if batch is None:
            where = np.full(self.n1 * self.n2, len(i))
            where[i * self.n2 + j] = np.arange(len(i))
            longer = xp.concat([u, xp.zeros_like(u[:1])])
            return xp.reshape(xp.take(longer, like(where, u, dtype=xp.int64), axis=0), (self.n1, self.n2))
        left = like((i[:, None] == np.arange(self.n1)).astype(np.float64), u)
        right = like((j[:, None] == np.arange(self.n2)).astype(np.float64), u)
        return left.T @ (u[:, None] * right)

    def residual(self, x: Params, batch: np.ndarray | None = None) -> Array:
        """Return ``sqrt(N / (p B)) P(L R^T - M*)``, shape (B,)."""
        self._check(x, batch)
        return self._factor(batch) * (
            self._gather(x["L"], x["R"], batch) - rows(self, "observations", x, batch)
        )

    def jvp(self, x: Params, v: Params, batch: np.ndarray | None = None) -> Array:
        """Return ``sqrt(N / (p B)) P(V_L R^T + L V_R^T)``."""
        self._check(x, batch)
        self._check(v, batch, "v")
        moved = self._gather(v["L"], x["R"], batch) + self._gather(x["L"], v["R"], batch)
        return self._factor(batch) * moved

    def vjp(self, x: Params, u: Array, batch: np.ndarray | None = None) -> Params:
        """Return ``Z R`` and ``Z^T L`` with ``Z = sqrt(N / (p B)) P*(u)``."""
        self._check(x, batch)
        size = count(self, batch)
        if tuple(getattr(u, "shape", ())) != (size,):
            raise ShapeError(f"u: wanted shape {(size,)} like the residual, got {getattr(u, 'shape', None)}")
        z = self._scatter(self._factor(batch) * u, batch)
        return {"L": z @ x["R"], "R": z.T @ x["L"]}

    def example_grads(self, x: Params, batch: np.ndarray | None = None) -> Params:
        """Return the gradient of each ``f_ij = N e_ij^2 / (2 p)``: two rows that are not zero."""
        xp, (i, j) = namespace(x["L"]), self._places(batch)
        # r = sqrt(N / (p B)) e and the gradient by e is N e / p.
        e = self.residual(x, batch) * (len(self.observed) / self.p / self._factor(batch))
        out = {}
        for key, other, here, there, n in (("L", "R", i, j, self.n1), ("R", "L", j, i, self.n2)):
            row = e[:, None] * xp.take(x[other], like(there, e, dtype=xp.int64), axis=0)
            indicator = like((here[:, None] == np.arange(n)).astype(np.float64), e)
            out[key] = indicator[:, :, None] * row[:, None, :]
        return out
