"""The Spectral Sphere Optimizer: Muon's step within the tangent space of a sphere of the spectral norm (Xie et al. 2026)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.lmo import as_matrix, divided
from refopt.optimizers.first_order.muon import MuonKin

XIE = Source(
    "xie-2026-controlled",
    "T. Xie, H. Luo, H. Tang, Y. Hu, J. K. Liu, Q. Ren, et al.",
    "Controlled LLM Training on Spectral Sphere",
    arxiv="2601.08393",
)
# As the authors' code has Polar Express, to four digits and with its safety factor in the triples alone.
PUBLISHED = (
    (8.2051, -22.9019, 16.4607), (4.0664, -2.8612, 0.5184), (3.9096, -2.8234, 0.5250), (3.2856, -2.4153, 0.4853),
    (2.2779, -1.6198, 0.3985), (1.8726, -1.2307, 0.3585), (1.8564, -1.2132, 0.3568), (1.875, -1.25, 0.375),
)  # fmt: skip


def leading_triple(W: Array, steps: int) -> tuple[Array, Array, Array]:
    """Return σ (one entry), u and v (columns) by `steps` steps of power iteration from a v of ones."""
    xp = namespace(W)
    T, v = xp.matrix_transpose(W), xp.ones_like(W[:1, :])
    v, u = xp.matrix_transpose(v), W[:, :1]
    for _ in range(steps):
        u = W @ v
        u = divided(u, lengths(u, keepdims=True))
        v = T @ u
        v = divided(v, lengths(v, keepdims=True))
    return xp.matrix_transpose(u) @ W @ v, u, v


def root_of(
    f: Callable[[float], float], start: float, first: float, tolerance: float, halvings: int
) -> float:
    """Return where the rising function f is zero: ten doublings away from `start` for a bracket, else `start`; then bisection.

    The best point that was seen is returned, and the first that is within the tolerance.
    """
    value = f(start)
    if abs(value) < tolerance:
        return start
    step = first if value < 0.0 else -first
    low = high = (start, value)
    for _ in range(10):
        new = (low[0] + step, f(low[0] + step))
        if (low[1] <= 0.0) != (new[1] <= 0.0):
            low, high = (new, low) if low[1] > 0.0 else (low, new)
            break
        step, low = 2.0 * step, new
    else:
        return start
    best = min(low, high, key=lambda point: abs(point[1]))
    for _ in range(halvings):
        middle = 0.5 * (low[0] + high[0])
        here = (middle, f(middle))
        best = here if abs(here[1]) < abs(best[1]) else best
        if abs(here[1]) <= tolerance:
            return middle
        low, high = (here, high) if here[1] < 0.0 else (low, here)
    return best[0]


@register("spectral-sphere", source=XIE, where="the algorithm, as in the authors' code sso.py", state_copies=1,
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}))  # fmt: skip
class SpectralSphere(MuonKin):
    """Spectral sphere: the steepest step of a spectral norm that leaves the weights' own spectral norm alone.

    ``B_t = μ B_{t-1} + (1 - μ) G_t``, ``M = ((1 - μ) G_t + μ B_t) / ‖·‖_F``; with the leading σ, u, v of X_{t-1} and ``R = ρ sqrt(m / n)``,
    ``X' = X_{t-1} R / (σ + ε)``, ``Θ = u vᵀ``, λ the root of ``<Θ, msign(M + λ Θ)> = 0`` (which rises with λ),
    ``X_t = X' - η R msign(M + λ Θ)`` for a hidden matrix of m rows and n columns; msign by Newton-Schulz.

    Notes
    -----
    λ starts where the last step left it; where ten doublings find no change of sign it stays. Decay, if there is any, comes before σ.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("spectral-sphere", lr=0.1)
    >>> x = np.diag([3.0, 1.0])
    >>> x, s = o.update(x, np.array([[5.0, 1.0], [-1.0, 2.0]]), o.init(x))
    >>> print(np.linalg.norm(x, 2).round(3))  # 1 but for the square of η
    1.002
    """

    slots = ("m", "lam")
    momentum: float = hyper(0.9, "[0, 1)", "μ.")
    nesterov: bool = hyper(True, words="False: M is B_t over its norm.")
    ns_steps: int = hyper(8, "int [1, inf)")
    coefficients: Any = hyper(PUBLISHED, kind="str or sequence of triples")
    ns_eps_rule: str = hyper("clamp", ("add", "clamp"), "For the same.")
    radius: float = hyper(1.0, "(0, inf)", "ρ.")
    constrained: bool = hyper(True, words="False: X' is X_{t-1}.")
    power_steps: int = hyper(5, "int [1, inf)", "Of the power iteration for σ, u and v.")
    halvings: int = hyper(20, "int [0, inf)", "The most steps of bisection for λ.")
    tolerance: float = hyper(1e-6, "(0, inf)", "Of <Θ, msign(M + λ Θ)>.")
    eps: float = hyper(1e-7, "[0, inf)", "ε; the least norm that M is divided by, too.")

    def rule(self, xp):
        def spectral_sphere(x, g, m, lam, lr, l2, keep, eps):
            m, M = self.averaged(g + l2 * x, m)
            size = lengths(M, keepdims=True)
            M = divided(M, xp.where(size > eps, size, eps))
            X = keep * as_matrix(x)
            sigma, u, v = leading_triple(X, self.power_steps)
            theta, R = u @ xp.matrix_transpose(v), self.radius * math.sqrt(X.shape[0] / X.shape[1])
            if self.constrained:
                share = divided(R + xp.zeros_like(sigma), xp.where(sigma > 0.0, sigma, 0.0) + eps)
                X = xp.where((xp.abs(share - 1.0) > eps) & (share > 0.0), X * share, X)

            def along(at: float) -> float:
                return float(xp.sum(theta * self.factor(M + at * theta)))

            at = root_of(along, float(xp.sum(lam)), 1e-3, self.tolerance, self.halvings)
            X = X - lr * R * self.factor(M + at * theta)
            return xp.reshape(X, x.shape), m, xp.full_like(lam, at)

        return spectral_sphere

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: like the leaf, and one number."""
        zeros = namespace(leaf).zeros_like(leaf)
        return zeros if slot == "m" else namespace(leaf).sum(zeros, keepdims=True)


dialect(SpectralSphere, "official", "Unakar/Spectral-Sphere-Optimizer sso.py",
    "Newton-Schulz in bfloat16 (ns_dtype), its other numbers in float32; takes matrices alone", group="matrices")  # fmt: skip
