"""Distributed Shampoo: Shampoo by blocks, with averages, grafting and roots that are kept (Shi et al. 2023)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from refopt.core import arrays
from refopt.core.arrays import Array, eye_like, namespace, put
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, register
from refopt.matrix.common import eigh, from_eigen
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.modes import mode_gram, mode_product
from refopt.optimizers.second_order.shampoo import GUPTA, square_zeros

SHI_2023 = Source("shi-2023-distributed",
    "H.-J. M. Shi, T.-H. Lee, S. Iwasaki, J. Gallego-Posada, Z. Li, K. Rangadurai, D. Mudigere, M. Rabbat",
    "A Distributed Data-Parallel PyTorch Implementation of the Distributed Shampoo Optimizer for Training Neural"
    " Networks At-Scale", arxiv="2309.06497")  # fmt: skip
ANIL = Source("anil-2020-scalable", "R. Anil, V. Gupta, T. Koren, K. Regan, Y. Singer",
    "Scalable Second Order Optimization for Deep Learning", arxiv="2002.09018")  # fmt: skip
Factors = tuple[tuple[Array, ...], ...]


def merged(shape: tuple[int, ...], most: float) -> tuple[int, ...]:
    """Return the shape without axes of 1, neighbours multiplied from the last on while the product is at most `most`."""
    found: list[int] = []
    for n in reversed([n for n in shape if n != 1]):
        if found and found[-1] * n <= most:
            found[-1] *= n
        else:
            found.append(n)
    return tuple(reversed(found)) or (1,)


def blocks(shape: tuple[int, ...], size: float) -> Iterator[tuple[slice, ...]]:
    """Give the blocks of at most `size` along every axis, the last axis fastest."""
    cuts = [[slice(i, min(i + int(min(size, n)), n)) for i in range(0, n, int(min(size, n)))] for n in shape]
    return itertools.product(*cuts)


def inverse_root(H: Array, exponent: float, eps: float) -> Array:
    """Return ``(H + ε I)^-exponent``; where rounding has taken H's least eigenvalue below zero, all are raised by it."""
    xp = namespace(H)
    values, vectors = eigh(H)
    least = float(xp.min(values))
    values = values - min(least, 0.0) + max(eps, float(xp.finfo(H.dtype).smallest_normal))
    return from_eigen(vectors, values**-exponent)


