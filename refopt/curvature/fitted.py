"""The inverse of a Hessian's absolute value, fitted to pairs (v, H v) (Li 2024)."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import scipy.linalg

from refopt.core import params
from refopt.core.arrays import Array, check_array, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.core.rng import normal
from refopt.curvature.base import Curvature
from refopt.matrix.largest import largest_singular

LI_2024 = Source(
    "li-2024-stochastic", "X.-L. Li", "Stochastic Hessian Fittings with Lie Groups", arxiv="2402.11858"
)
GEOMETRIES = ("gl", "triangular", "spd", "euclidean", "qeq", "half", "qep", "quad")


def start_scale(v: Array | None, h: Array) -> float:
    """Return ``mean(v²)^(1/4) mean(h⁴)^(-1/8)``, without v 1 for the first; and 1 where h is zero."""
    xp = namespace(h)
    top = float(xp.max(xp.abs(h)))
    if top == 0.0:
        return 1.0
    part = (h / top) ** 2
    scale = float(xp.mean(part * part)) ** (-1 / 8) * top**-0.5
    return scale if v is None else scale * float(xp.mean(v * v)) ** 0.25


class _Fitted(Curvature):
    """A matrix P fitted once to pairs, in float64, and then held."""

    exact = False
    needs = ("hvp",)

    def __init__(self, problem: Any, x: Params, batch: Any, pairs: int | None, seed: int) -> None:
        if pairs is not None:
            check_number(pairs, "int [1, inf)", "pairs")
        super().__init__(problem, x, batch, seed=seed)
        self.pairs = 4 * self.n if pairs is None else int(pairs)

    def pair(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a normal v and H v, as vectors in float64."""
        v = normal(self.oracle.rng, self.x)
        flat = (params.flatten(u).astype(np.float64) for u in (v, self.oracle.hvp(self.x, v)))
        first, second = flat
        return first, second

    def fit(self) -> np.ndarray:
        """Return P."""
        raise NotImplementedError

    @functools.cached_property
    def fitted(self) -> np.ndarray:
        """P in float64; it is fitted when it is first asked for."""
        return self.fit()

    def product(self, v: Params) -> Params:
        """Return P v."""
        return params.unflatten(self.fitted @ params.flatten(v), self.x)

    def _assemble(self) -> np.ndarray:
        return self.fitted.astype(self.dtype)


