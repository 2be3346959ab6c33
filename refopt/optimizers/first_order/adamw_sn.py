"""AdamW-SN: AdamW with one second moment for a run of entries (Nguyen and Nguyen 2024)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero

NGUYEN = Source("nguyen-2024-subset", "T. H. Nguyen, H. L. Nguyen",
    "Subset-Norm and Subspace-Momentum: Faster Memory-Efficient Adaptive Optimization with Convergence Guarantees",
    arxiv="2411.07120")  # fmt: skip


def run_length(size: int, wished: int | None, share: float) -> int:
    """Return the largest divisor of `size` that is at most `wished`, by default ``sqrt(size) / share``, and at least 1."""
    most = min(size, int(size**0.5 / share) if wished is None else wished)
    return next((k for k in range(most, 0, -1) if size % k == 0), 1)


@register(
    "adamw-sn",
    source=NGUYEN,
    where="AdamW with subset norms, as in the authors' code adamw_sng.py",
    state_copies=1,
)
class AdamWSN(Decay):
    """AdamW-SN: Adam with the averaged square norm of a subset of entries in the place of each entry's square.

    A leaf, flattened, is cut into runs b of k entries. ``m_t = β1 m_{t-1} + (1 - β1) g_t``,
    ``v_b ← β2 v_b + (1 - β2) Σ_{i in b} g_i²``, ``x_b ← x_b - η sqrt(1 - β2^t) / (1 - β1^t) m_b / (sqrt(v_b) + ε)``, then
    ``x ← (1 - η λ) x``. k is the largest divisor of the leaf's size N that is at most ``sqrt(N) / 2``.

    Notes
    -----
    v is a sum, so that a step is sqrt(k) times shorter than with the means of Adam-mini. A leaf of a prime size has k = 1, which is
    AdamW.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamw-sn", lr=1.0, subset=2, eps=0.0)
    >>> x, s = o.update(np.zeros(4), np.array([3.0, 4.0, 5.0, 12.0]), o.init(np.zeros(4)))
    >>> print(x.round(4))
    [-0.6    -0.8    -0.3846 -0.9231]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-6, "[0, inf)", "ε, beside the uncorrected root.")
    subset: int | None = hyper(
        None,
        "int [1, inf)",
        "The wished k, of which the largest divisor below it is taken; None: ``sqrt(N) / share``.",
    )
    share: float = hyper(2.0, "[1, inf)", "See `subset`.")

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adamw_sn(x, g, m, v, beta1, k1, beta2, k2, step, eps, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            cut = xp.reshape(g, (v.shape[0], -1))
            v = ema(v, xp.sum(cut * cut, axis=1, keepdims=True), beta2, k2)
            u = xp.reshape(m, cut.shape) / divisor(xp.sqrt(v) + eps)
            return keep * (x - step * xp.reshape(u, x.shape)), m, v

        return adamw_sn

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: like the leaf, and one number a run, as a column."""
        zeros = namespace(leaf).zeros_like(leaf)
        if slot == "m":
            return zeros
        n = math.prod(leaf.shape)
        runs = namespace(leaf).reshape(zeros, (n // run_length(n, self.subset, self.share), -1))
        return namespace(leaf).sum(runs, axis=1, keepdims=True)

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) * correction(self.beta2, t) ** 0.5 / correction(self.beta1, t),
        }


dialect(AdamWSN, "official", "timmytonga/sn-sm adamw_sng.py")
dialect(AdamWSN, "kozistr", "pytorch_optimizer 4.1 AdamWSN", share=1.0, eps=1e-8)
