"""AdaNorm: Adam with corrected gradient norms, AdamNorm (Dubey et al. 2022)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.trust import leaf_norm

DUBEY = Source("dubey-2022-adanorm", "S. R. Dubey, S. K. Singh, B. B. Chaudhuri",
    "AdaNorm: Adaptive Gradient Norm Correction based Optimizer for CNNs", arxiv="2210.06364")  # fmt: skip


@register("adanorm", source=DUBEY, where="AdamNorm")
class AdaNorm(Decay):
    """AdaNorm: Adam whose first average sees short gradients lengthened to the average length so far.

    Of each leaf ``e_t = γ e_{t-1} + (1 - γ) ‖g_t‖``, ``h_t = (e_t / ‖g_t‖) g_t`` where ``e_t > ‖g_t‖``, else g_t;
    ``m_t = β1 m_{t-1} + (1 - β1) h_t``, ``v_t = β2 v_{t-1} + (1 - β2) g_t²``, ``x_t = x_{t-1} - α m̂_t / (sqrt(v̂_t) + ε)`` with Adam's
    corrections, from e_0 = 0.

    Notes
    -----
    A gradient of zero is not lengthened. Registered is the paper's AdamNorm, the first of four methods with the same correction.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adanorm", gamma=0.5, lr=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([8.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([1.0]), s)
    >>> print(s["e"], s["m"].round(6))  # 0.9 · 0.8 + 0.1 · 2.5
    2.5 [0.97]
    """

    slots = ("m", "v", "e")
    lr: Rate = hyper(1e-3, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    gamma: float = hyper(0.95, "[0, 1)", "γ.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    eps_kept: bool = hyper(
        False, words="True: ε is added to v at every step too, and stays there (the authors' code)."
    )
    eps_corrected: bool = hyper(True, words="False: ε stands beside the uncorrected root.")
    eps_root: float = hyper(0.0, "[0, inf)", "Added inside the uncorrected root (pytorch_optimizer).")
    words = {"weight_decay": "The paper has none."}

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, for e one number."""
        xp = namespace(leaf)
        return xp.zeros_like(xp.sum(leaf)) if slot == "e" else xp.zeros_like(leaf)

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adanorm(x, g, m, v, e, beta1, k1, beta2, k2, gamma, kg, step, root, eps, kept, inside, l2, keep):
            g = g + l2 * x
            length = leaf_norm(g)
            e = ema(e, length, gamma, kg)
            short = (e > length) & (length > 0.0)
            longer = xp.where(short, e / nonzero(xp)(length), xp.ones_like(length))
            m, v = ema(m, longer * g, beta1, k1), ema(v, g * g, beta2, k2) + kept
            return keep * x - step * m / divisor(xp.sqrt(v + inside) * root + eps), m, v, e

        return adanorm

    def scalars(self, t, carried):
        root = correction(self.beta2, t) ** -0.5
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "kg": 1.0 - self.gamma,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": root,
            "eps": self.eps if self.eps_corrected else self.eps * root,
            "kept": self.eps if self.eps_kept else 0.0,
            "inside": self.eps_root,
        }


dialect(AdaNorm, "official", "shivram1987/AdaNorm TinyImageNet/AdamNorm.py", eps_kept=True)
dialect(AdaNorm, "kozistr", "pytorch_optimizer 4.1 AdaNorm", beta2=0.99, eps_corrected=False, eps_root=1e-15)
