"""KL-Shampoo and KL-SOAP: Shampoo's factors as the nearest Gaussian's covariances (Lin et al. 2025)."""

from __future__ import annotations

import math
from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.common.modes import mode_gram
from refopt.optimizers.first_order.adamw import AdamW
from refopt.optimizers.second_order.shampoo import square_zeros
from refopt.optimizers.second_order.soap import VYAS, Modes, eigenbasis, power_step, rotate

LIN = Source("lin-2025-understanding", "W. Lin, S. C. Lowe, F. Dangel, R. Eschenhagen, Z. Xu, R. B. Grosse",
    "Understanding and Improving Shampoo and SOAP via Kullback-Leibler Minimization", arxiv="2509.03378")  # fmt: skip


def along(G: Array, values: Array, axis: int) -> Array:
    """Return G with its slices along `axis` multiplied by `values`."""
    shape = [1] * G.ndim
    shape[axis] = values.shape[0]
    return G * namespace(G).reshape(values, tuple(shape))


class Fitted(Grouped, Decay):
    """A covariance for every axis, fitted by KL divergence: its Gram matrix, basis and eigenvalues."""

    lr: Rate = hyper(1e-4, "[0, inf)", "η, in the units of W.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.98, "[0, 1)", "β2, of the factors and their eigenvalues.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    update_every: int = hyper(10, "int [1, inf)", "f.")
    first_eigenvalue: float = hyper(0.1, "(0, inf)", "What all λ begin with.")
    largest_inverse: float = hyper(4000.0, "(0, inf]",
        "The inverse root of an eigenvalue of an axis of n entries is at most ``max(10, min(n, c))``, with c this number. Infinity: no bound.")  # fmt: skip
    weight_decay: float = hyper(0.01, "[0, inf)", "Of the new W, decoupled.")
    group: Any = hyper("matrices-and-kernels", words="The leaves that are preconditioned.",
        kind="str, sequence of str, or callable")  # fmt: skip
    others: Any = hyper(AdamW(lr=1e-4, beta2=0.98, weight_decay=0.01, decay="decoupled"),
        words="For the rest; default AdamW at the same rate, betas (0.9, 0.98), weight decay 0.01.", kind="Method")  # fmt: skip

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, or a tuple with one of every axis: matrices, or the first eigenvalues."""
        if slot in ("m", "v"):
            return super().init_slot(slot, leaf)
        squares = tuple(square_zeros(leaf, n) for n in leaf.shape)
        if slot != "values":
            return squares
        xp = namespace(leaf)
        return tuple(xp.sum(a, axis=0) + self.first_eigenvalue for a in squares)

    def scalars(self, t, carried):
        return {"t": float(t), "k1": 1.0 - self.beta1, "k2": 1.0 - self.beta2}

    def least(self, n: int) -> float:
        """Return the least eigenvalue of an axis of n entries."""
        return 0.0 if math.isinf(self.largest_inverse) else max(10.0, min(n, self.largest_inverse)) ** -2

    def begun(self, g: Array) -> tuple[Modes, Modes]:
        """Return the factors and bases that the first gradient gives."""
        n = math.prod(g.shape)
        grams = tuple((1.0 - self.beta2) * (size / n) * mode_gram(g, i) for i, size in enumerate(g.shape))
        return grams, tuple(eigenbasis(S) for S in grams)

    def fitted(self, g: Array, grams: Modes, bases: Modes, values: Modes) -> tuple[Modes, Modes]:
        """Return factors and eigenvalues with the gradient `g`, each seen through the others as they were."""
        xp, beta, n = namespace(g), self.beta2, math.prod(g.shape)
        axes = tuple(range(g.ndim))
        roots = [1.0 / nonzero(xp)(xp.sqrt(v)) for v in values]
        turned, new, found = rotate(g, bases, axes), [], []
        for i in axes:
            rest = tuple(j for j in axes if j != i)
            half, diagonal = rotate(g, tuple(bases[j] for j in rest), rest), turned
            for j in rest:
                half, diagonal = along(half, roots[j], j), along(diagonal, roots[j], j)
            share = g.shape[i] / n
            new.append(ema(grams[i], share * mode_gram(half, i), beta, 1.0 - beta))
            value = ema(values[i], xp.mean(diagonal * diagonal, axis=rest), beta, 1.0 - beta)
            found.append(xp.clip(value, min=self.least(g.shape[i])))
        return tuple(new), tuple(found)

    def due(self, t: float) -> bool:
        """Tell whether the bases take a power step at step t, from the second on."""
        return int(t - 1.0) % self.update_every == 0


@register("kl-shampoo", source=LIN, where="KL-Shampoo with the QR-based and moving-average schemes, as in the authors' code",
    also=(VYAS,), calm_problem=("matrix-sensing", {"n": 4, "rank": 4}))  # fmt: skip
class KLShampoo(Fitted):
    """KL-Shampoo: momentum over the root of a product of covariances, each fitted through the other.

    With ``S = Q diag(λ) Q^T`` for the rows (L) and the columns (R) of a matrix of m rows and n columns, ``M ← β1 M + (1 - β1) G``,
    ``U = Q_L ((Q_L^T M Q_R) / (sqrt(λ_L λ_R^T) + ε)) Q_R^T``, ``W ← (1 - η λ_w) (W - η U)``, then
    ``S_L ← β2 S_L + (1 - β2) G S_R^{-1} G^T / n``, ``S_R ← β2 S_R + (1 - β2) G^T S_L^{-1} G / m`` and, with ``P = Q_L^T G Q_R``,
    ``λ_L ← β2 λ_L + (1 - β2) mean_j(P_ij² / λ_R,j)``, λ_R likewise, all from the old Q and λ; every f steps ``Q ← qr(S Q)``.

    Notes
    -----
    No grafting and no bias correction. The first call only makes the bases, of ``G G^T`` and ``G^T G``, and moves nothing. A
    tensor of k axes has k covariances, each seen through all the others. At a constant invertible gradient the step
    tends to ``sqrt(n)`` times its polar factor. λ keeps its order when Q is renewed.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("kl-shampoo", lr=0.1, weight_decay=0.0, beta1=0.0, beta2=0.5)
    >>> x = np.zeros((2, 2))
    >>> s = o.init(x)
    >>> for _ in range(30):
    ...     y, (x, s) = x, o.update(x, np.diag([3.0, 0.3]), s)
    >>> print(np.diag(x - y).round(4))  # -0.1 sqrt(2)
    [-0.1414 -0.1414]
    """

    slots = ("m", "grams", "bases", "values")

    def rule(self, xp):
        divisor = nonzero(xp)

        def kl_shampoo(x, g, m, grams, bases, values, t, lr, beta1, k1, eps, l2, keep):
            g = g + l2 * x
            if t == 1.0:
                return x + 0.0, m, *self.begun(g), values
            axes = tuple(range(g.ndim))
            m = ema(m, g, beta1, k1)
            root = xp.ones_like(g)
            for i, value in enumerate(values):
                root = along(root, xp.sqrt(value), i)
            u = rotate(rotate(m, bases, axes) / divisor(root + eps), bases, axes, back=True)
            grams, values = self.fitted(g, grams, bases, values)
            if self.due(t):
                bases = tuple(power_step(S, Q) for S, Q in zip(grams, bases))
            return keep * (x - lr * u), m, grams, bases, values

        return kl_shampoo


@register("kl-soap", source=LIN, where="KL-SOAP, as in the authors' code", also=(VYAS,),
    calm_problem=("matrix-sensing", {"n": 4, "rank": 4}))  # fmt: skip
class KLSOAP(Fitted):
    """KL-SOAP: Adam in the eigenbasis of KL-Shampoo's covariances.

    With Q, S and λ of `kl-shampoo` and ``P = Q_L^T G Q_R``: ``M ← β1 M + (1 - β1) P``, ``V ← β2 V + (1 - β2) P²``,
    ``W ← (1 - η λ_w) (W - η Q_L (M / (sqrt(V) + ε)) Q_R^T)``; S and λ are fitted as there, and every f steps ``Q ← qr(S Q)``, into which
    M is turned.

    Notes
    -----
    No bias correction, and V is not turned. λ serves the fit of S alone. Where SOAP takes Gram matrices of the gradient
    itself, here each is seen through the inverse of the other.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("kl-soap", lr=0.1, weight_decay=0.0, beta1=0.0, beta2=0.0)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.diag([3.0, 0.1]), o.init(x))
    >>> x, s = o.update(x, np.diag([5.0, 0.2]), s)
    >>> print(np.diag(x).round(6))
    [-0.1 -0.1]
    """

    slots = ("m", "v", "grams", "bases", "values")

    def rule(self, xp):
        divisor = nonzero(xp)

        def kl_soap(x, g, m, v, grams, bases, values, t, lr, beta1, k1, beta2, k2, eps, l2, keep):
            g = g + l2 * x
            if t == 1.0:
                return x + 0.0, m, v, *self.begun(g), values
            axes = tuple(range(g.ndim))
            turned = rotate(g, bases, axes)
            m, v = ema(m, turned, beta1, k1), ema(v, turned * turned, beta2, k2)
            u = rotate(m / divisor(xp.sqrt(v) + eps), bases, axes, back=True)
            grams, values = self.fitted(g, grams, bases, values)
            if self.due(t):
                new = tuple(power_step(S, Q) for S, Q in zip(grams, bases))
                m, bases = rotate(rotate(m, bases, axes, back=True), new, axes), new
            return keep * (x - lr * u), m, v, grams, bases, values

        return kl_soap


OFFICIAL = "yorkerlin/KL-Methods optim/kl_opt.py"
NOTE = "in bfloat16 unless told otherwise; takes matrices, and tensors of three axes, which it fits one after another; that is not followed"
dialect(KLShampoo, "official", OFFICIAL, NOTE, group="matrices")
dialect(KLSOAP, "official", OFFICIAL, NOTE, group="matrices")
