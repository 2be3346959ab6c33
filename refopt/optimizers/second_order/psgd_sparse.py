"""PSGD with one sparse Q over all parameters: a diagonal, an X, and a diagonal with a low rank beside it."""

from __future__ import annotations

import numpy as np

from refopt.core import arrays
from refopt.core.arrays import Array, eye_like, like, namespace
from refopt.core.hyper import hyper
from refopt.core.params import Params
from refopt.core.registry import register
from refopt.curvature.fitted import start_scale
from refopt.optimizers.common.vectors import joined, parted
from refopt.optimizers.second_order.psgd import (
    LI_2015,
    LI_2018,
    LI_2022,
    POOLADZANDI,
    PSGD,
    largest,
    share,
)

Q = dict[str, Array]


class _Sparse(PSGD):
    """Q over the concatenated leaves: subclasses see vectors."""

    def start(self, v: Params | None, h: Params, rng: np.random.Generator) -> Q:
        """Return the first Q from the first pair."""
        flat = joined(h)
        scale = (
            start_scale(None if v is None else joined(v), flat)
            if self.init_scale is None
            else self.init_scale
        )
        return self.begin(namespace(flat).zeros_like(flat) + scale, rng)

    def fit(self, q: Q, v: Params, h: Params, rng: np.random.Generator) -> Q:
        """Return Q after a step on ``hᵀ P h + vᵀ P⁻¹ v``."""
        return self.moved(q, joined(v), joined(h), rng)

    def precondition(self, q: Q, g: Params) -> Params:
        """Return ``P g``."""
        return parted(self.applied(q, joined(g)), g)

    def begin(self, d: Array, rng: np.random.Generator) -> Q:
        """Return the Q that is ``diag(d)``, or begins near it."""
        raise NotImplementedError

    def moved(self, q: Q, v: Array, h: Array, rng: np.random.Generator) -> Q:
        """Return Q after a step."""
        raise NotImplementedError

    def applied(self, q: Q, g: Array) -> Array:
        """Return ``P g``."""
        raise NotImplementedError


@register("psgd-diagonal", source=POOLADZANDI, where="the diagonal group among the general-purpose preconditioners", needs=("grad", "hvp"), also=(LI_2015, LI_2018))  # fmt: skip
class PSGDDiagonal(_Sparse):
    """PSGD with a diagonal Q: every coordinate has its own rate, fitted to pairs (v, h).

    ``A = (q h)² - (v / q)²``, ``q ← q - μ A q / max((q h)² + (v / q)²)``, entrywise; ``x ← x - η q² g``.

    Notes
    -----
    Of ``E[(q h)² + (v / q)²]`` the least is at ``q⁴ = E[v²] / E[h²]``: 1/|H_ii| for a diagonal Hessian H, and whitening
    gives ``q² = E[g²]^(-1/2)``, RMSProp's. It is psgd-lra of rank 0: the bound of its code is this maximum then.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=100.0, diagonal=True)
    >>> r = refopt.minimize(p, "psgd-diagonal", lr=0.2, fit_rate=1.0, steps=200)
    >>> bool(r.fun < 1e-12)
    True
    """

    def begin(self, d: Array, rng: np.random.Generator) -> Q:
        """Return the Q that is ``diag(d)``."""
        return {"d": d}

    def moved(self, q: Q, v: Array, h: Array, rng: np.random.Generator) -> Q:
        """Return Q after a step."""
        d = q["d"]
        a, b = d * h, v / d
        a, b = a * a, b * b
        size = largest(a + b) if self.normalizer == "second" else largest(a - b)
        return {"d": d - share(self.mu, size) * (a - b) * d}

    def applied(self, q: Q, g: Array) -> Array:
        """Return ``P g``."""
        return q["d"] * (q["d"] * g)


