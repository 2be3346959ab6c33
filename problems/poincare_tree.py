"""A tree embedded in the Poincaré ball (Nickel and Kiela 2017)."""

from __future__ import annotations

import numpy as np
from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.problem import Problem
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.manifolds.poincare_ball import PoincareBall
from refopt.problems.common import check_batch, check_point, frozen

NICKEL = Source("nickel-2017-poincare", "M. Nickel, D. Kiela",
    "Poincaré Embeddings for Learning Hierarchical Representations", arxiv="1705.08039")  # fmt: skip


@register(
    "poincare-tree",
    kind="problem",
    source=NICKEL,
    where="equation (5), with all that is unrelated as negatives",
)
class PoincareTree(Problem):
    """Embed a balanced tree: points of the ball, near to ancestors and far from what is unrelated.

    ``f = -mean over (u, v) of log( e^{-d(u, v)} / (e^{-d(u, v)} + Σ_{v' ∈ N(u)} e^{-d(u, v')}) )``: v is an ancestor of u,
    N(u) what is neither u, nor above, nor below it, d the distance of the ball of curvature -1.

    Parameters
    ----------
    branching : int
        Children of a node, at least 2.
    depth : int
        Levels below the root, at least 2.
    dim : int
        Of the ball, at least 1.

    Attributes
    ----------
    manifold : PoincareBall
        What the methods on manifolds move on.
    related, unrelated : array of shape (nodes, nodes)
        1 where column v is an ancestor of row u, or unrelated to it; 0 elsewhere.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        A number out of its range, or more than 1000 nodes.

    Examples
    --------
    >>> from refopt.problems.poincare_tree import PoincareTree
    >>> PoincareTree(branching=2, depth=3).start().shape
    (15, 2)
    """

    def __init__(self, branching: int = 2, depth: int = 3, dim: int = 2) -> None:
        check_number(branching, "int [2, inf)", "branching")
        check_number(depth, "int [2, inf)", "depth")
        check_number(dim, "int [1, inf)", "dim")
        n = sum(branching**k for k in range(depth + 1))
        if n > 1000:
            raise ArgumentError(f"depth: wanted a tree of at most 1000 nodes, got {n}")
        above = np.zeros((n, n))
        for u in range(1, n):
            parent = (u - 1) // branching
            above[u] = above[parent]
            above[u, parent] = 1.0
        self.manifold = PoincareBall()
        self.dim, self.nodes = int(dim), n
        self.related = frozen(above)
        self.unrelated = frozen(1.0 - above - above.T - np.eye(n))
        self._pairs = float(above.sum())
        self._same = frozen(np.eye(n))

    def start(self, seed: int = 0) -> Array:
        """Return points near the centre, uniform in [-0.1, 0.1]."""
        return generator(seed, "start").uniform(-0.1, 0.1, (self.nodes, self.dim))

    def project(self, x: Array) -> Array:
        """Return the nearest point of the closed ball of radius 1 - 1e-5, in float32 of 1 - 4e-3."""
        check_point(x, {"": (self.nodes, self.dim)})
        return self.manifold.project(x)

    def _distances(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """Return the differences, ``1 - ||x||^2``, ``sinh^2(d / 2)`` and d of all pairs; 1 for a node and itself."""
        xp = namespace(x)
        gaps = x[:, None, :] - x[None, :, :]
        rest = 1.0 - xp.sum(x * x, axis=1)
        q = xp.sum(gaps * gaps, axis=2) / (rest[:, None] * rest[None, :])
        q = q + self._data("_same", x)
        return gaps, rest, q, 2.0 * xp.asinh(xp.sqrt(q))

    def value(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return f(x)."""
        check_batch(batch, None)
        check_point(x, {"": (self.nodes, self.dim)})
        xp, d = namespace(x), self._distances(x)[3]
        near, others = xp.exp(-d), xp.sum(self._data("unrelated", x) * xp.exp(-d), axis=1)
        return xp.sum(self._data("related", x) * (d + xp.log(near + others[:, None]))) / self._pairs

    def grad(self, x: Array, batch: np.ndarray | None = None) -> Array:
        """Return the Euclidean gradient; the Riemannian one is ``manifold.gradient``'s."""
        check_batch(batch, None)
        check_point(x, {"": (self.nodes, self.dim)})
        xp = namespace(x)
        gaps, rest, q, d = self._distances(x)
        related, unrelated, near = self._data("related", x), self._data("unrelated", x), xp.exp(-d)
        total = near + xp.sum(unrelated * near, axis=1)[:, None]
        # By d: of the pair itself, and of all that is unrelated to u in every pair of u.
        by_d = related * (1.0 - near / total)
        by_d = by_d - unrelated * near * xp.sum(related / total, axis=1)[:, None]
        by_q = by_d / self._pairs / xp.sqrt(q * (1.0 + q))
        by_q = (by_q + by_q.T) * (1.0 - self._data("_same", x))
        scale = rest[:, None] * rest[None, :]
        pull = 2.0 * xp.sum((by_q / scale)[:, :, None] * gaps, axis=1)
        return pull + 2.0 * x * (xp.sum(by_q * q, axis=1) / rest)[:, None]
