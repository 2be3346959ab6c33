"""FlashAdamW: AdamW whose two averages are kept in eight bits (Gonzalez Ortiz et al. 2026)."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from refopt.core.arrays import Array, like, namespace, to_numpy
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero

FLASH = Source("gonzalez-2026-flashoptim", "J. J. Gonzalez Ortiz, A. Gupta, C. Rinard, D. Blalock", "FlashOptim: Optimizers for Memory Efficient Training",
    arxiv="2602.23349")  # fmt: skip


def halved(scales: Array) -> Array:
    """Return positive numbers rounded to half precision, in their own dtype."""
    with np.errstate(over="ignore"):
        return like(to_numpy(scales).astype(np.float16), scales)


def quantized(a: Array, levels: float, size: int, *, softsign: bool) -> Array:
    """Return what is left of an array that was stored in eight bits, in runs of `size` entries with a scale each.

    With ``s = max |a|`` of the run, at least 1e-12, and ``b = a / s``, companded ``b ← 2 b / (1 + |b|)``: ``q = round(levels b)``; and back,
    ``b = q / levels``, ``b ← b / (2 - |b|)``, times s in half precision.

    Parameters
    ----------
    a : array
    levels : float
        127 for signed codes, 255 for others.
    size : int
        Entries of a run, in the order of the flattened array; the last run may be shorter.
    softsign : bool
        Whether numbers are companded.

    Returns
    -------
    array of the shape and dtype of `a`
    """
    xp, n = namespace(a), math.prod(a.shape)
    flat = xp.reshape(a, (-1,))
    if n % size:
        flat = xp.concat([flat, xp.zeros(size - n % size, dtype=a.dtype, device=a.device)])
    runs = xp.reshape(flat, (-1, size))
    s = xp.clip(xp.max(xp.abs(runs), axis=1, keepdims=True), min=1e-12)
    b = runs / s
    if softsign:
        b = 2.0 * b / (1.0 + xp.abs(b))
    b = xp.round(levels * b) / levels
    if softsign:
        b = b / (2.0 - xp.abs(b))
    return xp.reshape(xp.reshape(b * halved(s), (-1,))[:n], a.shape)


@register("flash-adamw", source=FLASH, where="FlashAdamW, the companded eight-bit states", state_copies=2)
class FlashAdamW(Decay):
    """FlashAdamW: AdamW that forgets of its averages what eight bits do not hold.

    ``m_t = β1 Q(m_{t-1}) + (1 - β1) g_t``, ``v_t = β2 R(v_{t-1})² + (1 - β2) g_t²``, ``x_t = (1 - η λ) x_{t-1} - η m̂_t / (sqrt(v̂_t) + ε)``, where Q
    keeps one of 255 levels, companded to be close near zero, and R one of 256 of the root of v, both relative to the largest of 32
    entries that lie side by side (`quantized`).

    Notes
    -----
    The state has the numbers that the codes stand for, so that it is as large as AdamW's; a code has a byte for each and half a precision for each scale.
    A root of v below 1/510 of the largest beside it is forgotten, so that ε alone is left below. Scales above 65504 overflow. Weights are kept as
    they are given: the code's splitting of them into half precision and an error code, off by default, is not here.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("flash-adamw", lr=0.1)
    >>> x, s = o.update(np.zeros(2), np.array([1.0, 0.3]), o.init(np.zeros(2)))
    >>> print(x.round(6), (10.0 * s["m"]).round(4))  # the nearest of 255 levels
    [-0.1 -0.1] [0.9998 0.3025]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    run: int = hyper(32, "int [1, inf)", "Entries that share a scale.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def flash(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            new = keep * x - step * m / divisor(xp.sqrt(v) * root + eps)
            return (
                new,
                quantized(m, 127.0, self.run, softsign=True),
                quantized(xp.sqrt(v), 255.0, self.run, softsign=False) ** 2,
            )

        return flash

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
        }


dialect(
    FlashAdamW,
    "official",
    "databricks/flashoptim flashoptim/optimizers.py; pytorch_optimizer 4.1 FlashAdamW alike",
    "computes in float32",
)
