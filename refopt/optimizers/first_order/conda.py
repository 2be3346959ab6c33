"""Conda: Adam in the basis of the momentum's singular vectors (Wang et al. 2025)."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.first_order.adam import Adam

WANG = Source("wang-2025-conda", "J. Wang, P. Zhou, Y. Dong, H. Li, J. Li, X. Zhou, Q. Lao, C. Fang, Z. Lin",
    "Conda: Column-Normalized Adam for Training Large Language Models Faster", arxiv="2509.24218")  # fmt: skip


@register("conda", source=WANG, where="Algorithm 1", state_copies=2)
class Conda(Grouped, Decay):
    """Conda: Adam's second moment is taken along the singular directions of the momentum.

    ``M_t = β1 M_{t-1} + (1 - β1) G_t``. Every T steps ``M = U Σ Vᵀ`` and the basis Q is U (or V for a
    matrix with at least as many rows as columns). With ``G' = Qᵀ G``, ``M' = Qᵀ M``:
    ``V_t = β2 V_{t-1} + (1 - β2) G'²``,
    ``X ← X - η sqrt(1 - β2^t) / (1 - β1^t) · κ · Q (M' / (sqrt(V_t) + ε))``.

    Notes
    -----
    V is not rotated when the basis changes. The authors' SVD is in float32 whatever the dtype; here
    it is in the input's.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("conda", lr=0.1)
    >>> x = {"w": np.zeros((2, 3))}
    >>> x, s = o.update(x, {"w": np.diag([2.0, 1.0])[:, [0, 1, 1]]}, o.init(x))
    >>> s["basis"]["w"].shape
    (2, 2)
    """

    slots = ("m", "v", "basis")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)", "Beside the uncorrected root.")
    update_every: int = hyper(2000, "int [1, inf)", "T; the first basis is made in the first step.")
    scale: float = hyper(1.0, "(0, inf)", "κ.")
    refresh_at_multiples: bool = hyper(
        False, words="New bases at t = T, 2T, … besides the first; otherwise at t = 1, T + 1, 2T + 1, …."
    )
    group: Any = hyper("matrices-and-kernels",
        words="The matrices; kernels are flattened behind the first axis.",
        kind="str, sequence of str, or callable")  # fmt: skip
    others: Any = hyper(Adam(), words="For the rest; default Adam at the same rate.", kind="Method")
    words = {"weight_decay": "Acts behind the step, as in the authors' code: ``x ← (1 - η λ) x``."}

    def rule(self, xp):
        def conda(x, g, m, v, basis, due, beta1, beta2, step, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, 1.0 - beta1)
            tall = x.shape[0] >= xp.reshape(x, (x.shape[0], -1)).shape[1]

            def wide(a: Array) -> Array:
                flat = xp.reshape(a, (a.shape[0], -1))
                return xp.matrix_transpose(flat) if tall else flat

            def back(a: Array) -> Array:
                return xp.reshape(xp.matrix_transpose(a) if tall else a, x.shape)

            if due:
                basis = xp.linalg.svd(wide(m), full_matrices=False)[0]
            q = xp.matrix_transpose(basis)
            v = ema(v, back((q @ wide(g)) ** 2), beta2, 1.0 - beta2)
            size = xp.sqrt(wide(v)) + self.eps
            direction = basis @ ((q @ wide(m)) / xp.where(size > 0, size, xp.ones_like(size)))
            return keep * (x - step * back(direction)), m, v, basis

        return conda

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: moments like the leaf, a square basis of its smaller side."""
        xp = namespace(leaf)
        zeros = xp.zeros_like(leaf)
        if slot != "basis":
            return zeros
        flat = xp.reshape(zeros, (leaf.shape[0], -1))
        flat = flat if flat.shape[0] < flat.shape[1] else xp.matrix_transpose(flat)
        return flat @ xp.matrix_transpose(flat)

    def scalars(self, t, carried):
        due = t == 1 or (t if self.refresh_at_multiples else t - 1) % self.update_every == 0
        return {
            "due": float(due),
            "step": self.scale * self.rate(t) * correction(self.beta2, t) ** 0.5 / correction(self.beta1, t),
        }


dialect(
    Conda, "kozistr", "pytorch_optimizer 4.1 Conda",
    "refreshed at t = T, 2T, ...; kernels are not projected, and have Adam with eps beside the uncorrected root",
    refresh_at_multiples=True, group="matrices", others=Adam(eps_corrected=False),
)  # fmt: skip
