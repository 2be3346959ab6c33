"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from refopt.core.arrays import Array, namespace
from refopt.core.cost import Cost
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.matrix.common import eigh
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.modes import mode_gram, mode_product
from refopt.optimizers.second_order.shampoo import GUPTA, square_zeros

VYAS = Source("vyas-2024-soap",
    "N. Vyas, D. Morwani, R. Zhao, I. Shapira, D. Brandfonbrener, L. Janson, S. Kakade",
    "SOAP: Improving and Stabilizing Shampoo using Adam", arxiv="2409.11321")  # fmt: skip
Modes = tuple[Array, ...]


def eigenbasis(H: Array) -> Array:
    """Return the eigenvectors of `H`, those of the largest eigenvalues first."""
    return namespace(H).flip(eigh(H)[1], axis=1)


def power_step(H: Array, Q: Array) -> Array:
    """Return the orthonormal basis of ``H Q``, H symmetric: one power iteration, and QR."""
    if type(H) is not np.ndarray:
        return namespace(H).linalg.qr(H @ Q)[0]
    # NumPy's qr works in float64 whatever it is given; and (Q^T H)^T lies as LAPACK overwrites it.
    Z = (Q.T @ H).T
    return scipy.linalg.qr(Z, mode="economic", overwrite_a=True, check_finite=False)[0]


def rotate(G: Array, bases: Modes, axes: tuple[int, ...], *, back: bool = False) -> Array:
    """Return G with each of `axes` multiplied by its basis, or by the basis transposed."""
    for axis, Q in zip(axes, bases):
        G = mode_product(G, axis, namespace(Q).matrix_transpose(Q) if back else Q)
    return G


def _square_state(n: int) -> Callable[[], Any]:
    return lambda: dict(SOAP().init(np.ones((n, n))))


@register(
    "soap",
    source=VYAS,
    costs=(
        Cost(
            "n",
            2.0,
            "a Gram matrix and a basis an axis, and two moments",
            _square_state,
            (32, 64, 128, 256),
            "bytes",
            0.02,
        ),
    ),
    where="the single step of SOAP and its power-iteration refresh",
    also=(GUPTA,),
    calm_problem=("matrix-sensing", {"n": 4, "rank": 4}),
)
class SOAP(Decay):
    """SOAP: Adam run in the slowly moving eigenbasis of Shampoo's Gram matrices.

    ``G' = Q_L^T G Q_R``, ``M ← β1 M + (1 - β1) G``, ``M' = Q_L^T M Q_R``,
    ``V ← β2 V + (1 - β2) G'²``, ``W ← W - η Q_L (M̂' / (sqrt(V̂) + ε)) Q_R^T``, then
    ``L ← β_s L + (1 - β_s) G G^T``, R likewise, and every f steps ``Q ← qr(H Q)``. The first Q are
    eigenvectors of the first gradient's L and R.

    Notes
    -----
    The listing keeps M unrotated and turns it at every step; here, as in the authors' code, the state has M'
    and turns it at a refresh: the same numbers to rounding, for two products a step less. The Gram
    matrices of one non-square gradient are singular; the basis of their null space is arbitrary, and
    so are the early steps' small components.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("soap", lr=0.1, weight_decay=0.0)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.diag([3.0, 0.1]), o.init(x))
    >>> x, s = o.update(x, np.diag([5.0, 0.2]), s)
    >>> print(np.diag(x).round(6))
    [-0.1 -0.1]
    """

    slots = ("m", "v", "grams", "bases")
    lr: Rate = hyper(3e-3, "[0, inf)", "η, in the units of W.")
    beta1: float = hyper(0.95, "[0, 1)")
    beta2: float = hyper(0.95, "[0, 1)")
    shampoo_beta: float | None = hyper(None, "[0, 1)", "β_s; None: β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_corrected: bool = hyper(True, words="True: ε beside ``sqrt(V̂)``; False: beside ``sqrt(V)``.")
    update_every: int = hyper(10, "int [1, inf)", "f.")
    max_size: int = hyper(10000, "int [0, inf)", "Longer axes are not rotated.")
    vectors: bool = hyper(False, words="Whether leaves of one axis are preconditioned; else they have Adam.")
    first_step: bool = hyper(False,
        words="False: the first call only fills the preconditioner, and steps are counted from the"
        " second (the listing takes Q as given; the authors' code begins so). True: the first call"
        " makes a step too, in the basis of its own gradient, where that is diagonal and the rest"
        " is rounding.")  # fmt: skip
    sort: bool = hyper(False,
        words="True: before a refresh the columns of Q, and V with them, are put in descending order of"
        " ``diag(Q^T H Q)``.")  # fmt: skip
    decay_after: bool = hyper(False, words="True: decoupled decay multiplies the new W, not the old.")
    weight_decay: float = hyper(0.01, "[0, inf)")

    def rule(self, xp):
        divisor, beta = nonzero(xp), self.beta2 if self.shampoo_beta is None else self.shampoo_beta

        def soap(x, g, m, v, grams, bases, t, k, step, root, eps, l2, keep):
            g = g + l2 * x
            axes = self.axes(x.shape)
            if t == 1.0:
                grams = tuple((1.0 - beta) * mode_gram(g, i) for i in axes)
                bases = tuple(eigenbasis(H) for H in grams)
            if k >= 1.0:
                turned = rotate(g, bases, axes)
                m = ema(m, turned, self.beta1, 1.0 - self.beta1)
                v = ema(v, turned * turned, self.beta2, 1.0 - self.beta2)
                below = xp.sqrt(v) * root + eps
                u = step * rotate(m / divisor(below), bases, axes, back=True)
                x = keep * (x - u) if self.decay_after else keep * x - u
            if t > 1.0:
                grams = tuple(ema(H, mode_gram(g, i), beta, 1.0 - beta) for i, H in zip(axes, grams))
            if k >= 1.0 and int(k) % self.update_every == 0:
                v, new = self.refreshed(v, grams, bases, axes)
                m, bases = rotate(rotate(m, bases, axes, back=True), new, axes), new
            return x, m, v, grams, bases

        return soap

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the axes that are rotated."""
        if len(shape) < (1 if self.vectors else 2):
            return ()
        return tuple(i for i, n in enumerate(shape) if n <= self.max_size)

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, or a tuple of zero matrices, one a rotated axis."""
        if slot in ("m", "v"):
            return super().init_slot(slot, leaf)
        return tuple(square_zeros(leaf, leaf.shape[i]) for i in self.axes(leaf.shape))

    def scalars(self, t, carried):
        k = t if self.first_step else t - 1
        c1, c2 = correction(self.beta1, max(k, 1)), correction(self.beta2, max(k, 1))
        return {
            "t": float(t),
            "k": float(k),
            "step": self.rate(t) / c1,
            "root": c2**-0.5,
            "eps": self.eps if self.eps_corrected else self.eps / c2**0.5,
        }

    def refreshed(self, v: Array, grams: Modes, bases: Modes, axes: tuple[int, ...]) -> tuple[Array, Modes]:
        """Return V and the bases after a power step."""
        new = []
        for axis, H, Q in zip(axes, grams, bases):
            xp = namespace(H)
            if self.sort:
                order = xp.argsort(xp.sum(Q * (H @ Q), axis=0), descending=True)
                Q, v = xp.take(Q, order, axis=1), xp.take(v, order, axis=axis)
            new.append(power_step(H, Q))
        return v, tuple(new)


dialect(SOAP, "official", "nikhilvyas/SOAP soap.py", "columns of the basis (and V) are sorted at a refresh",
    sort=True, eps_corrected=False, decay_after=True)  # fmt: skip
