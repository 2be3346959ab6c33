"""Adalite: relative gradients over factored averages of both moments (VatsaDev 2024)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.lmo import as_matrix
from refopt.optimizers.common.trust import leaf_norm

VATSADEV = Source("vatsadev-2024-adalite", "VatsaDev", "Adalite", url="https://github.com/VatsaDev/adalite")


def softmax(a: Array) -> Array:
    """Return the softmax of a vector."""
    xp = namespace(a)
    e = xp.exp(a - xp.max(a))
    return e / xp.sum(e)


@register("adalite", source=VATSADEV, where="train.py, the class Adalite")
class Adalite(Decay):
    """Adalite: Adam on gradients as long as the weights, a matrix's averages kept as matrices of rank one.

    ``ĝ = g max(‖x‖ / max(‖g‖, 1e-10), 1e-4)``. A vector has averages m and v; a matrix begins with ``v = r c^T / Σ r``, ``m = u C R^T`` from the state. Then
    ``m ← β1 m + (1 - β1) ĝ``, ``v ← β2 v + (1 - β2) (ĝ - m)²``, ``v̂ = v / (1 - β2^t)``; of a matrix, with the weights ``W = a b^T`` of rows
    ``a = softmax(mean_j v)`` and columns ``b = softmax(mean_i v)``: ``m ← W m + (1 - W) ĝ``. ``U = β1 m + (1 - β1) ĝ``,
    ``x ← x - η (U / sqrt(v̂ + ε) + λ x)``. A matrix keeps ``r = Σ_j v``, ``c = Σ_i v / Σ v``, and with softmaxes at the temperature τ ``C = m b``, ``R = m^T a``,
    ``u = C^T m R / (‖C‖² ‖R‖²)``.

    Notes
    -----
    There is no paper: the rule is the code's. r c^T is divided by the sum of v a second time, so that the entries of v that a matrix
    begins a step with always sum to 1, which looks like a fault. Leaves of more axes are matrices of (first axis, rest). A leaf
    of one entry has its gradient as it is, and one of zeros a ratio of 1e-4.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adalite", lr=0.1, beta1=0.0, beta2=0.0, eps=1.0, weight_decay=0.0)
    >>> x, s = o.update(np.array([3.0, 4.0]), np.array([0.0, 2.0]), o.init(np.array([3.0, 4.0])))
    >>> print(x)  # a gradient of length 5, with nothing below it
    [3.  3.5]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-6, "[0, inf)", "ε, in the units of x².")
    temperature: float = hyper(1.0, "(0, inf)", "τ.")
    least_norm: float = hyper(1e-10, "(0, inf)", "Of a gradient, in its units.")
    least_ratio: float = hyper(1e-4, "[0, inf)", "Of the two lengths.")
    least_sum: float = hyper(1e-10, "(0, inf)", "What sums that divide are at least.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: of a matrix u, C and R, or r and c."""
        xp = namespace(leaf)
        if leaf.ndim < 2:
            return xp.zeros_like(leaf)
        M = xp.zeros_like(as_matrix(leaf))
        rows, columns = xp.sum(M, axis=1), xp.sum(M, axis=0)
        return (xp.sum(M), rows, columns) if slot == "m" else (rows, columns)

    def rule(self, xp):
        divisor = nonzero(xp)

        def adalite(x, g, m, v, beta1, k1, beta2, k2, c2, eps, lr, l2, keep):
            g = g + l2 * x
            if math.prod(g.shape) > 1:
                ratio = xp.clip(
                    leaf_norm(x) / xp.clip(leaf_norm(g), min=self.least_norm), min=self.least_ratio
                )
                g = g * ratio
            if g.ndim < 2:
                m = ema(m, g, beta1, k1)
                v = ema(v, (g - m) ** 2, beta2, k2)
                u = ema(m, g, beta1, k1) / divisor(xp.sqrt(v / c2 + eps))
                return keep * x - lr * u, m, v
            g = as_matrix(g)
            u, C, R = m
            r, c = v
            m = ema(u * outer(C, R), g, beta1, k1)
            v = ema(outer(r, c) / xp.clip(xp.sum(r), min=self.least_sum), (g - m) ** 2, beta2, k2)
            rows, columns = xp.mean(v, axis=1), xp.mean(v, axis=0)
            W = outer(softmax(rows), softmax(columns))
            m = W * m + (1.0 - W) * g
            step = ema(m, g, beta1, k1) / divisor(xp.sqrt(v / c2 + eps))
            C, R = m @ softmax(columns / self.temperature), softmax(rows / self.temperature) @ m
            below = xp.clip(xp.sum(C * C) * xp.sum(R * R), min=self.least_sum)
            m = (xp.sum(C * (m @ R)) / below, C, R)
            v = (xp.sum(v, axis=1), xp.sum(v, axis=0) / xp.clip(xp.sum(v), min=self.least_sum))
            return keep * x - lr * xp.reshape(step, x.shape), m, v

        return adalite

    def scalars(self, t, carried):
        return {"k1": 1.0 - self.beta1, "k2": 1.0 - self.beta2, "c2": correction(self.beta2, t)}


def outer(a: Array, b: Array) -> Array:
    """Return ``a b^T``."""
    xp = namespace(a)
    return xp.reshape(a, (-1, 1)) * xp.reshape(b, (1, -1))


dialect(Adalite, "kozistr", "pytorch_optimizer 4.1 Adalite")
