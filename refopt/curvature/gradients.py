"""Curvature made of examples' gradients: the empirical Fisher matrix, and M-FAC's exact inverse of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.linalg

from refopt.core import params
from refopt.core.arrays import Array, namespace, to_numpy
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.curvature.base import Curvature

KUNSTNER = Source("kunstner-2019-limitations", "F. Kunstner, L. Balles, P. Hennig",
    "Limitations of the Empirical Fisher Approximation for Natural Gradient Descent", arxiv="1905.12558")  # fmt: skip
MFAC = Source("frantar-2021-mfac", "E. Frantar, E. Kurtic, D. Alistarh",
    "M-FAC: Efficient Matrix-Free Approximations of Second-Order Information", arxiv="2107.03356")  # fmt: skip


class _Gradients(Curvature):
    """Base of what is made of the examples' gradients, asked once and kept as a matrix of m rows."""

    needs = ("example_grads",)

    def __init__(self, problem: Any, x: Params, batch: Any = None, *, seed: int = 0) -> None:
        super().__init__(problem, x, batch, seed=seed)
        self._kept: Array | None = None

    @property
    def gradients(self) -> Array:
        """The examples' gradients, shape (m, n), in the library of x."""
        if self._kept is None:
            found = params.leaves(self.oracle.example_grads(self.x))
            xp = namespace(next(iter(found.values())))
            self._kept = xp.concat([xp.reshape(g, (g.shape[0], -1)) for g in found.values()], axis=1)
        return self._kept

    def _flat(self, v: Params) -> Array:
        xp = namespace(self.gradients)
        return xp.concat([xp.reshape(u, (-1,)) for u in params.leaves(v).values()])

    def _like_x(self, flat: Array) -> Params:
        out, start, xp = {}, 0, namespace(flat)
        for name, leaf in params.leaves(self.x).items():
            stop = start + math.prod(leaf.shape)
            out[name] = xp.reshape(flat[start:stop], leaf.shape)
            start = stop
        return params.rebuild(self.x, out)


@register(
    "empirical-fisher",
    kind="curvature",
    source=KUNSTNER,
    where="section 1, the empirical Fisher matrix",
    needs=("example_grads",),
)
class EmpiricalFisher(_Gradients):
    """The empirical Fisher matrix, ``C = (1/m) Σ g_n g_nᵀ``, with the data's own labels.

    ``g_n`` is the gradient of the problem's f_n, without the mean's factor. It is not the Fisher matrix: it vanishes
    where the model fits the data exactly, and is large where it does not.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("logistic")
    >>> C = refopt.curvature("empirical-fisher", p, p.start(0), batch=np.arange(5))
    >>> v = np.ones(C.n)
    >>> bool(np.allclose(C.solve(C @ v + 0.1 * v, damping=0.1), v)), C.calls
    (True, {'example_grads': 1})
    """

    def product(self, v: Params) -> Params:
        """Return C v: two products with the matrix of gradients."""
        g, xp = self.gradients, namespace(self.gradients)
        return self._like_x(xp.matrix_transpose(g) @ (g @ self._flat(v)) / g.shape[0])

    def inverse_product(self, v: Params, damping: float) -> Params:
        """Return ``(C + damping I)^{-1} v`` by the m x m matrix of inner products (Woodbury)."""
        g, flat = self.gradients, self._flat(v)
        if damping == 0.0 or g.shape[0] >= self.n:
            return super().inverse_product(v, damping)
        xp, m = namespace(g), g.shape[0]
        inner = g @ xp.matrix_transpose(g)
        shift = m * damping * xp.eye(m, dtype=g.dtype, device=getattr(g, "device", None))
        weights = xp.linalg.solve(inner + shift, g @ flat)
        return self._like_x((flat - xp.matrix_transpose(g) @ weights) / damping)

    def diagonal(self) -> Params:
        """Return the mean squares of the gradients' entries."""
        xp = namespace(self.gradients)
        return self._like_x(xp.mean(self.gradients * self.gradients, axis=0))

    def spectrum(self) -> np.ndarray:
        """Return the eigenvalues: those of the m x m matrix of inner products, and zeros."""
        g = to_numpy(self.gradients)
        if g.shape[0] >= self.n:
            return super().spectrum()
        found = scipy.linalg.eigvalsh(g @ g.T / g.shape[0])
        return np.sort(np.concatenate([np.zeros(self.n - g.shape[0], dtype=g.dtype), found]))


