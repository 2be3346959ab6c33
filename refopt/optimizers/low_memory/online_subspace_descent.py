"""Online Subspace Descent: GaLore whose subspace is learnt, not recomputed (Liang et al. 2024)."""

from __future__ import annotations

from refopt.core.arrays import Array, Namespace, lengths, namespace
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.low_memory.subspace import Singular, down, projected_axes, up

LIANG = Source("liang-2024-online", "K. Liang, B. Liu, L. Chen, Q. Liu",
    "Memory-Efficient LLM Training with Online Subspace Descent", arxiv="2408.12857")  # fmt: skip


@register("online-subspace-descent", source=LIANG, where="Algorithm 1, with Adam for W and AdamW for P",
    calm_problem=("matrix-completion", {}))  # fmt: skip
class OnlineSubspaceDescent(Singular):
    """Online Subspace Descent: the projection P makes an optimizer's steps too.

    At first P has the leading r left singular vectors of G (right ones, for a tall matrix). A step of W is GaLore's:
    ``R = Pᵀ G`` and Adam on R. From the second step on P then makes one step of AdamW on
    ``L(P) = ‖P Pᵀ H - H‖² + λ ‖Pᵀ P - I‖²``, ``H = G / ‖G‖``, whose gradient is
    ``2 (E Hᵀ + H Eᵀ) P + 4 λ P (Pᵀ P - I)`` with ``E = P Pᵀ H - H``.

    Notes
    -----
    The moments of R are kept as they are while P moves.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("online-subspace-descent", lr=0.1, rank=1, scale=1.0)
    >>> x = np.zeros((2, 3))
    >>> x, s = o.update(x, np.eye(2, 3) * [[3.0], [1.0]], o.init(x))
    >>> print(x.round(6) + 0.0)
    [[-0.1  0.   0. ]
     [ 0.   0.   0. ]]
    """

    slots = ("m", "v", "basis", "basis_m", "basis_v")
    scale: float = hyper(0.25, "(0, inf)", "On projected leaves alone.")
    basis_ratio: float = hyper(5.0, "[0, inf)",
        "α: P's rate is α η. The authors' code has 1 / update_proj_gap at the rate it starts with.")  # fmt: skip
    basis_optimizer: str = hyper("adamw", ("adamw", "sgd"), "What moves P.")
    basis_decay: float = hyper(0.0, "[0, inf)", "Of P, decoupled, with adamw.")
    basis_beta1: float = hyper(0.9, "[0, 1)")
    basis_beta2: float = hyper(0.999, "[0, 1)")
    basis_eps: float = hyper(1e-8, "[0, inf)")
    penalty: float = hyper(1.0, "[0, inf)", "λ.")
    update_every: int = hyper(10**9, "int [1, inf)",
        "A fresh subspace from the singular vectors after so many steps, besides.")  # fmt: skip

    def first_slots(self, leaf, projected):
        slots = super().first_slots(leaf, projected)
        zeros = tuple(namespace(leaf).zeros_like(P) for P in slots["basis"])
        return {**slots, "basis_m": zeros, "basis_v": tuple(a + 0.0 for a in zeros)}

    def scalars(self, t, carried):
        # P has made t - 2 steps before step t.
        n = max(t - 1, 1)
        return {
            **super().scalars(t, carried),
            "basis_rate": self.basis_ratio * self.rate(t),
            "basis_c1": correction(self.basis_beta1, n),
            "basis_root": correction(self.basis_beta2, n) ** -0.5,
        }

    def rule(self, xp):
        def online(
            x, g, m, v, basis, basis_m, basis_v, t, due, step, root, eps, others, others_root, basis_rate, basis_c1, basis_root, l2, keep
        ):  # fmt: skip
            g = g + l2 * x
            if not basis:
                x, m, v = self.unprojected(xp, x, g, m, v, root, eps, others, others_root, keep)
                return x, m, v, basis, basis_m, basis_v
            if due:
                m, v, basis = self.refreshed(g, m, v, basis, t)
            axes = projected_axes(x.shape, self.side)
            m, v, u = self.averaged(xp, down(g, basis, axes), m, v, root, eps)
            x = self.moved(x, step * self.scale * up(u, basis, axes), keep)
            if t > 1.0:
                slopes = tuple(
                    self.slope(xp, xp.matrix_transpose(g) if a else g, P) for a, P in zip(axes, basis)
                )
                rows = [
                    self.learnt(xp, *leaf, basis_rate, basis_c1, basis_root)
                    for leaf in zip(basis, slopes, basis_m, basis_v)
                ]
                basis, basis_m, basis_v = zip(*rows)
            return x, m, v, basis, basis_m, basis_v

        return online

    def slope(self, xp: Namespace, g: Array, P: Array) -> Array:
        """Return the gradient of L at P, for a projection from the left."""
        H = g / nonzero(xp)(lengths(xp.reshape(g, (-1,)), 0, keepdims=True))
        back, low = xp.matrix_transpose(H), xp.matrix_transpose(P)
        E = P @ (low @ H) - H
        slope = 2.0 * (E @ (back @ P) + H @ (xp.matrix_transpose(E) @ P))
        return slope + 4.0 * self.penalty * (P @ (low @ P) - P)

    def learnt(
        self, xp: Namespace, P: Array, slope: Array, m: Array, v: Array, rate: float, c1: float, root: float
    ) -> tuple[Array, Array, Array]:
        """Return P after its own step, and that optimizer's moments."""
        if self.basis_optimizer == "sgd":
            return P - rate * slope, m, v
        m = ema(m, slope, self.basis_beta1, 1.0 - self.basis_beta1)
        v = ema(v, slope * slope, self.basis_beta2, 1.0 - self.basis_beta2)
        below = nonzero(xp)(xp.sqrt(v) * root + self.basis_eps)
        return (1.0 - rate * self.basis_decay) * P - rate / c1 * m / below, m, v


dialect(OnlineSubspaceDescent, "official", "kyleliang919/Online-Subspace-Descent adamw.py",
    "without the penalty", side="std", eps=1e-6, eps_corrected=False, decay_after=True, penalty=0.0,
    basis_decay=0.01)  # fmt: skip
