"""PSGD with a Kronecker product of triangular or diagonal matrices for every leaf."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import scipy.linalg

from refopt.core import arrays
from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.hyper import hyper
from refopt.core.params import Params, leaves, map_leaves, rebuild
from refopt.core.registry import dialect, register
from refopt.curvature.fitted import LI_2024, start_scale, towards_symmetry
from refopt.matrix.largest import largest_singular
from refopt.optimizers.common.modes import mode_gram, mode_product
from refopt.optimizers.second_order.psgd import (
    LI_2018,
    POOLADZANDI,
    PSGD,
    Recent,
    largest,
    share,
)

# The factors of one leaf: matrices, or vectors for diagonal ones.
Factors = tuple[Array, ...]


def norm_bound(A: Array) -> float:
    """Return a lower bound of the spectral norm: one power step from the longest row or column, in A's units.

    On matrices of many kinds it is above the norm over sqrt(2) (psgd_torch).
    """
    top, xp = largest(A), namespace(A)
    if top == 0.0:
        return 0.0
    A = A / top
    columns, rows = xp.sum(A * A, axis=0), xp.sum(A * A, axis=1)
    if float(xp.max(columns)) > float(xp.max(rows)):
        A = xp.matrix_transpose(A)
        rows = columns
    x = A @ A[int(xp.argmax(rows)), :]
    return top * arrays.norm(xp.matrix_transpose(A) @ (x / arrays.norm(x)))


def through(factors: Factors, G: Array) -> Array:
    """Return Q G: every factor along its axis."""
    for axis, q in enumerate(factors):
        G = one_axis(q, G, axis)
    return G


def back(factors: Factors, G: Array) -> Array:
    """Return Qᵀ G."""
    for axis, q in enumerate(factors):
        G = along(q, G, axis) if q.ndim == 1 else mode_product(G, axis, q)
    return G


def inverse_back(factors: Factors, G: Array) -> Array:
    """Return Q⁻ᵀ G."""
    for axis, q in enumerate(factors):
        if q.ndim == 1:
            G = along(1.0 / q, G, axis)
        else:
            xp = namespace(G)
            front = xp.moveaxis(G, axis, 0)
            solved = transposed_solve(q, xp.reshape(front, (front.shape[0], -1)))
            G = xp.moveaxis(xp.reshape(solved, front.shape), 0, axis)
    return G


def transposed_solve(q: Array, G: Array) -> Array:
    """Return ``Q⁻ᵀ G`` of an upper triangular Q."""
    if type(q) is np.ndarray:
        # A quarter of the work of a solver that knows no triangles; the array API has none that does.
        return scipy.linalg.solve_triangular(q, G, trans=1, check_finite=False)
    return namespace(q).linalg.solve(namespace(q).matrix_transpose(q), G)


def one_axis(q: Array, G: Array, axis: int) -> Array:
    """Return one factor's Q_i G along its axis."""
    return along(q, G, axis) if q.ndim == 1 else mode_product(G, axis, namespace(q).matrix_transpose(q))


def along(q: Array, G: Array, axis: int) -> Array:
    """Return G times a vector along `axis`."""
    shape = [1] * G.ndim
    shape[axis] = q.shape[0]
    return G * namespace(q).reshape(q, tuple(shape))


def contraction(q: Array, A: Array, axis: int) -> Array:
    """Return the inner products of A's slices along `axis`, for a diagonal factor only those of a slice with itself."""
    if q.ndim == 2:
        return mode_gram(A, axis)
    return namespace(A).sum(A * A, axis=tuple(i for i in range(A.ndim) if i != axis))


def balanced(factors: Factors) -> Factors:
    """Return the factors with equal largest entries, and the same product."""
    tops = [largest(f) for f in factors]
    # By logarithms: the product of many is out of range.
    mean = math.exp(sum(map(math.log, tops)) / len(tops))
    return tuple(mean / top * f for f, top in zip(factors, tops))


