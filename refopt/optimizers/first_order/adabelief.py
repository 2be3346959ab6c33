"""AdaBelief (Zhuang et al. 2020)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.rectification import rectification
from refopt.optimizers.first_order.adam import AdamFamily

ZHUANG = Source("zhuang-2020-adabelief",
    "J. Zhuang, T. Tang, Y. Ding, S. Tatikonda, N. Dvornek, X. Papademetris, J. S. Duncan",
    "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients", arxiv="2010.07468")  # fmt: skip


@register("adabelief", source=ZHUANG, where="Algorithm 2", state_copies=2)
class AdaBelief(AdamFamily):
    """AdaBelief: Adam divided by how far the gradient is from its average, not by how large it is.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``s_t = β2 s_{t-1} + (1 - β2) (g_t - m_t)² + ε``,
    ``x_t = x_{t-1} - α m̂_t / (sqrt(ŝ_t) + ε)``, m̂ and ŝ with Adam's corrections.

    Notes
    -----
    ε stands in the formula twice, and what is added to s stays there: it tends to ε / (1 - β2). A coordinate
    whose gradient has always been zero stays, with ε = 0 too.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adabelief", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))  # a first step of lr / β1
    [-1.111111]
    """

    slots = ("m", "s")
    eps: float = hyper(1e-16, "[0, inf)", "ε.")
    eps_added: float | None = hyper(None, "[0, inf)", "What is added to s, where it is not ε (optax).")
    rectified: bool = hyper(
        False,
        words="RAdam's factor beside the step, and a step of α m̂ while its ρ is below 5 (the authors' code).",
    )
    words = {"weight_decay": "The paper has none.", "lr": "α."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adabelief(x, g, m, s, beta1, k1, beta2, k2, step, root, eps, added, adaptive, plain, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            away = g - m
            s = ema(s, away * away, beta2, k2) + added
            return keep * x - step * m * (adaptive / divisor(xp.sqrt(s) * root + eps) + plain), m, s

        return adabelief

    def scalars(self, t, carried):
        adaptive, plain = rectification(self.beta2, t, least=5.0) if self.rectified else (1.0, 0.0)
        added = self.eps if self.eps_added is None else self.eps_added
        return {**self.moment_scalars(t), "added": added, "adaptive": adaptive, "plain": plain}


dialect(AdaBelief, "official", "juntang-zhuang/Adabelief-Optimizer, adabelief_pytorch 0.2.0",
    "rectified by default; ε beside the uncorrected root then", rectified=True, eps_corrected=False)  # fmt: skip
dialect(AdaBelief, "timm", "timm 1.0 AdaBelief", "rectified by default", rectified=True, eps_corrected=False)
dialect(AdaBelief, "optax", "optax 0.2.8 adabelief", "two ε, eps_root for what is added", eps_added=1e-16)
dialect(AdaBelief, "kozistr", "pytorch_optimizer 4.1 AdaBelief")
