"""APOLLO: Adam's rates by row, learnt in a random projection of the gradient (Zhu et al. 2024)."""

from __future__ import annotations

import math

from refopt.core.arrays import like
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.params import Params, leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import generator
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.low_memory.fira import CHEN_FIRA, Limited
from refopt.optimizers.low_memory.subspace import down, projected_axes

ZHU = Source("zhu-2024-apollo",
    "H. Zhu, Z. Zhang, W. Cong, X. Liu, S. Park, V. Chandra, B. Long, D. Z. Pan, Z. Wang, J. Lee",
    "APOLLO: SGD-like Memory, AdamW-level Performance", arxiv="2412.05270")  # fmt: skip


@register("apollo", source=ZHU, where="the algorithm APOLLO", also=(CHEN_FIRA,),
    calm_problem=("asymmetric-matrix-sensing", {"n1": 6, "n2": 5, "rank": 2}))  # fmt: skip
class APOLLO(Limited):
    """APOLLO: the gradient itself, each row or column at the size that Adam gives to its random projection.

    P has independent normal entries of variance 1/r, new ones every T steps. For a matrix of m < n, ``R = P^T G``,
    ``M ← β1 M + (1 - β1) R``, ``V ← β2 V + (1 - β2) R²``, ``N = M / (sqrt(V) + ε)``, ``φ_j = ‖N_j‖ / ‖R_j‖`` for every column j (rows, with
    ``R = G P``, where m ≥ n), ``S_t = G diag(φ)``; the limiter holds ``‖S_t‖ ≤ γ ‖S_{t-1}‖``. With Adam's bias corrections in η_t,
    ``W ← (1 - η λ) (W - η_t α S)``.

    Notes
    -----
    APOLLO-Mini, ``dialect="mini"``, has one row of R, one φ for the whole matrix, and ``α = sqrt(128)``. No singular vectors are needed:
    the state is ``2 r max(m, n)`` numbers and P, which the seed gives again. The limiter is Fira's. Leaves that are not of the
    group have AdamW.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("apollo", lr=0.1, rank=1)
    >>> x = np.zeros((2, 3))
    >>> x, s = o.update(x, np.array([[3.0, 8.0, 1.0], [4.0, 2.0, -2.0]]), o.init(x))
    >>> print((x / x[0]).round(4))  # columns of the gradient, each at a size of its own
    [[ 1.      1.      1.    ]
     [ 1.3333  0.25   -2.    ]]
    """

    scale: float = hyper(1.0, "(0, inf)", "α, on projected leaves alone.")
    per: str = hyper(
        "channel", ("channel", "tensor"), "One φ for every row or column, or one for the matrix."
    )
    side: str = hyper("std", ("std", "reverse-std", "left", "right"),
        "Which side becomes r long: std, the shorter one, the right one of a square matrix; reverse-std: the other.")  # fmt: skip
    seed: int = hyper(0, "int [0, inf)", "Of the projections.")
    eps: float = hyper(1e-6, "[0, inf)", "ε.")
    eps_corrected: bool = hyper(False, words="True: ε beside ``sqrt(V̂)``.")
    decay_after: bool = hyper(True, words="False: decoupled decay multiplies the old W.")

    def rule(self, xp):
        divisor = nonzero(xp)

        def apollo(x, g, m, v, basis, size, step, root, eps, others, others_root, l2, keep):
            g = g + l2 * x
            if not basis:
                x, m, v = self.unprojected(xp, x, g, m, v, root, eps, others, others_root, keep)
                return x, m, v, basis, size
            axes = projected_axes(x.shape, self.side)
            r = down(g, basis, axes)
            m, v, u = self.averaged(xp, r, m, v, root, eps)
            # u has the root's correction in it; N has not.
            n = u * root
            along = axes if self.per == "channel" else (0, 1)
            phi = self.sizes(xp, n, along) / divisor(self.sizes(xp, r, along) + self.norm_eps)
            moved, size = self.limited(xp, g * phi, size)
            return self.moved(x, step / root * self.scale * moved, keep), m, v, basis, size

        return apollo

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Draw new projections where they are due; then one step."""
        t = s["t"] + 1
        if self.since(t) == 1:
            rng, drawn = generator(self.seed, "method", t), {}
            for k, basis in leaves(s["basis"]).items():
                drawn[k] = tuple(like(rng.standard_normal(P.shape) / math.sqrt(P.shape[1]), P) for P in basis)
            s = {**s, "basis": rebuild(x, drawn)}
        return super()._update(x, g, s, donate)


dialect(APOLLO, "mini", "the paper's APOLLO-Mini", per="tensor", rank=1, scale=math.sqrt(128.0))
dialect(APOLLO, "official", "zhuhanqing/APOLLO apollo_torch/apollo.py",
    "its scale is α²; draws other projections", norm_eps=1e-8)  # fmt: skip