class _Kronecker(PSGD):
    """Triangular or diagonal factors of every leaf; a subclass says along which axes, and how long steps are."""

    balance_probability: float = hyper(
        0.01, "[0, 1]", "Of bringing a leaf's factors to equal largest entries before an update."
    )

    def shaped(self, leaf: Array) -> Array:
        """Return a leaf as the tensor whose axes have factors."""
        raise NotImplementedError

    def unshaped(self, G: Array, leaf: Array) -> Array:
        """Return such a tensor in the shape of its leaf."""
        raise NotImplementedError

    def diagonal(self, size: int, shape: tuple[int, ...]) -> bool:
        """Tell whether the factor of an axis is diagonal."""
        raise NotImplementedError

    def scale(self, v: Array | None, h: Array) -> float:
        """Return the multiple of I that a leaf's Q begins as."""
        raise NotImplementedError

    def start(self, v: Params | None, h: Params, rng: np.random.Generator) -> Any:
        """Return the first factors of every leaf."""
        others = {} if v is None else leaves(v)
        return {name: self.first(leaf, others.get(name)) for name, leaf in leaves(h).items()}

    def first(self, h: Array, v: Array | None, scale: float | None = None) -> dict[str, Any]:
        """Return a leaf's first factors, multiples of the identity, and sizes of zero."""
        G, xp = self.shaped(h), namespace(h)
        if scale is None:
            scale = self.scale(v, h) if self.init_scale is None else self.init_scale
        c = scale ** (1.0 / G.ndim)
        out = []
        for n in G.shape:
            eye = eye_like(G, n)
            out.append(c * (xp.sum(eye, axis=0) if self.diagonal(n, tuple(G.shape)) else eye))
        return {"factors": tuple(out), "sizes": (0.0,) * G.ndim}

    def fit(self, q: Any, v: Params, h: Params, rng: np.random.Generator) -> Any:
        """Return every leaf's factors after a step."""
        vs, hs = leaves(v), leaves(h)
        return {name: self.moved(q[name], self.shaped(vs[name]), self.shaped(hs[name]), rng) for name in q}

    def moved(self, q: dict[str, Any], v: Array, h: Array, rng: np.random.Generator) -> dict[str, Any]:
        """Return one leaf's factors after a step: all see the same ``A = Q h`` and ``B = Q⁻ᵀ v``."""
        factors: Factors = q["factors"]
        if h.ndim > 1 and rng.random() < self.balance_probability:
            factors = balanced(factors)
        A, B = through(factors, h), inverse_back(factors, v)
        new, sizes = [], []
        for axis, (f, kept) in enumerate(zip(factors, q["sizes"])):
            first, second = contraction(f, A, axis), contraction(f, B, axis)
            bracket = first - second if f.ndim == 1 else namespace(f).triu(first - second)
            measured = first + second if self.normalizer == "second" else bracket
            size = self.remembered(kept, largest(measured) if f.ndim == 1 else norm_bound(measured))
            rho = share(self.mu, size)
            new.append(f - rho * (bracket * f if f.ndim == 1 else bracket @ f))
            sizes.append(size)
        return {"factors": tuple(new), "sizes": tuple(sizes)}

    def remembered(self, kept: float, size: float) -> float:
        """Return what a step of a factor is divided by."""
        return size

    def precondition(self, q: Any, g: Params) -> Params:
        """Return ``P g``."""
        out = {}
        for name, leaf in leaves(g).items():
            factors = q[name]["factors"]
            out[name] = self.unshaped(back(factors, through(factors, self.shaped(leaf))), leaf)
        return rebuild(g, out)


