"""GaLore: Adam in the leading singular subspace of the gradient (Zhao et al. 2024)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.low_memory.subspace import Singular, down, projected_axes, up

ZHAO = Source("zhao-2024-galore", "J. Zhao, Z. Zhang, B. Chen, Z. Wang, A. Anandkumar, Y. Tian",
    "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection", arxiv="2403.03507")  # fmt: skip


@register("galore", source=ZHAO, where="Algorithm 2",
    calm_problem=("asymmetric-matrix-sensing", {"n1": 6, "n2": 5, "rank": 2}))  # fmt: skip
class GaLore(Singular):
    """GaLore: Adam whose moments live in the gradient's leading singular subspace.

    Every T steps ``G = U Σ Vᵀ`` and P is the first r columns of U. ``R = Pᵀ G``,
    ``M ← β1 M + (1 - β1) R``, ``V ← β2 V + (1 - β2) R²``,
    ``W ← W - η α P (M̂ / (sqrt(V̂) + ε))``. For a tall matrix, the same with the columns of V.

    Notes
    -----
    A matrix of m × n has a state of ``min(m, n) r + 2 max(m, n) r`` numbers. The authors' SVD is in float32
    whatever the dtype; here it is in the input's.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("galore", lr=0.1, rank=1, scale=1.0)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.diag([3.0, 1.0]), o.init(x))
    >>> print(x.round(6) + 0.0)
    [[-0.1  0. ]
     [ 0.   0. ]]
    """

    scale: float = hyper(0.25, "(0, inf)", "α, on projected leaves alone.")

    def rule(self, xp):
        def galore(x, g, m, v, basis, t, due, step, root, eps, others, others_root, l2, keep):
            g = g + l2 * x
            if not basis:
                x, m, v = self.unprojected(xp, x, g, m, v, root, eps, others, others_root, keep)
                return x, m, v, basis
            if due:
                m, v, basis = self.refreshed(g, m, v, basis, t)
            axes = projected_axes(x.shape, self.side)
            m, v, u = self.averaged(xp, down(g, basis, axes), m, v, root, eps)
            return self.moved(x, step * self.scale * up(u, basis, axes), keep), m, v, basis

        return galore


dialect(GaLore, "official", "jiaweizzhao/GaLore adamw.py", side="std", eps=1e-6, eps_corrected=False,
    decay_after=True)  # fmt: skip
dialect(
    GaLore, "optax", "optax 0.2.8 contrib.galore", "projects the longer side", side="reverse-std", scale=1.0
)
dialect(GaLore, "kozistr", "pytorch_optimizer 4.1 GaLore", "refreshed at t = T, 2T, ...", side="std",
    eps=1e-6, eps_corrected=False, refresh_at_multiples=True, decay_after=True)  # fmt: skip
