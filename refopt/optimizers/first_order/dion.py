"""Dion: orthogonal steps of low rank, with what they leave out fed back (Ahn et al. 2025)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array, lengths, like, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, check_start, leaves
from refopt.core.registry import Source, register
from refopt.core.rng import generator
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.common.lmo import as_matrix
from refopt.optimizers.first_order.adam import Adam

AHN = Source("ahn-2025-dion", "K. Ahn, B. Xu, N. Abreu, Y. Fan, G. Magakyan, P. Sharma, Z. Zhan, J. Langford",
    "Dion: Distributed Orthonormalized Updates", arxiv="2504.05295")  # fmt: skip


@register(
    "dion",
    source=AHN,
    where="Algorithm 1",
    state_copies=2,
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}),
)
class Dion(Grouped, Decay):
    """Dion: one step of power iteration on the momentum gives an orthonormal step of rank r.

    For a hidden matrix of m rows and n columns, ``B = M_{t-1} + G_t``, ``P = orthonormal columns of B Q_{t-1}``, ``R = Bᵀ P``,
    ``M_t = B - (1 - μ) P Rᵀ``, ``Q_t = R`` with each column over its norm, ``X_t = X_{t-1} - η sqrt(m / n) P Q_tᵀ``, with Q_0 normal, n × r.

    Notes
    -----
    What P Rᵀ does not reach stays in M with full weight. A column of R that is zero makes no step, and Q keeps its column.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("dion", lr=0.1)
    >>> x, s = o.update(np.zeros((2, 2)), np.diag([3.0, 0.0]), o.init(np.zeros((2, 2))))
    >>> print(np.abs(x).round(6))
    [[0.1 0. ]
     [0.  0. ]]
    """

    slots = ("m", "q")
    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    momentum: float = hyper(0.95, "[0, 1)", "μ.")
    fraction: float = hyper(1.0, "(0, 1]", "r is this share of the smaller side, rounded up.")
    eps: float = hyper(1e-8, "[0, inf)", "Added to the norms of R's columns.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")
    seed: int = hyper(0, "int [0, 18446744073709551615]", "Of Q_0.")
    group: Any = hyper("matrices-and-kernels",
        words="The hidden matrices; kernels are flattened behind the first axis.",
        kind="str, sequence of str, or callable")  # fmt: skip
    others: Any = hyper(Adam(), words="For the rest; default Adam with lr 1e-3.", kind="Method")

    def rule(self, xp):
        divisor = nonzero(xp)

        def dion(x, g, m, q, lr, l2, keep, momentum, eps):
            B = as_matrix(m + g + l2 * x)
            P = xp.linalg.qr(B @ q)[0]
            R = xp.matrix_transpose(B) @ P
            size = lengths(R, axis=0, keepdims=True)
            unit = R / divisor(size + eps)
            M = B - (1.0 - momentum) * (P @ xp.matrix_transpose(R))
            u = math.sqrt(B.shape[0] / B.shape[1]) * (P @ xp.matrix_transpose(unit))
            return (
                keep * x - lr * xp.reshape(u, x.shape),
                xp.reshape(M, x.shape),
                xp.where(size > 0.0, unit, q),
            )

        return dion

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, with Q_0."""
        x = check_start(x, "x")
        s, rng = super().init(x), generator(self.seed, "method", 0)

        def drawn(leaf: Array) -> Array:
            m, n = as_matrix(leaf).shape
            return like(rng.standard_normal((n, math.ceil(self.fraction * min(m, n)))), leaf)

        return {**s, "q": {k: drawn(leaves(x)[k]) for k in s["q"]}}

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros; Q_0 is drawn in `init`."""
        return namespace(leaf).zeros_like(leaf)
