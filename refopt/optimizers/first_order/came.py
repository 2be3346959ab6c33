"""CAME (Luo et al. 2023)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.factored import clipped_rms, outer, row_and_column

LUO = Source("luo-2023-came", "Y. Luo, X. Ren, Z. Zheng, Z. Jiang, X. Jiang, Y. You", "CAME: Confidence-guided Adaptive Memory Efficient Optimization",
    arxiv="2307.02047")  # fmt: skip
LAST = (-2, -1)


@register("came", source=LUO, where="CAME")
class CAME(Decay):
    """CAME: Adafactor whose averaged step is divided by how far single steps are from it.

    ``R ← β2 R + (1 - β2) mean_rows(g² + ε1)``, C likewise by columns, ``u = g / sqrt(R C / mean(R))``, ``û = u / max(1, RMS(u) / d)``,
    ``m ← β1 m + (1 - β1) û``; the means of ``(û - m)² + ε2`` are averaged with β3 into S in the same way, and ``x ← x - η m / sqrt(S)``.
    Of vectors the squares themselves are averaged, and x ← x - η m.

    Notes
    -----
    No average is corrected: early S is small, and steps are up to ``1 / sqrt(1 - β3)``, a hundred, times as long as later; a rate that
    grows from zero hides it. The matrices of a leaf are its last two axes. Zero over zero is zero.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("came", lr=1.0, beta2=0.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, -5.0]), o.init(np.zeros(2)))
    >>> print(x.round(6))  # a vector: the sign, averaged
    [-0.1  0.1]
    """

    slots = ("R", "C", "m", "SR", "SC")
    lr: Rate = hyper(2e-4, "[0, inf)", "η, in the units of x.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    beta3: float = hyper(0.9999, "[0, 1)", "β3.")
    eps1: float = hyper(1e-30, "[0, inf)", "ε1, in the units of g².")
    eps2: float = hyper(1e-16, "[0, inf)", "ε2, without a unit.")
    clip: float = hyper(1.0, "(0, inf]", "d; infinity: no clipping.")
    words = {"weight_decay": "The paper has none."}

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: means, and of vectors the squares in R alone."""
        xp, zero = namespace(leaf), namespace(leaf).zeros_like(leaf)
        if slot == "m" or (slot == "R" and leaf.ndim < 2):
            return zero
        if leaf.ndim < 2:
            return xp.zeros_like(xp.sum(leaf))
        return row_and_column(zero, LAST)[0 if slot in ("R", "SR") else 1]

    def rule(self, xp):
        divisor = nonzero(xp)

        def averaged(square, R, C, beta, complement):
            rows, columns = row_and_column(square, LAST)
            R, C = ema(R, rows, beta, complement), ema(C, columns, beta, complement)
            return outer(R, C, LAST), R, C

        def came(x, g, R, C, m, SR, SC, lr, beta1, k1, beta2, k2, beta3, k3, eps1, eps2, clip, l2, keep):
            g = g + l2 * x
            square = g * g + eps1
            if x.ndim < 2:
                V = R = ema(R, square, beta2, k2)
            else:
                V, R, C = averaged(square, R, C, beta2, k2)
            u = clipped_rms(g / divisor(xp.sqrt(V)), clip)
            m = ema(m, u, beta1, k1)
            if x.ndim < 2:
                return keep * x - lr * m, R, C, m, SR, SC
            S, SR, SC = averaged((u - m) ** 2 + eps2, SR, SC, beta3, k3)
            return keep * x - lr * m / divisor(xp.sqrt(S)), R, C, m, SR, SC

        return came

    def scalars(self, t, carried):
        return {"k1": 1.0 - self.beta1, "k2": 1.0 - self.beta2, "k3": 1.0 - self.beta3}


dialect(CAME, "official", "yangluo7/CAME came_pytorch/CAME.py; pytorch_optimizer 4.1 CAME alike")
