"""AdaGO: Muon at the rate of AdaGrad-Norm (Zhang et al. 2025)."""

from __future__ import annotations

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, register
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.muon import MuonKin, shape_factor

ZHANG = Source("zhang-2025-adagrad", "M. Zhang, Y. Liu, H. Schaeffer", "AdaGrad Meets Muon: Adaptive Stepsizes for Orthogonal Updates",
    arxiv="2509.02981")  # fmt: skip


@register("adago", source=ZHANG, where="the algorithm", state_copies=1)
class AdaGO(MuonKin):
    """AdaGO: Muon's orthogonal factor, at a rate that falls with the accumulated norms of the gradient.

    ``M_t = μ M_{t-1} + (1 - μ) G_t``, ``v_t² = v_{t-1}² + min(‖G_t‖_F, γ)²``, ``O_t = NewtonSchulz(M_t)``,
    ``X_t = X_{t-1} - max(ε, η min(‖G_t‖_F, γ) / v_t) O_t``, for every hidden matrix.

    Notes
    -----
    The paper's orthogonal factor is exact: many steps with ``coefficients="quintic"``. A norm of a constant size below γ gives rates
    of η / sqrt(t). pytorch_optimizer's class of the name divides by v_t², which is a fault.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adago", lr=1.0, initial=0.0, ns_steps=30, coefficients="quintic")
    >>> x, s = np.zeros((2, 2)), o.init(np.zeros((2, 2)))
    >>> for _ in range(4):
    ...     x, s = o.update(x, np.diag([4.0, -3.0]), s)
    >>> print(np.diag(x).round(4))  # 1 + 1/sqrt(2) + 1/sqrt(3) + 1/2
    [-2.7845  2.7845]
    """

    slots = ("m", "v")
    lr: Rate = hyper(0.05, "[0, inf)", "η: the first step's spectral norm.")
    gamma: float = hyper(10.0, "(0, inf]", "γ: the largest norm that is taken for one.")
    least: float = hyper(5e-4, "[0, inf)", "ε: the least rate, which no schedule multiplies.")
    initial: float = hyper(1e-6, "[0, inf)", "v_0.")
    scale: str = hyper(
        "none", ("none", "max", "match-rms", "spectral"), "A factor by shape as in Muon; the paper has none."
    )

    def rule(self, xp):
        divisor = nonzero(xp)

        def adago(x, g, m, v, lr, l2, keep, gamma, least):
            g = g + l2 * x
            m, matrix = self.averaged(g, m)
            size = lengths(g, keepdims=True)
            size = xp.where(size > gamma, gamma, size)
            v = lengths(xp.stack([v, size]), axis=0)
            rate = lr * size / divisor(v)
            o = shape_factor(self.scale, *matrix.shape) * self.factor(matrix)
            return keep * x - xp.where(rate > least, rate, least) * xp.reshape(o, x.shape), m, v

        return adago

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros like the leaf, and v_0 as one number of as many dimensions."""
        xp = namespace(leaf)
        return (
            xp.zeros_like(leaf) if slot == "m" else xp.sum(xp.zeros_like(leaf), keepdims=True) + self.initial
        )