@register("lie-group-fit", kind="curvature", source=LI_2024, where="fitting in GL(n), triangular matrices, the SPD manifold and Euclidean space", needs=("hvp",))  # fmt: skip
class LieGroupFit(_Fitted):
    """A fit of the inverse of |H| to pairs (v, h = H v), by steps in a group of Q, P = QᵀQ.

    The best P is where ``E[hᵀ P h + vᵀ P⁻¹ v]`` is least. With ``a = Q h``, ``b = Q⁻ᵀ v``, ``u = P h``, ρ = rate / ℓ:

    - ``gl``: ``Q ← Q - ρ (a aᵀ - b bᵀ) Q``, ``ℓ = ‖a‖² + ‖b‖²``; ``triangular``: the bracket's upper triangle;
    - ``spd``: ``P ← P - ρ (u uᵀ - v vᵀ)``, ``ℓ = hᵀ u + vᵀ P⁻¹ v``;
    - ``euclidean``: ``P ← P - rate (h hᵀ - w wᵀ)``, ``w = P⁻¹ v``;
    - without an inverse, ``ℓ = ‖u‖² + ‖v‖²``, ``L ← max(0.9 L + 0.1 ℓ, ℓ)`` from 0, ρ = rate / L: ``qeq``
      ``Q ← Q - ρ Q (u uᵀ - v vᵀ)``; ``half`` ``Q ← Q - ρ (u uᵀ - v vᵀ) Q`` and a rotation towards symmetry (`towards_symmetry`);
      ``quad`` both, half a step each, and Q's symmetric part; ``qep`` as ``gl`` with ``a = Q u``, ``b = Q v``, ``ℓ = ‖a‖² + ‖b‖²``.

    Q begins as ``mean(v²)^(1/4) mean(h⁴)^(-1/8) I``, of the first pair.

    Parameters
    ----------
    geometry : {"gl", "triangular", "spd", "euclidean", "qeq", "half", "qep", "quad"}
    rate : float
        In (0, 2]. For a positive definite H the error of the groups falls by a factor a step at rate 1; for others
        the pairs leave a noise that falls with the rate.
    pairs : int, optional
        How many products are asked for. None: 4 n.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("quadratic", n=3, condition_number=10.0)
    >>> P = refopt.curvature("lie-group-fit", p, np.zeros(3), rate=1.0, pairs=400)
    >>> H = refopt.curvature("hessian", p, np.zeros(3))
    >>> bool(np.allclose(P @ H.dense(), np.eye(3))), P.calls
    (True, {'hvp': 400})
    """

    def __init__(
        self, problem: Any, x: Params, batch: Any = None, *, geometry: str = "gl", rate: float = 0.2,
        pairs: int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        if geometry not in GEOMETRIES:
            raise ArgumentError(
                f"geometry: wanted one of {', '.join(map(repr, GEOMETRIES))}, got {geometry!r}"
            )
        check_number(rate, "(0, 2]", "rate")
        super().__init__(problem, x, batch, pairs, seed)
        self.geometry, self.rate = geometry, float(rate)

    def fit(self) -> np.ndarray:
        """Return P after all pairs."""
        v, h = self.pair()
        scale = start_scale(v, h)
        whole = self.geometry in ("spd", "euclidean")
        F, L = np.eye(self.n) * (scale * scale if whole else scale), 0.0
        for k in range(self.pairs):
            if k:
                v, h = self.pair()
            F, L = self.stepped(F, L, v, h)
        return F if whole else F.T @ F

    def stepped(self, F: np.ndarray, L: float, v: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, float]:
        """Return Q (or P) and L after one pair."""
        for label, given, shape in (("F", F, self.shape), ("v", v, (self.n,)), ("h", h, (self.n,))):
            check_array(given, label, shape=shape)
        if self.geometry in ("gl", "triangular"):
            a, b = (
                F @ h,
                scipy.linalg.solve_triangular(F.T, v, lower=True)
                if self.geometry == "triangular"
                else _solve(F.T, v),
            )
            size = a @ a + b @ b
            if self.geometry == "gl":
                return F - self.rate / size * (np.outer(a, a @ F) - np.outer(b, b @ F)), L
            return F - self.rate / size * np.triu(np.outer(a, a) - np.outer(b, b)) @ F, L
        if self.geometry in ("spd", "euclidean"):
            w = _solve(F, v)
            if self.geometry == "euclidean":
                return F - self.rate * (np.outer(h, h) - np.outer(w, w)), L
            u = F @ h
            return F - self.rate / (h @ u + v @ w) * (np.outer(u, u) - np.outer(v, v)), L
        u = F.T @ (F @ h)
        a, b = (F @ u, F @ v) if self.geometry == "qep" else (u, v)
        size = float(a @ a + b @ b)
        L = max(0.9 * L + 0.1 * size, size)
        rho = self.rate / L
        if self.geometry == "qeq":
            return F - rho * (np.outer(F @ a, a) - np.outer(F @ b, b)), L
        if self.geometry == "quad":
            F = F - rho / 2 * (np.outer(a, a @ F) - np.outer(b, b @ F))
            F = F - rho / 2 * (np.outer(F @ a, a) - np.outer(F @ b, b))
            return (F + F.T) / 2, L
        F = F - rho * (np.outer(a, a @ F) - np.outer(b, b @ F))
        return (towards_symmetry(F) if self.geometry == "half" else F), L


def _solve(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(A, b)
    except np.linalg.LinAlgError:
        raise ArgumentError("rate: the fit has become singular; wanted a smaller rate") from None


def towards_symmetry(Q: Array) -> Array:
    """Return Q turned by ``I + c R + c² R² / 2``, R = (Qᵀ - Q) / ‖Qᵀ - Q‖: a step of the orthogonal Procrustes problem.

    c is 1/8, or less where ``tr(R Q) + c tr(R² Q)`` vanishes before.
    """
    xp = namespace(Q)
    R = xp.matrix_transpose(Q) - Q
    size = largest_singular(R)
    if size == 0.0:
        return Q
    R = R / size
    RQ = R @ Q
    RRQ = R @ RQ
    first, second = float(xp.linalg.trace(RQ)), float(xp.linalg.trace(RRQ))
    c = min(0.125, -first / second) if second < 0.0 else 0.125
    return Q + c * (RQ + c / 2 * RRQ)


@register(
    "closed-form-fit", kind="curvature", source=LI_2024, where="the closed-form solution", needs=("hvp",)
)
class ClosedFormFit(_Fitted):
    """The fit of the inverse of |H| that is best for the pairs seen, ``P = (Σ h hᵀ / k)^(-1/2)``.

    With h = H v, v normal: ``E[h hᵀ] = H²``. The error falls as ``1 / sqrt(k)``, where `lie-group-fit` on a positive definite H has a factor a step.

    Parameters
    ----------
    pairs : int, optional
        k. None: 4 n.
    prior : float
        How many pairs the identity counts for at the start, in [0, inf). With 0, as above, there must be n pairs.
    forget : float
        The least weight of a new pair, in [0, 1); 0.001 in the script, whose error stops falling there.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("quadratic", n=3, condition_number=10.0)
    >>> P = refopt.curvature("closed-form-fit", p, np.zeros(3), pairs=1000)
    >>> H = refopt.curvature("hessian", p, np.zeros(3))
    >>> bool(np.allclose(P @ H.dense(), np.eye(3), atol=0.2))
    True
    """

    def __init__(
        self, problem: Any, x: Params, batch: Any = None, *, pairs: int | None = None, prior: float = 1.0,
        forget: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        check_number(prior, "[0, inf)", "prior")
        check_number(forget, "[0, 1)", "forget")
        super().__init__(problem, x, batch, pairs, seed)
        self.prior, self.forget = float(prior), float(forget)
        if self.pairs < self.n and self.prior == 0.0:
            raise ArgumentError(f"pairs: wanted at least n = {self.n} without a prior, got {self.pairs}")

    def fit(self) -> np.ndarray:
        """Return P after all pairs."""
        mean = np.eye(self.n) if self.prior else np.zeros((self.n, self.n))
        for k in range(1, self.pairs + 1):
            h = self.pair()[1]
            weight = max(1.0 / (k + self.prior), self.forget)
            mean = (1.0 - weight) * mean + weight * np.outer(h, h)
        values, vectors = np.linalg.eigh(mean)
        if values[0] <= self.n * np.finfo(np.float64).eps * values[-1]:
            raise ArgumentError("prior: H is singular to rounding on these pairs; wanted a larger prior")
        return (vectors * values**-0.5) @ vectors.T