def as_matrix(shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Return the order of axes, and how many are rows, of the matrix with the least sum of squared sides."""
    best, found = math.inf, (tuple(range(len(shape))), 1)
    for order in itertools.permutations(range(len(shape))):
        for rows in range(1, len(shape)):
            sides = [math.prod(shape[i] for i in part) for part in (order[:rows], order[rows:])]
            if sides[0] ** 2 + sides[1] ** 2 < best:
                best, found = sides[0] ** 2 + sides[1] ** 2, (order, rows)
    return found


@register("psgd-affine", source=LI_2018, where="the affine group, with triangular and diagonal factors", needs=("grad", "hvp"), also=(POOLADZANDI,), calm_problem=("matrix-sensing", {"n": 4, "rank": 2}))  # fmt: skip
class PSGDAffine(_Kronecker):
    """PSGD with ``Q = Q2 ⊗ Q1`` for every leaf as a matrix, both factors upper triangular or diagonal.

    ``A = Q1 H Q2ᵀ``, ``B = Q1⁻ᵀ V Q2⁻¹``; ``Q1 ← Q1 - μ triu(A Aᵀ - B Bᵀ) Q1 / ‖A Aᵀ + B Bᵀ‖``,
    ``Q2 ← Q2 - μ triu(Aᵀ A - Bᵀ B) Q2 / ‖Aᵀ A + Bᵀ B‖``, both from the same A and B; ``W ← W - η Q1ᵀ Q1 G Q2ᵀ Q2``. The
    norm is the spectral one, by a lower bound (`norm_bound`); a diagonal factor has the sums of squares of rows or columns and
    their largest.

    Notes
    -----
    A vector is a matrix of one row. A leaf of more axes is split where, over all orders of its axes, the two sides'
    sum of squares is least. The whitened gradient has no damping here, and Q begins as ``(Σ v² / Σ h²)^(1/4) I``.
    ``normalizer="first"``: the norm of the bracket itself.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("matrix-sensing", n=4, rank=2)
    >>> r = refopt.minimize(p, "psgd-affine", lr=0.1, steps=100)
    >>> bool(r.fun < 1e-2 * r.history["value"][0])
    True
    """

    max_size: float = hyper(math.inf, "[0, inf]", "Longer sides have diagonal factors.")
    max_skew: float = hyper(math.inf, "[0, inf]", "So has a side longer than this many times the other.")
    words = {"damping": "Not used."}

    def shaped(self, leaf: Array) -> Array:
        """Return a leaf as a matrix."""
        xp = namespace(leaf)
        if leaf.ndim == 2:
            return leaf
        if leaf.ndim < 2:
            return xp.reshape(leaf, (1, -1))
        order, rows = as_matrix(tuple(leaf.shape))
        turned = xp.permute_dims(leaf, order)
        return xp.reshape(turned, (math.prod(turned.shape[:rows]), -1))

    def unshaped(self, G: Array, leaf: Array) -> Array:
        """Return a matrix in the shape of its leaf."""
        xp = namespace(G)
        if leaf.ndim <= 2:
            return xp.reshape(G, leaf.shape)
        order, _ = as_matrix(tuple(leaf.shape))
        turned = xp.reshape(G, tuple(leaf.shape[i] for i in order))
        return xp.permute_dims(turned, tuple(int(i) for i in np.argsort(order)))

    def diagonal(self, size: int, shape: tuple[int, ...]) -> bool:
        """Tell whether the factor of a side is diagonal."""
        other = math.prod(shape) // size
        return size < 2 or size > self.max_size or size > self.max_skew * other

    def scale(self, v: Array | None, h: Array) -> float:
        """Return ``(Σ v² / Σ h²)^(1/4)``, for the whitening form with the number of entries above."""
        size = arrays.norm(h)
        above = math.sqrt(math.prod(h.shape)) if v is None else arrays.norm(v)
        return math.sqrt(above / size) if size > 0.0 else 1.0

    def damp(self, g: Params, v: Params) -> Params:
        """Return the gradient as it is."""
        return g


@register("psgd-kron", source=LI_2024, where="Kronecker-product preconditioners of any order, E Q on triangular matrices", needs=("grad", "hvp"), also=(POOLADZANDI, LI_2018), calm_problem=("matrix-sensing", {"n": 4, "rank": 2}))  # fmt: skip
class PSGDKron(Recent, _Kronecker):
    """PSGD with ``Q = Q_1 ⊗ … ⊗ Q_k``, a triangular or diagonal factor for every axis of a leaf.

    ``A = Q h``, ``B = Q⁻ᵀ v``; with A_i, B_i unfolded along axis i, ``T1 = A_i A_iᵀ``, ``T2 = B_i B_iᵀ``,
    ``L_i ← max(0.9 L_i + 0.1 ‖T1 + T2‖, ‖T1 + T2‖)`` from 0, ``Q_i ← Q_i - (μ / L_i) triu(T1 - T2) Q_i``, all from the same
    A and B; ``x ← x - η QᵀQ g``. The norm is the spectral one, by a lower bound (`norm_bound`); for a diagonal
    factor T1 and T2 are diagonals, and the norm is the largest entry.

    Notes
    -----
    The factor of an axis of size n is diagonal for n = 1, for ``n > max_size``, and for ``n² > max_skew`` times the leaf's
    number of entries: with max_skew = 1 a vector has a diagonal, and a matrix of unequal sides a triangle on the
    shorter. ``normalizer="first"``: the norm of the bracket, without memory.

    The other geometries have full factors and no inverse. With u = P h, w = v, for ``qep`` each further multiplied by
    Q_i along the axis, ``T1 = u_i u_iᵀ``, ``T2 = w_i w_iᵀ``, and in the whitening form T2's mean over v, the leaf's entries over
    those of the axis times I (``Q_i Q_iᵀ``), E = T1 - T2: ``qeq`` ``Q_i ← Q_i - ρ Q_i E``; ``half`` ``Q_i ← Q_i - ρ E Q_i`` and a
    turn towards symmetry (`refopt.curvature.fitted.towards_symmetry`); ``quad`` both, half a step each, and the symmetric
    part; ``qep`` ``Q_i ← Q_i - ρ E Q_i``, after balancing. Their norm is exact; the author's code draws a bound of it.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("matrix-sensing", n=4, rank=2)
    >>> r = refopt.minimize(p, "psgd-kron", lr=0.1, steps=100)
    >>> bool(r.fun < 1e-2 * r.history["value"][0])
    True
    """

    max_size: float = hyper(math.inf, "[0, inf]", "Longer axes have diagonal factors.")
    max_skew: float = hyper(1.0, "[0, inf]", "See above.")
    geometry: str = hyper(
        "eq", ("eq", "qeq", "half", "qep", "quad"), "See above; ``half`` is Q^(1/2) E Q^(3/2)."
    )
    shared_start: bool = hyper(False,
        words="True: in the whitening form all leaves begin with the scale of the one whose mean g⁴ is largest.")  # fmt: skip

    def clipped(self, step: Params) -> Params:
        """Return the preconditioned step, leaf by leaf made smaller where it is too large."""
        return map_leaves(self.smaller, step)

    def start(self, v: Params | None, h: Params, rng: np.random.Generator) -> Any:
        """Return the first factors of every leaf."""
        if not self.shared_start or v is not None or self.init_scale is not None:
            return super().start(v, h, rng)
        scale = min(
            (start_scale(None, leaf) for leaf in leaves(h).values() if largest(leaf) > 0.0), default=1.0
        )
        # (mean g⁴ + damping⁴)^(-1/8), the scale being mean(g⁴)^(-1/8).
        scale = (scale**-8 + self.damping**4) ** (-1 / 8)
        return {name: self.first(leaf, None, scale) for name, leaf in leaves(h).items()}

    def moved(self, q: dict[str, Any], v: Array, h: Array, rng: np.random.Generator) -> dict[str, Any]:
        """Return one leaf's factors after a step in the geometry."""
        if self.geometry == "eq":
            return super().moved(q, v, h, rng)
        factors: Factors = q["factors"]
        # QEP's L is not that of another scale of the factor.
        if h.ndim > 1 and (self.geometry == "qep" or rng.random() < self.balance_probability):
            factors = balanced(factors)
        u, total = back(factors, through(factors, h)), math.prod(h.shape)
        new, sizes = [], []
        for axis, (f, kept) in enumerate(zip(factors, q["sizes"])):
            n, Qu, Qv = f.shape[0], u, v
            if self.geometry == "qep":
                Qu, Qv = one_axis(f, u, axis), one_axis(f, v, axis)
            first = contraction(f, Qu, axis)
            if self.form == "newton":
                second = contraction(f, Qv, axis)
            elif self.geometry == "qep":
                second = total / n * (f * f if f.ndim == 1 else f @ namespace(f).matrix_transpose(f))
            else:
                second = total / n * (namespace(f).ones_like(f) if f.ndim == 1 else eye_like(f))
            measured = first + second if self.normalizer == "second" else first - second
            if f.ndim == 1:
                size = self.remembered(kept, largest(measured))
            else:
                size = self.remembered(kept, largest_singular(measured))
            new.append(self.turned(f, share(self.mu, size) * (first - second)))
            sizes.append(size)
        return {"factors": tuple(new), "sizes": tuple(sizes)}

    def turned(self, f: Array, E: Array) -> Array:
        """Return a factor after a step by E, ρ in it."""
        if f.ndim == 1:
            return f * (1.0 - E / 2.0) ** 2 if self.geometry == "quad" else f * (1.0 - E)
        if self.geometry == "qeq":
            return f - f @ E
        if self.geometry == "quad":
            f = f - E @ f / 2.0
            f = f - f @ E / 2.0
            return (f + namespace(f).matrix_transpose(f)) / 2.0
        f = f - E @ f
        return towards_symmetry(f) if self.geometry == "half" else f

    def shaped(self, leaf: Array) -> Array:
        """Return a leaf as it is, a scalar with one axis."""
        return leaf if leaf.ndim else namespace(leaf).reshape(leaf, (1,))

    def unshaped(self, G: Array, leaf: Array) -> Array:
        """Return a tensor in the shape of its leaf."""
        return namespace(G).reshape(G, leaf.shape)

    def diagonal(self, size: int, shape: tuple[int, ...]) -> bool:
        """Tell whether the factor of an axis is diagonal."""
        return size == 1 or size > self.max_size or size * size > self.max_skew * math.prod(shape)

    def scale(self, v: Array | None, h: Array) -> float:
        """Return what `start_scale` says of the leaf."""
        return start_scale(v, h)

    def remembered(self, kept: float, size: float) -> float:
        """Return L_i."""
        return max(0.9 * kept + 0.1 * size, size) if self.normalizer == "second" else size

    def damp(self, g: Params, v: Params) -> Params:
        """Return every leaf's damped gradient."""
        return map_leaves(self.damped, g, v)


dialect(PSGDKron, "official", "lixilinx/psgd_torch psgd.py KronWhiten, of October 2025",
    "the class drops axes of 1 first, which here have factors of one entry",
    form="whitening", geometry="half", lr=1e-3, damping=1e-9, entrywise=True, shared_start=True, warmup=True, max_rms=2.0,
    max_entry=10.0)  # fmt: skip
