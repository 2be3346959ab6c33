"""Ano: the momentum's sign with the gradient's length (Kegreisz 2025)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

KEGREISZ = Source("kegreisz-2025-ano", "A. Kegreisz", "Ano: Faster is Better in Noisy Landscapes", arxiv="2508.18258")  # fmt: skip


@register("ano", source=KEGREISZ, where="the algorithm Ano", state_copies=2)
class Ano(ElementwiseDecay):
    """Ano: averaged gradients say where to go, and the newest one, over Yogi's root, how far.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``v_t = v_{t-1} - (1 - β2) sign(v_{t-1} - g_t²) g_t²``,
    ``x_t = (1 - η λ) x_{t-1} - η |g_t| sign(m_t) / (sqrt(v_t) + ε)``, from m_0 = v_0 = 0, and sign(0) = 0.

    Notes
    -----
    The paper's analysis has rates that fall as t^(-3/4), which is a schedule. The authors' code keeps only β2 of v, though what joins
    it has a sign: v is negative then where β2 < 1/2, and the step not a number.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("ano", lr=1.0, beta1=0.9, beta2=0.75, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([2.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([-0.5]), s)
    >>> print(x.round(4))  # on by 1 / sqrt(1 / 4), then by 0.5 / sqrt(1 - 1/16), though the gradient has turned
    [-2.5164]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-4, "[0, inf)", "η, in the units of x.")
    beta1: float = hyper(0.92, "[0, 1)", "β1.")
    beta2: float = hyper(0.99, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_inside: bool = hyper(False, words="True: ``sqrt(v + ε)`` (the authors' code).")
    keeps_all: bool = hyper(
        True, words="False: ``β2 v`` in the place of the old v (the authors' code); for β2 of at least 1/2."
    )
    bias_correction: bool = hyper(False, words="True: ``v / (1 - β2^t)`` in the root.")

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def ano(x, g, m, v, beta1, k1, old, k2, inverse, inside, eps, lr, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            v = old * v + k2 * xp.sign(g * g - v) * (g * g)
            return keep * x - lr * xp.abs(g) * xp.sign(m) / divisor(xp.sqrt(v * inverse + inside) + eps), m, v

        return ano

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1,
            "old": 1.0 if self.keeps_all else self.beta2,
            "k2": 1.0 - self.beta2,
            "inverse": 1.0 / correction(self.beta2, t) if self.bias_correction else 1.0,
            "inside": self.eps if self.eps_inside else 0.0,
            "eps": 0.0 if self.eps_inside else self.eps,
        }


dialect(Ano, "official", "Adrienkgz/ano-experiments optimizers/ano.py", eps_inside=True, keeps_all=False, bias_correction=True)  # fmt: skip
dialect(Ano, "kozistr", "pytorch_optimizer 4.1 Ano", keeps_all=False, bias_correction=True)
