"""Fira: GaLore with what the projection leaves, scaled and limited (Chen et al. 2024)."""

from __future__ import annotations

from typing import Any, ClassVar

from refopt.core.arrays import Array, Namespace, lengths, namespace
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.low_memory.subspace import Projected, Singular, down, projected_axes, up

CHEN_FIRA = Source("chen-2024-fira", "X. Chen, K. Feng, C. Li, X. Lai, X. Yue, Y. Yuan, G. Wang",
    "Fira: Can We Achieve Full-rank Training of LLMs Under Low-rank Constraint?", arxiv="2410.01623")  # fmt: skip


class Limited(Projected):
    """`Projected`, with a limiter on how fast a leaf's step may grow."""

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "basis", "size")
    growth: float = hyper(1.01, "[1, inf)", "γ.")
    norm_eps: float = hyper(0.0, "[0, inf)", "Beside the norms that divide, in φ and in the limiter.")

    def first_slots(self, leaf: Array, projected: bool) -> dict[str, Any]:
        """Return the first slots of one leaf."""
        slots = super().first_slots(leaf, projected)
        # The size of S before the first step is negative: no limit.
        return {**slots, "size": lengths(namespace(leaf).reshape(slots["m"], (-1,)), 0, keepdims=True) - 1.0}

    def sizes(self, xp: Namespace, A: Array, axes: tuple[int, ...]) -> Array:
        """Return the norms along the projected axis; of all of A where both are."""
        return (
            lengths(A, axes[0], keepdims=True)
            if len(axes) == 1
            else lengths(xp.reshape(A, (-1,)), 0, keepdims=True)
        )

    def limited(self, xp: Namespace, step: Array, size: Array) -> tuple[Array, Array]:
        """Return S, and its norm, after the limiter."""
        norm = lengths(xp.reshape(step, (-1,)), 0, keepdims=True)
        bound = self.growth * (size + self.norm_eps)
        over = (size >= 0.0) & (norm > bound)
        factor = xp.where(over, bound / nonzero(xp)(norm), xp.ones_like(norm))
        return step * factor, norm * factor


@register("fira", source=CHEN_FIRA, where="Algorithm 1",
    calm_problem=("asymmetric-matrix-sensing", {"n1": 6, "n2": 5, "rank": 2}))  # fmt: skip
class Fira(Limited, Singular):
    """Fira: Adam in a subspace of the gradient, and a scaled plain step for the rest of it.

    P and Adam's ``N = M / (sqrt(V) + ε)`` of ``R = Pᵀ G`` as in GaLore. The rest moves by
    ``S_t = φ (G - P R)``, each column scaled by ``φ_j = ‖N_j‖ / ‖R_j‖`` (rows for a tall matrix; one φ for all with side both). The limiter
    holds ``‖S_t‖ ≤ γ ‖S_{t-1}‖``: a larger one is scaled back to that. With Adam's bias corrections in η_t,
    ``W ← W - η_t (α P N + S)``.

    Notes
    -----
    The bias corrections multiply S too, and φ is taken from uncorrected N, as in the authors' code.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("fira", lr=0.1, rank=1)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.array([[3.0, 0.0], [1.0, 1.0]]), o.init(x))
    >>> print(np.linalg.matrix_rank(x))
    2
    """

    scale: float = hyper(1.0, "(0, inf)", "α, on the projected part.")
    residual_scaled: bool = hyper(False,
        words="True: the rest is ``G - α P R`` (the authors' code); False: ``G - P R``.")  # fmt: skip

    def rule(self, xp):
        divisor = nonzero(xp)

        def fira(x, g, m, v, basis, size, t, due, step, root, eps, others, others_root, l2, keep):
            g = g + l2 * x
            if not basis:
                x, m, v = self.unprojected(xp, x, g, m, v, root, eps, others, others_root, keep)
                return x, m, v, basis, size
            if due:
                m, v, basis = self.refreshed(g, m, v, basis, t)
            axes = projected_axes(x.shape, self.side)
            r = down(g, basis, axes)
            m, v, u = self.averaged(xp, r, m, v, root, eps)
            # u has the root's correction in it; N has not.
            n, step = u * root, step / root
            phi = self.sizes(xp, n, axes) / divisor(self.sizes(xp, r, axes) + self.norm_eps)
            inside = self.scale if self.residual_scaled else 1.0
            rest = (g - inside * up(r, basis, axes)) * phi
            rest, size = self.limited(xp, rest, size)
            return self.moved(x, step * (self.scale * up(n, basis, axes) + rest), keep), m, v, basis, size

        return fira


dialect(Fira, "official", "xichen-fy/Fira fira_adamw.py", side="std", eps=1e-6, eps_corrected=False,
    decay_after=True, residual_scaled=True, norm_eps=1e-8)  # fmt: skip
