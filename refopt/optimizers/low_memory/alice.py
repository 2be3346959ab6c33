"""Alice: Adam in a tracked, partly random subspace, with what lies outside it compensated (Gong et al. 2025)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from refopt.core.arrays import Array, like, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, leaves, rebuild
from refopt.core.registry import register
from refopt.core.rng import generator
from refopt.matrix.common import eigh
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.racs import GONG
from refopt.optimizers.low_memory.fira import CHEN_FIRA, Limited
from refopt.optimizers.low_memory.subspace import leading, projected_axes, with_signs


def outside(U: Array, count: int, rng: np.random.Generator) -> Array:
    """Return `count` orthonormal columns of a subspace drawn uniformly from the complement of the columns of `U`."""
    xp = namespace(U)
    Z = like(rng.standard_normal((U.shape[0], count)), U)
    # Twice, since what is left after the first has lost digits.
    for _ in range(2):
        Z = Z - U @ (xp.matrix_transpose(U) @ Z)
    Q, R = xp.linalg.qr(Z)
    # With a positive diagonal of R the factor is the only one, whatever the library.
    return Q * xp.where(xp.linalg.diagonal(R) < 0.0, -1.0, 1.0)


@register("alice", source=GONG, where="Algorithm 4, with Algorithms 2, 3 and 10", also=(CHEN_FIRA,),
    calm_problem=("asymmetric-matrix-sensing", {"n1": 6, "n2": 5, "rank": 2}))  # fmt: skip
class Alice(Limited):
    """Alice: Adam in a subspace that is tracked and partly random, and a scaled step for the rest.

    For a matrix of m ≤ n, at t = 1 and the multiples of K: ``Q = β3 U Q̃ U^T + (1 - β3) G G^T``, ``V = qr(Q U)``, the l leading
    eigenvectors of Q in V, and r - l orthonormal columns drawn from V's complement make the new U. ``σ = U^T G``, ``Q̃ ← β3 Q̃ + (1 - β3) σ σ^T``,
    ``M ← β1 M + (1 - β1) σ``, ``V ← β2 V + (1 - β2) σ²``; with ``H = G - U σ``, ``p ← β1 p + (1 - β1) Σ_i H_ij²``,
    ``C = sqrt(m - r) H Diag(p)^{-1/2}``, limited to ``‖C_t‖ ≤ γ ‖C_{t-1}‖``; ``W ← W - η α (U M / (sqrt(V) + ε) + α_c C)``.

    Notes
    -----
    No bias correction; M and V are not turned when U changes, so every column of U has its largest entry positive. The paper draws
    columns of the complement's basis that QR gives, which depends on the library: here a subspace of it is drawn, uniformly. U_0 is zero in the paper, so that
    its first iteration would start from nothing: here the first V is that of the leading left singular vectors of G. Where
    the complement is too small more than l leading eigenvectors stay. A tall matrix is treated as its transposed. With β3 = 0 it is Alice-0.
    pytorch_optimizer's Alice starts from the coordinate axes.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("alice", lr=1.0, alpha=0.1, rank=1, leading=1, beta1=0.0, beta2=0.0, beta3=0.0, alpha_c=1.0)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.array([[3.0, 0.0], [0.0, 1.0]]), o.init(x))
    >>> print(x.round(4) + 0.0)  # both directions, the second by the compensation
    [[-0.1  0. ]
     [ 0.  -0.1]]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "basis", "size", "tracked", "rest")
    lr: Rate = hyper(0.02, "[0, inf)", "η.")
    alpha: float = hyper(0.3, "(0, inf)", "α, on projected leaves alone.")
    alpha_c: float = hyper(0.4, "[0, inf)", "α_c.")
    rank: int = hyper(256, "int [1, inf)", "r; at most the shorter side is used.")
    leading: int = hyper(40, "int [1, inf)", "l; at most r is used.")
    beta2: float = hyper(0.9, "[0, 1)", "β2.")
    beta3: float = hyper(0.999, "[0, 1)", "β3.")
    refresh_at_multiples: bool = hyper(True, words="False: U is new at t = 1, K + 1, 2K + 1, ….")
    seed: int = hyper(0, "int [0, inf)", "Of the draws.")
    words = {
        "update_every": "K.",
        "eps_corrected": "Of the leaves that are not projected.",
        "at_refresh": "keep: the paper.",
    }

    def first_slots(self, leaf: Array, projected: bool) -> dict[str, Any]:
        """Return the first slots of one leaf."""
        slots, xp = super().first_slots(leaf, projected), namespace(leaf)
        if not projected:
            return {**slots, "tracked": (), "rest": ()}
        r, n = self.used_rank(leaf.shape), max(leaf.shape)

        def zeros(*shape: int) -> Array:
            return xp.zeros(shape, dtype=leaf.dtype, device=leaf.device)

        return {**slots, "m": zeros(r, n), "v": zeros(r, n), "tracked": zeros(r, r), "rest": zeros(n)}

    def wide(self, a: Array) -> Array:
        """Return a matrix, a tall one transposed."""
        return namespace(a).matrix_transpose(a) if projected_axes(a.shape, self.side)[0] else a

    def rule(self, xp):
        divisor = nonzero(xp)

        def alice(x, g, m, v, basis, size, tracked, rest, lr, step, root, eps, others, others_root, l2, keep):
            g = g + l2 * x
            if not basis:
                x, m, v = self.unprojected(xp, x, g, m, v, root, eps, others, others_root, keep)
                return x, m, v, basis, size, tracked, rest
            G, (U,) = self.wide(g), basis
            low = xp.matrix_transpose(U) @ G
            tracked = ema(tracked, low @ xp.matrix_transpose(low), self.beta3, 1.0 - self.beta3)
            m = ema(m, low, self.beta1, 1.0 - self.beta1)
            v = ema(v, low * low, self.beta2, 1.0 - self.beta2)
            H = G - U @ low
            rest = ema(rest, xp.sum(H * H, axis=0), self.beta1, 1.0 - self.beta1)
            C = math.sqrt(U.shape[0] - U.shape[1]) * H / divisor(xp.sqrt(rest))
            C, size = self.limited(xp, C, size)
            u = U @ (m / divisor(xp.sqrt(v) + self.eps)) + self.alpha_c * C
            return (
                self.moved(x, lr * self.alpha * self.wide_back(u, x), keep),
                m,
                v,
                basis,
                size,
                tracked,
                rest,
            )

        return alice

    def wide_back(self, u: Array, x: Array) -> Array:
        """Return a wide matrix in the shape of `x`."""
        return namespace(u).matrix_transpose(u) if projected_axes(x.shape, self.side)[0] else u

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Switch subspaces where that is due; then one step."""
        t = s["t"] + 1
        if self.since(t) == 1:
            rng, bases = generator(self.seed, "method", t), dict(leaves(s["basis"]))
            for k, basis in bases.items():
                if basis:
                    G = self.wide(leaves(g)[k] + self.coupled() * leaves(x)[k])
                    bases[k] = (self.switched(G, basis[0], leaves(s["tracked"])[k], t, rng),)
            s = {**s, "basis": rebuild(x, bases)}
        return super()._update(x, g, s, donate)

    def switched(self, G: Array, U: Array, tracked: Array, t: int, rng: np.random.Generator) -> Array:
        """Return the new U."""
        xp, (m, r) = namespace(G), U.shape
        if t == 1:
            (V,) = leading(G, r, (0,), fixed_signs=True)
        else:
            Q = self.beta3 * (U @ tracked @ xp.matrix_transpose(U)) + (1.0 - self.beta3) * (
                G @ xp.matrix_transpose(G)
            )
            V = xp.linalg.qr(Q @ U)[0]
            V = with_signs(V @ xp.flip(eigh(xp.matrix_transpose(V) @ Q @ V)[1], axis=1))
        drawn = min(r - min(self.leading, r), m - r)
        return xp.concat([V[:, : r - drawn], with_signs(outside(V, drawn, rng))], axis=1) if drawn else V