@register("psgd-xmat", source=POOLADZANDI, where="the X-matrix group among the general-purpose preconditioners", needs=("grad", "hvp"), also=(LI_2018,))  # fmt: skip
class PSGDXMat(_Sparse):
    """PSGD with an X-shaped Q, ``diag(a) + adiag(b)``: each coordinate is tied to its mirror image in the vector.

    ``p = Q h``, ``w = Q⁻ᵀ v``, ``A = p² - w²``, ``B = p flip(p) - w flip(w)`` (zero in the middle of an odd n),
    ``ρ = μ / max(p² + w²)``, ``a ← a - ρ (A a + B flip(b))``, ``b ← b - ρ (A b + B flip(a))``; ``x ← x - η QᵀQ g``.

    Notes
    -----
    The leaves are one vector, in the dict's order. ``normalizer="first"``: ρ = μ over the largest of |A| and |B|.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=100.0)
    >>> r = refopt.minimize(p, "psgd-xmat", lr=0.3, steps=300)
    >>> bool(r.fun < 1e-4 * r.history["value"][0])
    True
    """

    def begin(self, d: Array, rng: np.random.Generator) -> Q:
        """Return the Q that is ``diag(d)``."""
        return {"a": d, "b": namespace(d).zeros_like(d)}

    def moved(self, q: Q, v: Array, h: Array, rng: np.random.Generator) -> Q:
        """Return Q after a step."""
        a, b, xp = q["a"], q["b"], namespace(v)
        over, under = xp.flip(a), xp.flip(b)
        p = a * h + b * xp.flip(h)
        w = (over * v - under * xp.flip(v)) / (a * over - b * under)
        n = v.shape[0]
        A, B = p * p - w * w, p * xp.flip(p) - w * xp.flip(w)
        if n % 2:
            B = like(np.arange(n) != n // 2, B) * B
        size = largest(p * p + w * w) if self.normalizer == "second" else max(largest(A), largest(B))
        rho = share(self.mu, size)
        return {"a": a - rho * (A * a + B * under), "b": b - rho * (A * b + B * over)}

    def applied(self, q: Q, g: Array) -> Array:
        """Return ``P g``."""
        a, b, xp = q["a"], q["b"], namespace(g)
        cross = a * b
        return (a * a + xp.flip(b * b)) * g + (cross + xp.flip(cross)) * xp.flip(g)


@register("psgd-lra", source=POOLADZANDI, where="the low-rank approximation group", needs=("grad", "hvp"), also=(LI_2022,))  # fmt: skip
class PSGDLRA(_Sparse):
    """PSGD with ``Q = (I + U Vᵀ) diag(d)``, U and V of few columns: a diagonal that a low rank turns.

    ``a = Q h``, ``b = Q⁻ᵀ v``; ``d ← d - ρ (h P h - v P⁻¹ v) d`` entrywise; and by a fair coin either
    ``U ← U - ρ (a aᵀ - b bᵀ) V (I + Vᵀ U)`` or ``V ← V - ρ (I + V Uᵀ) (a aᵀ - b bᵀ) U``. Each ρ is μ over a bound
    of the fit's curvature: ``max sqrt((P h)² + v²) sqrt(h² + (P⁻¹ v)²)`` and ``‖a‖ ‖V Vᵀ a‖ + ‖b‖ ‖V Vᵀ b‖``, with U for V.

    Notes
    -----
    The leaves are one vector. U and V begin as normal numbers over ``sqrt(n (r + 10))``. In one update of a hundred
    U and V are brought to equal norms, which leaves Q as it is. ``normalizer="first"``: the largest entry of d's
    bracket, and the Frobenius norm of ``(a aᵀ - b bᵀ) V Vᵀ``.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=100.0)
    >>> r = refopt.minimize(p, "psgd-lra", lr=0.3, rank=2, steps=300)
    >>> bool(r.fun < 1e-4 * r.history["value"][0])
    True
    """

    rank: int = hyper(10, "int [1, inf)", "r, the columns of U and V.")
    balance_probability: float = hyper(0.01, "[0, 1]", "Of bringing U and V to equal norms before an update.")

    def begin(self, d: Array, rng: np.random.Generator) -> Q:
        """Return the diagonal d beside small random U and V."""
        n = d.shape[0]
        U, V = (
            like(rng.standard_normal((n, self.rank)) / (n * (self.rank + 10)) ** 0.5, d) for _ in range(2)
        )
        return {"d": d, "U": U, "V": V}

    def moved(self, q: Q, v: Array, h: Array, rng: np.random.Generator) -> Q:
        """Return Q after a step."""
        d, U, V, xp = q["d"], q["U"], q["V"], namespace(v)
        if rng.random() < self.balance_probability:
            ratio = (arrays.norm(U) / arrays.norm(V)) ** 0.5
            U, V = U / ratio, V * ratio
        Ut, Vt = xp.matrix_transpose(U), xp.matrix_transpose(V)
        M = eye_like(U) + Vt @ U
        a = d * h
        a = a + U @ (Vt @ a)
        Ph = d * (a + V @ (Ut @ a))
        b = v / d
        b = b - V @ solved(xp.matrix_transpose(M), Ut @ b)
        back = (b - U @ solved(M, Vt @ b)) / d
        bracket = h * Ph - v * back
        if self.normalizer == "second":
            size = float(xp.max(xp.sqrt(Ph * Ph + v * v) * xp.sqrt(h * h + back * back)))
        else:
            size = largest(bracket)
        new = {"d": d - share(self.mu, size) * bracket * d, "U": U, "V": V}
        if rng.random() < 0.5:
            rho, down = self.rates(a, b, V), Vt
            new["U"] = U - rho * (outer(a, (down @ a) @ M) - outer(b, (down @ b) @ M))
        else:
            rho, down = self.rates(a, b, U), Ut
            new["V"] = V - rho * (outer(a + V @ (down @ a), down @ a) - outer(b + V @ (down @ b), down @ b))
        return new

    def rates(self, a: Array, b: Array, W: Array) -> float:
        """Return ρ of the factor beside W."""
        Wt = namespace(W).matrix_transpose(W)
        up, down = W @ (Wt @ a), W @ (Wt @ b)
        if self.normalizer == "second":
            size = arrays.norm(a) * arrays.norm(up) + arrays.norm(b) * arrays.norm(down)
        else:
            size = arrays.norm(outer(a, up) - outer(b, down))
        return share(self.mu, size)

    def applied(self, q: Q, g: Array) -> Array:
        """Return ``P g``."""
        d, U, V, xp = q["d"], q["U"], q["V"], namespace(g)
        g = d * g
        g = g + U @ (xp.matrix_transpose(V) @ g)
        return d * (g + V @ (xp.matrix_transpose(U) @ g))


def outer(a: Array, b: Array) -> Array:
    """Return ``a bᵀ``."""
    return a[:, None] * b[None, :]


def solved(M: Array, b: Array) -> Array:
    """Return ``M⁻¹ b`` for a vector b."""
    return namespace(M).linalg.solve(M, b[:, None])[:, 0]
