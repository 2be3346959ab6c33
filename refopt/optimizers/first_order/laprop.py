"""LaProp (Ziyin et al. 2020)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import DECAYS
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.adam import AdamFamily

ZIYIN = Source("ziyin-2020-laprop", "L. Ziyin, Z. T. Wang, M. Ueda",
    "LaProp: Separating Momentum and Adaptivity in Adam", arxiv="2002.04839")  # fmt: skip


@register("laprop", source=ZIYIN, where="Algorithm 2", state_copies=2)
class LaProp(AdamFamily):
    """LaProp: gradients are divided first and averaged then, so that both averages may forget at any speed.

    ``v_t = β2 v_{t-1} + (1 - β2) g_t²``, ``m_t = β1 m_{t-1} + (1 - β1) η_t g_t / (sqrt(v_t / (1 - β2^t)) + ε)``,
    ``k_t = β1 k_{t-1} + (1 - β1) η_t``, ``x_t = x_{t-1} - (η_t / k_t) m_t``: for a constant η a step of m_t / (1 - β1^t).

    Notes
    -----
    Decay acts behind the step, ``x ← keep · x``, and is by default not multiplied by the rate, as in the authors' code. With a
    rate that has always been zero nothing moves.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("laprop", lr=0.1)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-0.1]
    """

    eps: float = hyper(1e-15, "[0, inf)", "ε.")
    eps_root: float = hyper(0.0, "[0, inf)", "Added to v inside the root (pytorch_optimizer).")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ. The paper has none.")
    decay: str = hyper("constant", (*DECAYS, "constant"),
        "As of other methods, but behind the step; ``constant``: by ``1 - λ``, whatever rate and schedule are.")  # fmt: skip
    words = {"lr": "η; the authors' default is 4e-4."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def laprop(x, g, m, v, beta1, inside_rate, beta2, k2, outside_rate, root, eps, inside, l2, keep):
            g = g + l2 * x
            v = ema(v, g * g, beta2, k2)
            m = beta1 * m + inside_rate * g / divisor(xp.sqrt(v + inside) * root + eps)
            return keep * (x - outside_rate * m), m, v

        return laprop

    def start_numbers(self) -> dict[str, float]:
        """Return the sums of both averages' weights, of η's beside them in the first."""
        return {"k": 0.0, "c2": 0.0}

    def carry(self, t, s):
        # Carried on, since 1 - β2^t has lost digits while t is small, and m keeps what is divided by it.
        return {
            "k": self.beta1 * s["k"] + (1.0 - self.beta1) * self.rate(t),
            "c2": self.beta2 * s["c2"] + (1.0 - self.beta2),
        }

    def scalars(self, t, carried):
        rate, k, root = self.rate(t), carried["k"], 1.0 / carried["c2"] ** 0.5
        constant = {"keep": 1.0 - self.weight_decay} if self.decay == "constant" else {}
        return {
            **constant, "k2": 1.0 - self.beta2, "root": root, "eps": self.eps if self.eps_corrected else self.eps * root,
            "inside": self.eps_root, "inside_rate": (1.0 - self.beta1) * rate, "outside_rate": rate / k if k > 0.0 else 0.0,
        }  # fmt: skip


dialect(LaProp, "official", "Z-T-WANG/LaProp-Optimizer laprop.py", lr=4e-4)
dialect(LaProp, "timm", "timm 1.0 LaProp", lr=4e-4, decay="decoupled")
dialect(
    LaProp,
    "kozistr",
    "pytorch_optimizer 4.1 LaProp",
    lr=4e-4,
    decay="decoupled",
    eps_corrected=False,
    eps_root=1e-15,
)
