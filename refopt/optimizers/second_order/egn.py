"""Exact Gauss-Newton: the damped Gauss-Newton step in the space of the batch's outputs (Korbit et al. 2024)."""

from __future__ import annotations

import numpy as np

from refopt.core import params
from refopt.core.arrays import Array, like, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start, map_leaves, scale, zeros_like
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.vectors import joined, parted

KORBIT = Source("korbit-2024-exact", "M. Korbit, A. D. Adeoye, A. Bemporad, M. Zanon",
    "Exact Gauss-Newton Optimization for Training Deep Neural Networks", arxiv="2405.14402")  # fmt: skip


@register(
    "egn",
    source=KORBIT,
    where="the EGN update by the Duncan-Guttman identity, with line search and momentum",
    needs=("value", "grad", "vjp", "loss_gradient", "loss_hessian"),
    calm_problem=("matrix-sensing", {"n": 3, "rank": 1, "measurements": 6}),
)
class EGN(Method):
    """EGN: ``d = -Jᵀ (Q J Jᵀ + λ I)⁻¹ ρ``, the damped Gauss-Newton direction by a system of the outputs' order.

    For f = φ(r(x)): J the Jacobian of r, Q and ρ the Hessian and gradient of φ at r. It equals
    ``-(Jᵀ Q J + λ I)⁻¹ Jᵀ ρ``. ``m ← β m + (1 - β) d``, ``w ← w + α m / (1 - β^t)``; with `line_search`, α begins as
    the smaller of `growth` times the last α and η, and is multiplied by `shrink` while
    ``f(w + α d̂) > f(w) + c α ∇fᵀ d̂``, `tries` times at most.

    Notes
    -----
    φ has the batch's mean in it, where the paper has ``Q J Jᵀ + b λ I`` for the sum over b examples: the same λ. J is
    laid out by one ``vjp`` an output, and the system is not symmetric unless Q is a multiple of I. A problem's own L2
    term (its attribute ``l2``), which r does not see, is part of the gradient and of the matrix. The paper adapts λ too,
    which its code has not.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("matrix-sensing", n=4, rank=1)
    >>> r = refopt.minimize(p, "egn", damping=1e-3, steps=40)
    >>> bool(r.fun < 1e-25)
    True
    """

    lr: Rate = hyper(1.0, "[0, inf)", "η: α, or the largest that the line search begins with.")
    damping: float = hyper(1.0, "[0, inf)", "λ.")
    momentum: float = hyper(0.0, "[0, 1)", "β.")
    line_search: bool = hyper(False, words="Whether α is searched for.")
    slope: float = hyper(0.1, "(0, 1)", "c; the code's 1 less its aggressiveness of 0.9.")
    shrink: float = hyper(0.8, "(0, 1)", "By how much α is shortened.")
    growth: float = hyper(1.5, "[1, inf)", "By how much the first α is longer than the last step's; 1: not.")
    tries: int = hyper(15, "int [1, inf)", "Evaluations of f after the first; the last is taken as it is.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: α to come, and no momentum."""
        x = check_start(x, "x")
        return {"t": 0, "alpha": -1.0, **({"m": zeros_like(x)} if self.momentum else {})}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the Jacobian and the loss's derivatives, solve, and step."""
        t, new = s["t"] + 1, {"t": s["t"] + 1}
        d = self.direction(x, oracle)
        if self.momentum:
            new["m"] = map_leaves(lambda m, d: ema(m, d, self.momentum, 1.0 - self.momentum), s["m"], d)
            d = scale(1.0 / correction(self.momentum, t), new["m"])
        alpha = self.rate(t)
        if self.line_search:
            alpha = self.searched(
                x, d, alpha if s["alpha"] < 0.0 else min(self.growth * s["alpha"], alpha), oracle
            )
        return axpy(alpha, d, x), {**new, "alpha": alpha}

    def direction(self, x: Params, oracle: Oracle) -> Params:
        """Return d."""
        rho = oracle.loss_gradient(x)
        shape, xp = rho.shape, namespace(rho)
        flat = xp.reshape(rho, (-1,))
        eye = [like(unit, flat) for unit in np.eye(flat.shape[0])]
        J = xp.stack([joined(oracle.vjp(x, xp.reshape(e, shape))) for e in eye], axis=0)
        Q = xp.stack([xp.reshape(oracle.loss_hessian(x, xp.reshape(e, shape)), (-1,)) for e in eye], axis=1)
        l2 = float(getattr(oracle.problem, "l2", 0.0))
        shift = self.damping + l2
        Jt = xp.matrix_transpose(J)
        system = Q @ (J @ Jt) + shift * xp.stack(eye, axis=0)
        if not l2:
            return parted(-(Jt @ solved(system, flat)), x)
        # (JᵀQJ + s I)⁻¹ w = (w - Jᵀ (Q J Jᵀ + s I)⁻¹ Q J w) / s for the L2 term's share of the gradient.
        w = joined(x)
        rest = (w - Jt @ solved(system, Q @ (J @ w))) / shift
        return parted(-(Jt @ solved(system, flat)) - l2 * rest, x)

    def searched(self, x: Params, d: Params, alpha: float, oracle: Oracle) -> float:
        """Return the α that the line search ends with."""
        f, g = oracle.value_and_grad(x)
        slope = self.slope * params.dot(g, d)
        for _ in range(self.tries):
            if oracle.value(axpy(alpha, d, x)) <= f + alpha * slope:
                break
            alpha *= self.shrink
        return alpha


def solved(A: Array, b: Array) -> Array:
    """Return ``A⁻¹ b``."""
    return namespace(A).linalg.solve(A, b[:, None])[:, 0]
