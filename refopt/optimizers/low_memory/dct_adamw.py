"""DCT-AdamW: GaLore on chosen columns of the cosine transform (Modoranu et al. 2025)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from refopt.core.arrays import Array, lengths, like, namespace
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.low_memory.subspace import (
    AT_REFRESH,
    SIDES,
    Projected,
    down,
    projected_axes,
    up,
)

MODORANU = Source("modoranu-2025-svd", "I.-V. Modoranu, M. Safaryan, E. Schultheis, M. Ryabinin, A. Chumachenko,"
    " D. Alistarh", "SVD-Free Low-Rank Adaptive Gradient Optimization for Large Language Models",
    arxiv="2505.17967")  # fmt: skip


@lru_cache(maxsize=64)
def cosines(n: int) -> np.ndarray:
    """Return the orthogonal matrix of DCT-III: ``C_ij = sqrt(2/n) cos(π i (2j+1) / (2n))``, row 0 over sqrt 2."""
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    # The cosine's argument is reduced in integers, or it would lose digits for large n.
    C = np.sqrt(2.0 / n) * np.cos(np.pi * ((i * (2 * j + 1)) % (4 * n)) / (2 * n))
    C[0] *= np.sqrt(0.5)
    C.flags.writeable = False
    return C


@register("dct-adamw", source=MODORANU, where="Algorithm 1")
class DCTAdamW(Projected):
    """DCT-AdamW: AdamW on the r columns of a fixed cosine basis that hold most of the gradient.

    ``A = G + E``, ``S = A C`` with C of the discrete cosine transform; every T steps I are the r columns of S of
    the largest norms. ``a = A C_I``, ``E ← A - a C_Iᵀ``. The moments go along to the new columns:
    ``R = C_I_oldᵀ C_I_new``, ``M ← M R``, ``V ← |V R|``. Adam on a gives N, and
    ``W ← (1 - η λ) W - η N C_Iᵀ``. For a wide matrix, the same from the left.

    Notes
    -----
    R is zero but for the columns that stay. In the authors' code the product with R is written over its own
    operand, which on a processor leaves zeros; that is taken for a fault. Their columns come in the order of torch's
    unsorted topk, here those of the largest norms first, which matters where M and V are kept as they are.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("dct-adamw", lr=0.1, rank=1, error_feedback=False)
    >>> x = np.zeros((3, 2))
    >>> x, s = o.update(x, np.ones((3, 2)), o.init(x))
    >>> s["columns"][0]
    array([0])
    """

    slots = ("m", "v", "columns", "error")
    scale: float = hyper(1.0, "(0, inf)", "On projected leaves alone.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")
    update_every: int = hyper(1, "int [1, inf)", "T: new columns at t = T, 2T, … besides the first.")
    refresh_at_multiples: bool = hyper(True, words="False: at t = 1, T + 1, 2T + 1, … instead.")
    at_refresh: str = hyper(
        "project", AT_REFRESH, "project: as above; keep: M and V stay; reset: they are zero."
    )
    side: str = hyper("std", SIDES[:-1],
        "Which side becomes r long: std, the right one of a matrix with m ≥ n, else the left one.")  # fmt: skip
    error_feedback: bool = hyper(True, words="False: E = 0.")
    norm: str = hyper("l2", ("l1", "l2"), "Of the columns of S, for the choice: l2 leaves the least E.")
    transform: str = hyper("dct3", ("dct3", "dct2"),
        "dct3: S = A C, as in the code's matmul; dct2: S = A Cᵀ, as in its makhoul.")  # fmt: skip

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots; E is none where there is no feedback."""
        return self.slots if self.error_feedback else self.slots[:3]

    def first_slots(self, leaf, projected):
        slots = super().first_slots(leaf, projected)
        basis = slots.pop("basis")
        columns = tuple(namespace(P).arange(P.shape[1], device=P.device) for P in basis)
        return {**slots, "columns": columns, "error": namespace(leaf).zeros_like(leaf) if basis else ()}

    def rule(self, xp):
        def dct(x, g, m, v, columns, error, t, due, step, root, eps, others, others_root, l2, keep):
            g = g + l2 * x
            if not columns:
                x, m, v = self.unprojected(xp, x, g, m, v, root, eps, others, others_root, keep)
                return x, m, v, columns, error
            axes = projected_axes(x.shape, self.side)
            whole = g if error is None else g + error
            C = like(cosines(x.shape[axes[0]]), x)
            C = xp.matrix_transpose(C) if self.transform == "dct2" else C
            if due:
                m, v, columns = self.chosen(whole, m, v, columns, C, axes, t)
            basis = (xp.take(C, columns[0], axis=1),)
            low = down(whole, basis, axes)
            m, v, u = self.averaged(xp, low, m, v, root, eps)
            x = self.moved(x, step * self.scale * up(u, basis, axes), keep)
            return x, m, v, columns, None if error is None else whole - up(low, basis, axes)

        def without(x, g, m, v, columns, t, due, step, root, eps, others, others_root, l2, keep):
            return dct(x, g, m, v, columns, None, t, due, step, root, eps, others, others_root, l2, keep)[:-1]

        return dct if self.error_feedback else without

    def chosen(
        self,
        A: Array,
        m: Array,
        v: Array,
        columns: tuple[Any, ...],
        C: Array,
        axes: tuple[int, ...],
        t: float,
    ) -> tuple[Array, Array, tuple[Any, ...]]:
        """Return the moments and the columns of a new choice."""
        xp = namespace(A)
        S, across = down(A, (C,), axes), 1 - axes[0]
        sizes = (
            lengths(S, across, keepdims=True)
            if self.norm == "l2"
            else xp.sum(xp.abs(S), axis=across, keepdims=True)
        )
        order = xp.argsort(xp.reshape(sizes, (-1,)), descending=True)
        new = order[: columns[0].shape[0]]
        if self.at_refresh == "reset":
            m, v = 0.0 * m, 0.0 * v
        elif self.at_refresh == "project" and t > 1.0:
            stays = xp.astype(xp.expand_dims(columns[0], axis=1) == xp.expand_dims(new, axis=0), A.dtype)
            m, v = down(m, (stays,), axes), down(v, (stays,), axes)
        return m, v, (new,)


dialect(DCTAdamW, "official", "IST-DASLab/ISTA-DASLab-Optimizers dct_adamw.py", "no feedback and no rotation, columns"
    " by their l1 norms", error_feedback=False, at_refresh="keep", norm="l1")  # fmt: skip