@register(
    "m-fac-static", kind="curvature", source=MFAC, where="the static algorithm", needs=("example_grads",)
)
class MFACStatic(_Gradients):
    """M-FAC's matrix ``C = λ I + (1/m) Σ g_i g_iᵀ`` with its inverse, products and entries without a matrix.

    With ``v_1 = g_1 / λ`` and ``q_i = m + g_iᵀ v_i``,
    ``v_i = g_i / λ - Σ_{j<i} v_j (v_jᵀ g_i) / q_j`` and ``C^{-1} x = x / λ - Σ_j v_j (v_jᵀ x) / q_j``: Sherman-Morrison,
    once for each of m gradients. O(n m²) once, then O(n m) for a product and O(m) for an entry of the inverse.

    Parameters
    ----------
    damp : float
        λ, in (0, inf).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("logistic")
    >>> C = refopt.curvature("m-fac-static", p, p.start(0), batch=np.arange(5), damp=0.1)
    >>> inverse = np.linalg.inv(C.dense())
    >>> bool(np.isclose(C.inverse_entry(2, 3), inverse[2, 3])), bool(np.allclose(C.inverse_diagonal(), np.diag(inverse)))
    (True, True)
    """

    def __init__(
        self, problem: Any, x: Params, batch: Any = None, *, damp: float = 1e-5, seed: int = 0
    ) -> None:
        check_number(damp, "(0, inf)", "damp")
        super().__init__(problem, x, batch, seed=seed)
        self.damp = float(damp)
        self._pair: tuple[Array, Array] | None = None

    def _precomputed(self) -> tuple[Array, Array]:
        """Return V, shape (m, n), and q, shape (m,)."""
        if self._pair is None:
            g, xp = self.gradients, namespace(self.gradients)
            m = g.shape[0]
            rows: list[Array] = []
            q: list[Array] = []
            for i in range(m):
                v = g[i, :] / self.damp
                if rows:
                    V = xp.stack(rows)
                    v = v - ((V @ g[i, :]) / xp.stack(q)) @ V
                rows.append(v)
                q.append(m + xp.sum(g[i, :] * v))
            self._pair = xp.stack(rows), xp.stack(q)
        return self._pair

    def product(self, v: Params) -> Params:
        """Return C v."""
        g, xp, flat = self.gradients, namespace(self.gradients), self._flat(v)
        return self._like_x(self.damp * flat + xp.matrix_transpose(g) @ (g @ flat) / g.shape[0])

    def inverse_product(self, v: Params, damping: float) -> Params:
        """Return ``(C + damping I)^{-1} v``; a further damping is one of the same kind, with a precomputation of its own."""
        if damping:
            other = MFACStatic.__new__(MFACStatic)
            other.__dict__.update({**self.__dict__, "damp": self.damp + damping, "_pair": None})
            return other.inverse_product(v, 0.0)
        V, q = self._precomputed()
        flat = self._flat(v)
        return self._like_x(flat / self.damp - ((V @ flat) / q) @ V)

    def diagonal(self) -> Params:
        """Return the diagonal of C."""
        g, xp = self.gradients, namespace(self.gradients)
        return self._like_x(self.damp + xp.mean(g * g, axis=0))

    def inverse_diagonal(self) -> Params:
        """Return the diagonal of the inverse, like x: ``1/λ - Σ_j v_ja² / q_j``."""
        V, q = self._precomputed()
        xp = namespace(V)
        return self._like_x(1.0 / self.damp - xp.sum(V * V / q[:, None], axis=0))

    def inverse_entry(self, a: int, b: int) -> float:
        """Return entry (a, b) of the inverse, in the order of the flattened parameters."""
        for value, name in ((a, "a"), (b, "b")):
            check_number(value, f"int [0, {self.n - 1}]", name)
        V, q = self._precomputed()
        return float((a == b) / self.damp) - float(namespace(V).sum(V[:, a] * V[:, b] / q))

    def _assemble(self) -> np.ndarray:
        g = to_numpy(self.gradients)
        return g.T @ g / g.shape[0] + self.damp * np.eye(self.n, dtype=g.dtype)


def removal_scores(C: MFACStatic) -> Params:
    """Return ``θ_a² / (2 [C^{-1}]_aa)``: what setting each parameter to zero costs (Optimal Brain Surgeon).

    Raises
    ------
    ArgumentError
        The inverse's diagonal is not positive: λ is below what the dtype can carry.
    """
    diagonal = C.inverse_diagonal()
    if any(bool(namespace(d).any(d <= 0)) for d in params.leaves(diagonal).values()):
        raise ArgumentError(
            f"damp: {C.damp:g} is below the dtype's rounding of these gradients; wanted a larger one"
        )
    return params.map_leaves(lambda x, d: x * x / (2.0 * d), C.x, diagonal)
