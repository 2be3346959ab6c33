"""PSGD with one sparse Q over all parameters: a diagonal, an X, and a diagonal with a low rank beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core import arrays
from refopt.core.arrays import Array, eye_like, like, namespace
from refopt.core.hyper import hyper
from refopt.core.params import Params
from refopt.core.registry import dialect, register
from refopt.curvature.fitted import start_scale
from refopt.optimizers.common.vectors import joined, parted
from refopt.optimizers.second_order.psgd import (
    LI_2015,
    LI_2018,
    LI_2022,
    POOLADZANDI,
    PSGD,
    Recent,
    largest,
    share,
)

Q = dict[str, Any]


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
class PSGDLRA(Recent, _Sparse):
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
    turned: bool = hyper(False,
        words="True: U and V begin with norm sqrt(0.1), are brought to equal norms and turned towards ``UᵀU = VᵀV`` before"
        " every update (`alike`), and ρ is μ over ``L ← max(0.9 L + 0.1 ℓ, ℓ)``, L from 0 and ℓ as above but for d,"
        " ``max |h P h| + max |v P⁻¹ v|``.")  # fmt: skip

    def begin(self, d: Array, rng: np.random.Generator) -> Q:
        """Return the diagonal d beside small random U and V."""
        n = d.shape[0]
        U, V = (like(rng.standard_normal((n, self.rank)), d) for _ in range(2))
        if self.turned:
            return {
                "d": d,
                "U": 0.1**0.5 / arrays.norm(U) * U,
                "V": 0.1**0.5 / arrays.norm(V) * V,
                "L": (0.0, 0.0, 0.0),
            }
        unit = (n * (self.rank + 10)) ** 0.5
        return {"d": d, "U": U / unit, "V": V / unit}

    def moved(self, q: Q, v: Array, h: Array, rng: np.random.Generator) -> Q:
        """Return Q after a step."""
        d, U, V, xp = q["d"], q["U"], q["V"], namespace(v)
        if self.turned:
            U, V = alike(U, V)
        elif rng.random() < self.balance_probability:
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
        if self.normalizer == "first":
            size = largest(bracket)
        elif self.turned:
            size = largest(h * Ph) + largest(v * back)
        else:
            size = float(xp.max(xp.sqrt(Ph * Ph + v * v) * xp.sqrt(h * h + back * back)))
        sizes = list(q["L"]) if self.turned else [0.0, 0.0, 0.0]
        sizes[0] = self.remembered(sizes[0], size)
        new: Q = {"d": d - share(self.mu, sizes[0]) * bracket * d, "U": U, "V": V}
        if rng.random() < 0.5:
            sizes[1] = self.remembered(sizes[1], self.factor_size(a, b, V))
            rho, down = share(self.mu, sizes[1]), Vt
            new["U"] = U - rho * (outer(a, (down @ a) @ M) - outer(b, (down @ b) @ M))
        else:
            sizes[2] = self.remembered(sizes[2], self.factor_size(a, b, U))
            rho, down = share(self.mu, sizes[2]), Ut
            new["V"] = V - rho * (outer(a + V @ (down @ a), down @ a) - outer(b + V @ (down @ b), down @ b))
        return {**new, "L": tuple(sizes)} if self.turned else new

    def remembered(self, kept: float, size: float) -> float:
        """Return what a step of a part is divided by."""
        return max(0.9 * kept + 0.1 * size, size) if self.turned else size

    def factor_size(self, a: Array, b: Array, W: Array) -> float:
        """Return what the step of the factor beside W is measured by."""
        Wt = namespace(W).matrix_transpose(W)
        up, down = W @ (Wt @ a), W @ (Wt @ b)
        if self.normalizer == "second":
            return arrays.norm(a) * arrays.norm(up) + arrays.norm(b) * arrays.norm(down)
        return arrays.norm(outer(a, up) - outer(b, down))

    def damp(self, g: Params, v: Params) -> Params:
        """Return the whitened gradient's h."""
        return parted(self.damped(joined(g), joined(v)), g)

    def clipped(self, step: Params) -> Params:
        """Return the preconditioned step, made smaller where it is too large."""
        return parted(self.smaller(joined(step)), step)

    def applied(self, q: Q, g: Array) -> Array:
        """Return ``P g``."""
        d, U, V, xp = q["d"], q["U"], q["V"], namespace(g)
        g = d * g
        g = g + U @ (xp.matrix_transpose(V) @ g)
        return d * (g + V @ (xp.matrix_transpose(U) @ g))


def alike(U: Array, V: Array) -> tuple[Array, Array]:
    """Return U and V of equal norms, turned towards ``UᵀU = VᵀV``: ``U Vᵀ`` is kept to the fourth power of the turn.

    With U, V of equal norms and ``E = (UᵀU - VᵀV) / (10 (tr UᵀU + tr VᵀV))``: ``U (I - E + E²/2)``, ``V (I + E + E²/2)``.
    """
    xp = namespace(U)
    ratio = (arrays.norm(U) / arrays.norm(V)) ** 0.5
    U, V = U / ratio, V * ratio
    UU, VV = xp.matrix_transpose(U) @ U, xp.matrix_transpose(V) @ V
    E = 0.1 / float(xp.linalg.trace(UU) + xp.linalg.trace(VV)) * (UU - VV)
    square = E @ E / 2.0
    return U - U @ (E - square), V + V @ (E + square)


def outer(a: Array, b: Array) -> Array:
    """Return ``a bᵀ``."""
    return a[:, None] * b[None, :]


def solved(M: Array, b: Array) -> Array:
    """Return ``M⁻¹ b`` for a vector b."""
    return namespace(M).linalg.solve(M, b[:, None])[:, 0]


dialect(PSGDLRA, "official", "lixilinx/psgd_torch psgd.py LRAWhiten, of October 2025", "",
    form="whitening", turned=True, lr=1e-3, damping=1e-9, entrywise=True, warmup=True, max_rms=2.0, max_entry=10.0)  # fmt: skip
