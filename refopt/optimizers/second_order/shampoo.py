"""Shampoo: one preconditioner for every axis of a tensor (Gupta et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refopt.core.arrays import Array, namespace
from refopt.core.cost import Cost
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.matrix.common import eigh, from_eigen
from refopt.matrix.inverse_root import inverse_pth_root
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.modes import mode_gram, mode_product

GUPTA = Source("gupta-2018-shampoo", "V. Gupta, T. Koren, Y. Singer",
    "Shampoo: Preconditioned Stochastic Tensor Optimization", arxiv="1802.09568")  # fmt: skip


def square_zeros(leaf: Array, n: int) -> Array:
    """Return an n x n matrix of zeros of the library, dtype and device of `leaf`."""
    return namespace(leaf).zeros((n, n), dtype=leaf.dtype, device=leaf.device)


def root_of_sum(S: Array, power: int, eps: float, method: str) -> Array:
    """Return ``(eps I + S)^(-1/power)`` of a sum of Gram matrices.

    Its eigenvalues are eps at least; what rounding takes away below that is given back.
    """
    if method == "newton":
        return inverse_pth_root(S, power, ridge=eps, ridge_rule="absolute")
    xp = namespace(S)
    values, vectors = eigh(S)
    eps = max(eps, float(xp.finfo(S.dtype).smallest_normal))
    return from_eigen(vectors, (xp.maximum(values, 0.0) + eps) ** (-1.0 / power))


def _square_state(n: int) -> Callable[[], Any]:
    return lambda: dict(Shampoo().init(np.ones((n, n))))


@register(
    "shampoo",
    source=GUPTA,
    costs=(Cost("n", 2.0, "one n x n matrix an axis", _square_state, (32, 64, 128, 256), "bytes", 0.02),),
    where="Algorithm 2, for tensors of any order",
)
class Shampoo(Decay):
    """Shampoo: the gradient times an inverse root of its summed Gram matrix, along every axis.

    For a tensor of k axes ``H^i_t = H^i_{t-1} + mat_i(G_t) mat_i(G_t)^T`` from ``H^i_0 = ε I``, and
    ``W_{t+1} = W_t - η G_t ×_1 (H^1_t)^{-1/(2k)} … ×_k (H^k_t)^{-1/(2k)}``; for a matrix
    ``L^{-1/4} G R^{-1/4}``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("shampoo", lr=0.1, eps=1e-12)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.diag([3.0, 0.1]), o.init(x))
    >>> print(np.diag(x).round(6))
    [-0.1 -0.1]
    """

    slots = ("sums", "buffer")
    lr: Rate = hyper(0.1, "[0, inf)", "η, in the units of W.")
    eps: float = hyper(1e-4, "(0, inf)", "ε, in the units of the gradient squared.")
    exponent: str = hyper("twice-order", ("twice-order", "order"), "-1/(2k), or -1/k.")
    in_turn: bool = hyper(False,
        words="False: every axis sees the raw gradient. True: the gradient already preconditioned along"
        " the axes before.")  # fmt: skip
    momentum: float = hyper(0.0, "[0, 1)",
        "μ: ``(1 - μ) G_t + μ`` times the last preconditioned step takes the gradient's place, the first"
        " gradient for the first step. The libraries' way; Algorithm 2 has none (0).")  # fmt: skip
    root: str = hyper("eigh", ("eigh", "newton"),
        "How the inverse root is computed: by eigendecomposition, or by the coupled Newton iteration of"
        " `refopt.matrix.inverse_root.inverse_pth_root`.")  # fmt: skip
    scalars_too: bool = hyper(True,
        words="A scalar is a vector of one entry (True); or, having no axis, has no preconditioner, as"
        " in libraries.")  # fmt: skip

    def rule(self, xp):
        def moved(x, g, sums, lr, l2, keep):
            step = g + l2 * x
            if x.shape or self.scalars_too:
                step, sums = self.precondition(xp.reshape(step, x.shape or (1,)), sums)
                step = xp.reshape(step, x.shape)
            return keep * x - lr * step, sums, step

        def shampoo(x, g, sums, lr, l2, keep):
            return moved(x, g, sums, lr, l2, keep)[:2]

        def with_momentum(x, g, sums, buffer, first, lr, l2, keep):
            if not first:
                g = (1.0 - self.momentum) * g + self.momentum * buffer
            return moved(x, g, sums, lr, l2, keep)

        return with_momentum if self.momentum else shampoo

    def active_slots(self) -> tuple[str, ...]:
        """Return the Gram sums, and the last step where there is momentum."""
        return self.slots if self.momentum else self.slots[:1]

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return a tuple of zero matrices, one an axis (ε I is added at the root); or zeros."""
        if slot == "buffer":
            return super().init_slot(slot, leaf)
        return tuple(square_zeros(leaf, n) for n in leaf.shape or (1,))

    def scalars(self, t, carried):
        return {"first": float(t == 1)}

    def precondition(self, G: Array, sums: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        """Return the preconditioned G and the new Gram sums."""
        power = len(sums) * (2 if self.exponent == "twice-order" else 1)
        out, new = G, []
        for axis, S in enumerate(sums):
            S = S + mode_gram(out if self.in_turn else G, axis)
            new.append(S)
            out = mode_product(out, axis, root_of_sum(S, power, self.eps, self.root))
        return out, tuple(new)


dialect(
    Shampoo, "kozistr", "pytorch_optimizer 4.1 Shampoo", lr=1e-3, eps=1e-6, decay="coupled", scalars_too=False
)
dialect(Shampoo, "jettify", "jettify/pytorch-optimizer torch_optimizer/shampoo.py",
    "exponent -1/k; an axis sees the gradient already preconditioned along those before", lr=0.1,
    exponent="order", in_turn=True, decay="coupled", scalars_too=False)  # fmt: skip