@register(
    "distributed-shampoo",
    source=SHI_2023,
    where="the complete algorithm: blocking, exponential averages, bias correction, grafting, momentum",
    also=(ANIL, GUPTA),
    calm_problem=("quadratic", {"n": 1}),
)
class DistributedShampoo(Decay):
    """Distributed Shampoo: Shampoo on blocks of a leaf, with steps as long as those of a simpler method.

    A leaf is reshaped (`merged`) and cut into blocks of at most `max_size` along each of k axes. For a block of G:
    ``H^i ← β2 H^i + (1 - β2) mat_i(G) mat_i(G)^T`` (a sum for β2 = 1), ``M ← β1 M + (1 - β1) G``; every
    f steps ``R^i = (H^i / (1 - β2^t) + ε I)^(-1/(2k))``, which is I until step s. With ``M̂ = M / (1 - β1^t)``,
    ``P = M̂ ×_1 R^1 … ×_k R^k``, grafted ``P ← P ‖A‖ / (‖P‖ + 1e-16)`` where A is the grafting method's direction;
    before step s P is A itself. ``P ← P + λ W``, ``B ← μ B + (1 - d) P``, ``W ← W - η B``.

    Notes
    -----
    The grafting method sees the same M̂: A is M̂ (``sgd``), or M̂ over ``sqrt(S) + ε_g`` with S the sum of squared
    gradients (``adagrad``) or their average with weight β_g, divided by ``1 - β_g^t`` (``adam``; the code's ``rmsprop`` differs
    from it by the default of β_g alone). Norms are of blocks. Google's code of the
    method (pjit and pmap, whole-tensor norms, two momenta) is not among the dialects.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("distributed-shampoo", lr=0.1, grafting="sgd")
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.diag([3.0, 4.0]), o.init(x))
    >>> print(round(float(np.linalg.norm(x)), 6))  # the rate times the gradient's norm
    0.5
    """

    slots = ("factors", "roots", "filtered", "squares", "buffer")
    lr: Rate = hyper(1e-2, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(1.0, "(0, 1]", "β2.")
    beta3: float | None = hyper(None, "[0, 1)",
        "β3: ``M̂ = (β3 M_{t-1} + (1 - β3) G) / (1 - β3 β1^(t-1))`` in the filter's place. None: β1.")  # fmt: skip
    eps: float = hyper(1e-12, "(0, inf)", "ε, in the units of the gradient squared.")
    max_size: float = hyper(1024, "[1, inf]", "The longest side of a block; inf: no blocks.")
    merge: bool = hyper(
        True, words="Whether neighbouring axes are multiplied up to `max_size`, and axes of 1 dropped."
    )
    update_every: int = hyper(1, "int [1, inf)", "f.")
    start: int | None = hyper(None, "int [1, inf)", "s, at least f. None: f.")
    exponent: float | None = hyper(None, "(0, inf)", "In place of 1/(2k).")
    bias_correction: bool = hyper(True, words="Whether M, H and S are divided as above.")
    grafting: str = hyper("none", ("none", "sgd", "adagrad", "adam"), "See above.")
    grafting_beta: float = hyper(0.999, "[0, 1)", "β_g; the code has 0.99 for ``rmsprop``.")
    grafting_eps: float = hyper(1e-10, "(0, inf)", "ε_g.")
    momentum: float = hyper(0.0, "[0, 1)", "μ.")
    dampening: float = hyper(0.0, "[0, 1)", "d.")
    nesterov: bool = hyper(False, words="``W ← W - η ((1 - d) P + μ B)``.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None and self.start < self.update_every:
            raise ArgumentError(
                f"distributed-shampoo: start: wanted at least update_every = {self.update_every}, got {self.start}"
            )

    def rule(self, xp):
        def shampoo(x, g, factors, roots, filtered, squares, buffer, t, c1, c2, cg, lr, l2, extra, apart):
            g = g + l2 * x
            G = xp.reshape(g, self.shape(x.shape))
            cuts = tuple(blocks(tuple(G.shape), self.max_size))
            gain = 1.0 - self.beta2 if self.beta2 < 1.0 else 1.0
            factors = tuple(
                tuple(ema(H, mode_gram(G[cut], i), self.beta2, gain) for i, H in enumerate(Hs))
                for cut, Hs in zip(cuts, factors)
            )
            if self.due(int(t)):
                roots = tuple(tuple(self.root(H / c2, len(Hs)) for H in Hs) for Hs in factors)
            if self.grafting in ("adagrad", "adam"):
                keep = 1.0 if self.grafting == "adagrad" else self.grafting_beta
                squares = ema(squares, g * g, keep, 1.0 if self.grafting == "adagrad" else 1.0 - keep)
            M = g
            if self.beta1:
                beta = self.beta1 if self.beta3 is None else self.beta3
                M = ema(filtered, g, beta, 1.0 - beta) / c1
                filtered = ema(filtered, g, self.beta1, 1.0 - self.beta1)
            A = self.grafted(M, squares, cg)
            P = self.direction(xp.reshape(M, G.shape), xp.reshape(A, G.shape), cuts, roots, int(t))
            P = xp.reshape(P, x.shape) + extra * x
            if self.momentum:
                buffer = self.momentum * buffer + (1.0 - self.dampening) * P
                P = (1.0 - self.dampening) * P + self.momentum * buffer if self.nesterov else buffer
            return apart * x - lr * P, factors, roots, filtered, squares, buffer

        return shampoo

    def scalars(self, t, carried):
        rate = self.rate(t)
        beta = self.beta1 if self.beta3 is None else self.beta3
        corrected = self.bias_correction
        return {
            "t": float(t),
            "c1": 1.0 - beta * self.beta1 ** (t - 1) if corrected else 1.0,
            "c2": correction(self.beta2, t) if corrected and self.beta2 < 1.0 else 1.0,
            "cg": correction(self.grafting_beta, t) if corrected and self.grafting == "adam" else 1.0,
            # The decay is part of what momentum sees.
            "extra": (1.0 - self.keep(t)) / rate if rate > 0.0 else 0.0,
            "apart": 1.0,
        }

    @property
    def first(self) -> int:
        """The step s."""
        return self.update_every if self.start is None else self.start

    def due(self, t: int) -> bool:
        """Tell whether roots are made anew at step t."""
        return t == self.first or (t > self.first and t % self.update_every == 0)

    def root(self, H: Array, axes: int) -> Array:
        """Return the inverse root of a factor of a block of `axes` axes."""
        return inverse_root(H, self.power(axes), self.eps)

    def power(self, axes: int) -> float:
        """Return the exponent of a block of `axes` axes."""
        return 1.0 / (2.0 * axes) if self.exponent is None else self.exponent

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in which a leaf is cut into blocks."""
        return merged(tuple(shape), self.max_size) if self.merge else tuple(shape) or (1,)

    def grafted(self, M: Array, squares: Array, cg: float) -> Array:
        """Return A."""
        if self.grafting in ("none", "sgd"):
            return M
        return M / (namespace(M).sqrt(squares / cg) + self.grafting_eps)

    def direction(
        self, M: Array, A: Array, cuts: tuple[tuple[slice, ...], ...], roots: Factors, t: int
    ) -> Array:
        """Return P, block by block."""
        if self.grafting != "none" and t < self.first:
            return A
        out = namespace(M).zeros_like(M)
        for cut, Rs in zip(cuts, roots):
            P = M[cut]
            for axis, R in enumerate(Rs):
                P = mode_product(P, axis, R)
            if self.grafting != "none":
                P = arrays.norm(A[cut]) / (arrays.norm(P) + 1e-16) * P
            out = put(out, cut, P)
        return out

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zero matrices, identities or zeros for one leaf; nothing for a slot that is not in use."""
        if slot in ("factors", "roots"):
            G = namespace(leaf).reshape(leaf, self.shape(leaf.shape))
            parts = [G[cut] for cut in blocks(tuple(G.shape), self.max_size)]
            if slot == "factors":
                return tuple(tuple(square_zeros(leaf, n) for n in b.shape) for b in parts)
            return tuple(tuple(eye_like(leaf, n) for n in b.shape) for b in parts)
        idle = {
            "filtered": not self.beta1,
            "squares": self.grafting in ("none", "sgd"),
            "buffer": not self.momentum,
        }
        return () if idle[slot] else super().init_slot(slot, leaf)
