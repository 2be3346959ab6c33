"""GradNormLoRP: GaLore on weight-normalised parameters, as in its authors' code (Huang et al. 2025)."""

from __future__ import annotations

from typing import Any, ClassVar

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.low_memory.galore import ZHAO
from refopt.optimizers.low_memory.subspace import Singular, down, projected_axes, up

HUANG = Source("huang-2025-gradnormlorp", "J.-H. Huang, Y. Shen, H. Zhu, S. Rudinac, E. Kanoulas",
    "Gradient Weight-normalized Low-rank Projection for Efficient LLM Training", arxiv="2412.19616")  # fmt: skip


@register("gradnormlorp", source=HUANG, also=(ZHAO,),
    where="its authors' LowRankWeightNormAdamW, commit 66c8e76; the paper's own text could not be read",
    calm_problem=("asymmetric-matrix-sensing", {"n1": 6, "n2": 5, "rank": 2}))  # fmt: skip
class GradNormLoRP(Singular):
    """GradNormLoRP: GaLore on the direction of every row of a weight, and Adam on its length.

    A matrix has a direction D, at first W, and a magnitude c for each row, a vector one in all. A step resets
    ``c ← ‖D‖``; with the gradient G at W, ``G_D = G c / ‖D‖`` and ``G_c = Σ_j G D / ‖D‖`` along the row. GaLore's Adam
    moves D by ``G_D`` in its leading singular subspace, Adam moves c by ``G_c``, and ``W = c D / ‖D‖``.

    Notes
    -----
    This is what the authors' class computes. Their paper's text could not be read; a summary of it has low-rank
    increments of W and projections on both sides besides, which the class has not. Since c is reset, it moves the point of the next
    gradient and nothing else: D is where GaLore is on the same gradients. ``G_D`` is not the gradient by D of ``c D / ‖D‖``: the part along D
    is not taken away. The class's SVD is in float32 whatever the dtype, and refuses leaves of other than one or
    two axes, which have Adam here. A row of zeros, which it divides by zero, has ``G_D = G`` and ``G_c = 0``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("gradnormlorp", lr=0.1, rank=1, eps=0.0)
    >>> x = np.array([[3.0, 4.0]])
    >>> x, s = o.update(x, np.array([[1.0, 0.0]]), o.init(x))
    >>> print(s["direction"], round(float(np.linalg.norm(x)), 12))  # the row's length is moved by itself: 5 - 0.1
    [[2.9 4. ]] 4.9
    """

    slots: ClassVar[tuple[str, ...]] = (
        "m",
        "v",
        "basis",
        "magnitude_m",
        "magnitude_v",
        "direction",
        "magnitude",
    )
    scale: float = hyper(1.0, "(0, inf)", "α, on projected leaves alone.")
    eps: float = hyper(1e-6, "[0, inf)", "ε.")
    eps_corrected: bool = hyper(
        False, words="True: ε stands beside ``sqrt(V̂)``. False: beside ``sqrt(V)``, as in the authors' code."
    )
    side: str = hyper("std", Singular.__dataclass_fields__["side"].metadata["allowed"],
        "Which side becomes r long. std, as in the authors' code: the right one of a matrix with m ≥ n, else the left one. short:"
        " the same, but the left one of a square matrix. reverse-std: the other one of std. both: both.")  # fmt: skip
    decay_after: bool = hyper(
        True,
        words="True: decoupled decay multiplies the new D and c, as in the authors' code; False: the old.",
    )
    magnitude: str = hyper("reset", ("reset", "kept"),
        "reset: c is ``‖D‖`` anew in every step, as in the authors' code. kept: c goes on from the last step.")  # fmt: skip
    words = {"group": "The matrices that are projected; see `choose`. The rest has no subspace."}

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: a magnitude only where it is kept."""
        return self.slots if self.magnitude == "kept" else self.slots[:-1]

    def first_slots(self, leaf: Array, projected: bool) -> dict[str, Any]:
        """Return the first slots of one leaf."""
        slots = super().first_slots(leaf, projected)
        if leaf.ndim not in (1, 2):
            return {**slots, "magnitude_m": (), "magnitude_v": (), "direction": (), "magnitude": ()}
        xp = namespace(leaf)
        rows = lengths(leaf, -1, keepdims=True)
        return {
            **slots,
            "magnitude_m": xp.zeros_like(rows),
            "magnitude_v": xp.zeros_like(rows),
            "direction": xp.asarray(leaf, copy=True),
            "magnitude": rows,
        }

    def rule(self, xp):
        divisor = nonzero(xp)

        def kept(x, g, m, v, basis, gm, gv, D, c, t, due, step, root, eps, others, others_root, l2, keep):
            numbers = (root, eps, others, others_root, keep)
            g = g + l2 * x
            if x.ndim not in (1, 2):
                x, m, v = self.unprojected(xp, x, g, m, v, *numbers)
                return x, m, v, basis, gm, gv, D, c
            lengths_d = lengths(D, -1, keepdims=True)
            by_c = xp.sum(g * (D / divisor(lengths_d)), axis=-1, keepdims=True)
            if c is None:
                c = lengths_d
            else:
                g = g * (c / divisor(lengths_d))
            c, gm, gv = self.unprojected(xp, c, by_c, gm, gv, *numbers)
            if basis:
                if due:
                    m, v, basis = self.refreshed(g, m, v, basis, t)
                axes = projected_axes(x.shape, self.side)
                m, v, u = self.averaged(xp, down(g, basis, axes), m, v, root, eps)
                D = self.moved(D, step * self.scale * up(u, basis, axes), keep)
            else:
                D, m, v = self.unprojected(xp, D, g, m, v, *numbers)
            # The quotient is 1 to the bit where nothing moved.
            return D * (c / divisor(lengths(D, -1, keepdims=True))), m, v, basis, gm, gv, D, c

        def reset(x, g, m, v, basis, gm, gv, D, t, due, step, root, eps, others, others_root, l2, keep):
            return kept(
                x, g, m, v, basis, gm, gv, D, None, t, due, step, root, eps, others, others_root, l2, keep
            )[:-1]

        return kept if self.magnitude == "kept" else reset


dialect(GradNormLoRP, "official", "Jhhuangkay LowRankWeightNormAdamW", magnitude="reset")
