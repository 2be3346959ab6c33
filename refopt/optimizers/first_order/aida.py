"""Aida: AdaBelief whose distances are of gradient and average projected onto each other (Zhang et al. 2022)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.trust import leaf_norm

ZHANG = Source("zhang-2022-aida", "G. Zhang, K. Niwa, W. B. Kleijn",
    "A DNN Optimizer that Improves over AdaBelief by Suppression of the Adaptive Stepsize Range", arxiv="2203.13273")  # fmt: skip


@register("aida", source=ZHANG, where="the algorithm Aida", state_copies=2)
class Aida(Decay):
    """Aida: AdaBelief whose distances are those left after mutual projections, so that rates range less.

    With ``m_t = β1 m_{t-1} + (1 - β1) g_t``, for every leaf from ``(a, b) = (g_t, m_t)``, K times at once
    ``a ← a <a, b> / (‖a‖² + ξ)``, ``b ← b <a, b> / (‖b‖² + ξ)``; ``v_t = β2 v_{t-1} + (1 - β2) (a - b)² + ε``,
    ``x_t = x_{t-1} - η m̂_t / (sqrt(v̂_t) + ε)``, m̂ and v̂ with Adam's corrections.

    Notes
    -----
    K = 0 is AdaBelief. Every projection takes both lengths times the cosine of g and m and gives each the other's. ε stands in the formula
    twice, and what is added to v stays there.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("aida", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))  # a first step of lr / β1
    [-1.111111]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    projections: int = hyper(2, "int [0, inf)", "K.")
    xi: float = hyper(1e-20, "[0, inf)", "ξ, in the units of g².")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_beside: bool = hyper(True, words="False: none beside the root (the authors' code).")
    eps_corrected: bool = hyper(True, words="True: ε stands beside ``sqrt(v̂)``. False: beside ``sqrt(v)``.")
    eps_root: float = hyper(0.0, "[0, inf)", "Added inside the uncorrected root (pytorch_optimizer).")
    words = {"weight_decay": "Coupled in the authors' code."}

    def rule(self, xp):
        divisor = nonzero(xp)

        def aida(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, added, inside, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            a, b = leaf_norm(g), leaf_norm(m)
            along_g, along_m = g / divisor(a), m / divisor(b)
            cosine = xp.sum(along_g * along_m)
            for _ in range(self.projections):
                # Of lengths along both, which are all that changes.
                a, b = (
                    cosine * b * (a * a / divisor(a * a + self.xi)),
                    cosine * a * (b * b / divisor(b * b + self.xi)),
                )
            away = a * along_g - b * along_m
            v = ema(v, away * away, beta2, k2) + added
            return keep * x - step * m / divisor(xp.sqrt(v + inside) * root + eps), m, v

        return aida

    def scalars(self, t, carried):
        root = correction(self.beta2, t) ** -0.5
        beside = self.eps if self.eps_beside else 0.0
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": root,
            "eps": beside if self.eps_corrected else beside * root,
            "added": self.eps,
            "inside": self.eps_root,
        }


dialect(Aida, "official", "guoqiang-zhang-x/Aida-Optimizer", eps_beside=False, decay="coupled")
dialect(Aida, "kozistr", "pytorch_optimizer 4.1 Aida", eps_corrected=False, eps_root=1e-15, decay="coupled")
