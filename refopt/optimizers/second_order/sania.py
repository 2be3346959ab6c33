"""SANIA: Polyak's step size for preconditioned steps (Abdukhakimov et al. 2023)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, map_leaves, zeros_like
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction
from refopt.optimizers.common.vectors import joined, parted, symmetric_matrix

ABDUKHAKIMOV = Source("abdukhakimov-2023-sania", "F. Abdukhakimov, C. Xiang, D. Kamzolov, R. Gower, M. Takáč",
    "SANIA: Polyak-type Optimization Framework Leads to Scale Invariant Stochastic Algorithms",
    arxiv="2312.17369")  # fmt: skip


def polyak_share(gap: float, size: float) -> float:
    """Return ``λ = 1 - sqrt(1 - υ)`` with ``υ = 2 gap / size²``, 1 for υ > 1: the part of the full step to make."""
    if gap <= 0.0 or size == 0.0:
        return 0.0
    ratio = 2.0 * (gap / size) / size
    # The difference of near numbers, for a small ratio, without its loss of digits.
    return 1.0 if ratio > 1.0 else ratio / (1.0 + math.sqrt(1.0 - ratio)) if ratio == ratio else math.nan


@register("sania", source=ABDUKHAKIMOV, where="the explicit update of SANIA; AdaGrad-SQR and Adam-SQR", needs=("value", "grad"), calm_problem=("matrix-sensing", {"n": 4, "rank": 1}))  # fmt: skip
class SANIA(Method):
    """SANIA: a preconditioned step, as long as a quadratic model of the batch's loss says to reach its least value.

    ``w_{t+1} = argmin ½‖w - w_t‖²_B  s.t.  f_i - f_i* + ⟨g, w - w_t⟩ + ½‖w - w_t‖²_B ≤ 0``, which is
    ``w_{t+1} = w_t - λ B^{-1} g`` with ``υ = 2 (f_i - f_i*) / ⟨g, B^{-1} g⟩`` and ``λ = 1 - sqrt(1 - υ)``, 1 where υ > 1. B is

    - ``adagrad``: ``diag(Σ g ⊙ g)`` (AdaGrad-SQR) and ``adam``: ``diag(v_t / (1 - β2^t))``,
      ``v_t = β2 v_{t-1} + (1 - β2) g ⊙ g`` (Adam-SQR), both without a root and with this step's g;
    - ``identity``; and ``newton``: the Hessian of f_i, for convex f_i.

    Notes
    -----
    Where f_i is below f_i* the point stays: the constraint holds there. The code takes a negative step. With
    ``newton`` the Hessian is laid out, one ``hvp`` a parameter, and a run ends where it is not positive definite.

    Raises
    ------
    CapabilityError
        The problem has no ``hvp``, with ``preconditioner="newton"``.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic")
    >>> r = refopt.minimize(p, "sania", steps=100, batch_size=64, record="full")
    >>> bool(r.history["value"][-1] < 0.5 * r.history["value"][0])
    True
    """

    lr: Rate = hyper(1.0, "[0, inf)", "Multiplies λ; 1 in the paper.")
    preconditioner: str = hyper("adam", ("adam", "adagrad", "identity", "newton"), "B, see above.")
    f_star: float = hyper(0.0, "(-inf, inf)", "f_i*, or a lower bound of it.")
    beta2: float = hyper(0.999, "[0, 1)", "β2 of ``adam``.")
    root: bool = hyper(
        False, words="True: the classical roots of the diagonals, which are not invariant to scale."
    )
    eps: float = hyper(1e-8, "[0, inf)", "ε, added to the diagonal after its root.")
    eps_floor: bool = hyper(False, words="True: ε is the least that the diagonal may be, before its root.")

    @property
    def needs(self) -> tuple[str, ...]:
        """Values, gradients, and Hessian products for the Newton form."""
        return (*self.own_needs, "hvp") if self.preconditioner == "newton" else self.own_needs

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; a diagonal of zeros where there is one."""
        diagonal = self.preconditioner in ("adam", "adagrad")
        x = params.check_start(x, "x")
        return {"t": 0, "d": zeros_like(x)} if diagonal else {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for value and gradient (and the Hessian), and step."""
        f, g = oracle.value_and_grad(x)
        t, new = s["t"] + 1, {"t": s["t"] + 1}
        if self.preconditioner == "identity":
            direction, size = g, params.norm(g)
        elif self.preconditioner == "newton":
            direction = newton_direction(x, g, oracle)
            size = math.sqrt(max(params.dot(g, direction), 0.0))
        else:
            keep, gain = (1.0, 1.0) if self.preconditioner == "adagrad" else (self.beta2, 1.0 - self.beta2)
            new["d"] = map_leaves(lambda d, g: keep * d + gain * g * g, s["d"], g)
            gain = 1.0 if self.preconditioner == "adagrad" else 1.0 / correction(self.beta2, t)
            roots = map_leaves(lambda d: self.half(gain * d), new["d"])
            halved = map_leaves(lambda g, r: g / r, g, roots)
            direction, size = map_leaves(lambda h, r: h / r, halved, roots), params.norm(halved)
        share = polyak_share(f - self.f_star, size)
        return axpy(-self.rate(t) * share, direction, x), new

    def half(self, d: Array) -> Array:
        """Return the square root of B's diagonal, one where it is zero: there every gradient was."""
        xp = namespace(d)
        if self.eps_floor:
            d = xp.where(d > self.eps, d, self.eps)
        d = xp.sqrt(d) if self.root else d
        return xp.sqrt(xp.where(d > 0.0, d, 1.0) if self.eps == 0.0 or self.eps_floor else d + self.eps)


def newton_direction(x: Params, g: Params, oracle: Oracle) -> Params:
    """Return ``(∇²f)^{-1} g`` ; Cholesky's factorisation fails where that is not positive definite."""
    H, v = symmetric_matrix(lambda u: oracle.hvp(x, u), x), joined(g)
    xp = namespace(v)
    xp.linalg.cholesky(H)
    return parted(xp.linalg.solve(H, v[:, None])[:, 0], x)


dialect(SANIA, "official", "fxrshed/SANIA SANIA/sania_adam_sqr.py (and sania_adagrad_sqr.py with preconditioner='adagrad')",
    "B = max(B, ε)", eps=0.1, eps_floor=True)  # fmt: skip
