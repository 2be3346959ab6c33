"""SPlus: signs in the eigenbases of Shampoo, and averaged weights (Frans et al. 2025)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule, State
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema

FRANS = Source("frans-2025-stable", "K. Frans, S. Levine, P. Abbeel", "A Stable Whitening Optimizer for Efficient Neural Network Training",
    arxiv="2506.07254")  # fmt: skip


@register("splus", source=FRANS, where="the algorithm, as in the authors' code torch/splus.py",
    calm_problem=("matrix-sensing", {"n": 4, "rank": 4}))  # fmt: skip
class SPlus(LeafRule):
    """SPlus: the sign of the momentum in the eigenbases of Shampoo's factors, at a rate that falls with the sides.

    For a matrix of m rows and n columns, ``M_t = β1 M_{t-1} + (1 - β1) G_t``, ``U = P sign(Pᵀ M_t Q) Qᵀ``,
    ``L_t = β2 L_{t-1} + (1 - β2) G_t G_tᵀ``, ``R_t = β2 R_{t-1} + (1 - β2) G_tᵀ G_t``,
    ``Y = X_{t-1} - η 2 / (m + n) U``, ``X̄_t = β3 X̄_{t-1} + (1 - β3) Y``, ``X_t = (1 - η 2 / (m + n) λ) Y``. P and Q are the eigenvectors of
    L and R, made at t = 1 and every T steps for the steps that follow, and before that 1. All other leaves: sign(M_t) at the rate η c.

    Notes
    -----
    A run's point is X; `average` gives ``X̄_t / (1 - β3^t)``, which is to be evaluated. Where L or R is singular, as in the first steps of
    a matrix that is not square, its eigenvectors are not unique, and neither is U: libraries differ.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("splus", lr=1.0, weight_decay=0.0)
    >>> x, s = o.update(np.zeros((2, 2)), np.array([[3.0, -1.0], [0.0, 2.0]]), o.init(np.zeros((2, 2))))
    >>> print(x, o.average(s))
    [[-0.5  0.5]
     [ 0.  -0.5]] [[-0.5  0.5]
     [ 0.  -0.5]]
    """

    slots = ("m", "average", "L", "R", "P", "Q")
    lr: Rate = hyper(0.1, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    beta3: float = hyper(0.999, "[0, 1)", "β3.")
    update_every: int = hyper(100, "int [1, inf)", "T.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ; acts behind the step and the average.")
    other_share: float = hyper(1e-3, "[0, inf)", "c.")
    largest_side: int = hyper(
        10000,
        "int [1, inf)",
        "A side of so many and more has no factor; a matrix with a longer one has the rate η c.",
    )

    def average(self, s: State) -> Params:
        """Return the averaged weights of a state of one step and more."""
        return params.scale(1.0 / correction(self.beta3, s["t"]), s["average"])

    def _has(self, leaf: Array, axis: int) -> bool:
        return leaf.ndim == 2 and leaf.shape[axis] < self.largest_side

    def rule(self, xp):
        def splus(x, g, m, average, L, R, P, Q, lr, due, beta1, k1, beta2, k2, beta3, k3):
            m = ema(m, g, beta1, k1)
            left, right = self._has(x, 0), self._has(x, 1)
            u = xp.matrix_transpose(P) @ m if left else m
            u = xp.sign(u @ Q if right else u)
            u = P @ u if left else u
            u = u @ xp.matrix_transpose(Q) if right else u
            if left:
                L = ema(L, g @ xp.matrix_transpose(g), beta2, k2)
            if right:
                R = ema(R, xp.matrix_transpose(g) @ g, beta2, k2)
            P = xp.linalg.eigh(L)[1] if due and left else xp.asarray(P, copy=True)
            Q = xp.linalg.eigh(R)[1] if due and right else xp.asarray(Q, copy=True)
            standard = x.ndim == 2 and max(x.shape) <= self.largest_side
            rate = lr * (2.0 / sum(x.shape) if standard else self.other_share)
            x = x - rate * u
            return (1.0 - rate * self.weight_decay) * x, m, ema(average, x, beta3, k3), L, R, P, Q

        return splus

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, and the bases' identities; a single zero where there is no factor."""
        xp = namespace(leaf)
        zeros = xp.zeros_like(leaf)
        if slot in ("m", "average"):
            return zeros
        axis = 0 if slot in ("L", "P") else 1
        if not self._has(leaf, axis):
            return xp.reshape(xp.sum(zeros), (1,))
        identity = eye_like(leaf, leaf.shape[axis])
        return identity if slot in ("P", "Q") else xp.zeros_like(identity)

    def scalars(self, t, carried):
        return {
            "due": float(t == 1 or t % self.update_every == 0),
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "k3": 1.0 - self.beta3,
        }


dialect(SPlus, "official", "kvfrans/splus torch/splus.py")
