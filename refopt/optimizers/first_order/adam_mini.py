"""Adam-mini: one second moment for a whole block of parameters (Zhang et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, check_start, leaves, rebuild
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay

ZHANG_MINI = Source("zhang-2024-adam", "Y. Zhang, C. Chen, Z. Li, T. Ding, C. Wu, et al.",
    "Adam-mini: Use Fewer Learning Rates To Gain More", arxiv="2406.16793")  # fmt: skip
PARTITIONS = ("entry", "row", "tensor")


def matrices_by_row(name: str, leaf: Array) -> str:
    """Return "row" for matrices and kernels (an output unit is a block), "tensor" for vectors."""
    return "row" if leaf.ndim >= 2 else "tensor"


def count_blocks(name: str, leaf: Array, blocks: Any) -> int:
    """Return into how many blocks of consecutive entries a leaf is cut."""
    chosen = blocks(name, leaf) if callable(blocks) else blocks
    size = math.prod(leaf.shape)
    if isinstance(chosen, str):
        if chosen not in PARTITIONS:
            raise ArgumentError(
                f"blocks: wanted one of {', '.join(PARTITIONS)}, a number or a function of name and leaf, got {chosen!r}"
            )
        return {"entry": size, "row": leaf.shape[0] if leaf.ndim else 1, "tensor": 1}[chosen]
    if isinstance(chosen, bool) or not isinstance(chosen, int):
        raise ArgumentTypeError(
            f"blocks: wanted a str, an int or a function that returns one, got {chosen!r}"
        )
    if chosen < 1 or size % chosen:
        raise ShapeError(f"blocks: wanted a divisor of {size}, the size of leaf {name!r}, got {chosen}")
    return chosen


@register(
    "adam-mini", source=ZHANG_MINI, where="Algorithm 1, with the partition as a setting", state_copies=1
)
class AdamMini(Decay):
    """Adam-mini: Adam whose second moment is averaged over a block of parameters.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, and for every block b
    ``v_b ← β2 v_b + (1 - β2) mean_{i in b} g_i²``,
    ``x_b ← (1 - η λ) x_b - η (m_b / (1 - β1^t)) / (sqrt(v_b / (1 - β2^t)) + ε)``.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
        `blocks` gives something else, or a number that does not divide a leaf's size.

    Notes
    -----
    The authors' code chooses by names: queries and keys by head, embeddings, values, projections, MLPs
    and the output by row, biases by entry, everything else whole. It does not decay leaves whose names
    contain norm, ln or bias; here the decay is of every leaf that the optimizer is given.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adam-mini", lr=0.1, blocks="tensor")
    >>> x = np.zeros(2)
    >>> x, s = o.update(x, np.array([3.0, 4.0]), o.init(x))
    >>> print(x.round(4))
    [-0.0849 -0.1131]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    blocks: str | int | Callable[[str, Array], str | int] = hyper(matrices_by_row,
        words='How leaves are cut: ``"entry"`` (Adam), ``"row"`` (along the first axis: an output unit,'
        ' a token), ``"tensor"``; a number of equal blocks of consecutive entries (the heads of a'
        " query or key matrix); or a function of name and leaf that returns one of these. Default:"
        " rows of matrices and kernels, vectors whole.")  # fmt: skip

    def rule(self, xp):
        def mini(x, g, m, v, step, root, l2, keep):
            g = g + l2 * x
            m = ema(m, g, self.beta1, 1.0 - self.beta1)
            cut = xp.reshape(g, (v.shape[0], -1))
            v = ema(v, xp.mean(cut * cut, axis=1, keepdims=True), self.beta2, 1.0 - self.beta2)
            below = xp.sqrt(v) * root + self.eps
            below = xp.where(below > 0.0, below, xp.ones_like(below))
            u = xp.reshape(xp.reshape(m, cut.shape) / below, x.shape)
            return keep * x - step * u, m, v

        return mini

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; v has one number a block, as a column."""
        x = check_start(x, "x")
        s = super().init(x)

        def column(name: str, leaf: Array) -> Array:
            n = count_blocks(name, leaf, self.blocks)
            return namespace(leaf).zeros((n, 1), dtype=leaf.dtype, device=leaf.device)

        return {**s, "v": rebuild(x, {k: column(k, leaf) for k, leaf in leaves(x).items()})}

    def scalars(self, t, carried):
        return {"step": self.rate(t) / correction(self.beta1, t), "root": correction(self.beta2, t) ** -0.5}
