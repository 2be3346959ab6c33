"""ACProp (Zhuang et al. 2021)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.rectification import rectification

ZHUANG = Source("zhuang-2021-momentum", "J. Zhuang, Y. Ding, T. Tang, N. Dvornek, S. Tatikonda, J. S. Duncan",
    "Momentum Centering and Asynchronous Update for Adaptive Gradient Methods", arxiv="2110.05454")  # fmt: skip


@register(
    "acprop",
    source=ZHUANG,
    where="ACProp",
    state_copies=2,
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}),
)
class ACProp(ElementwiseDecay):
    """ACProp: the gradient over the root of the variance that was known before it, about the averaged gradient.

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``x_t = x_{t-1} - α g_t / (sqrt((s_{t-1} + ε) / (1 - β2^{t-1})) + ε)``,
    ``s_t = β2 (s_{t-1} + ε) + (1 - β2) (g_t - m_t)²``; the first step is ``x_1 = x_0 - α g_1``.

    Notes
    -----
    ε stands in the formula twice, and what is added to s stays there; there is no such addition in the first step. That step is
    not divided by anything.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("acprop", lr=0.1)
    >>> x, s = o.update(np.array([0.0]), np.array([2.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([-0.9]), s)
    >>> print(x.round(6))  # -0.2, then 0.1 · 0.9 / 0.2: the first gradient is 0.2 away from its average, of weight 0.1
    [-0.15]
    """

    slots = ("m", "s")
    lr: Rate = hyper(1e-3, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-16, "[0, inf)", "ε.")
    eps_added: float | None = hyper(None, "[0, inf)", "What is added to s in place of ε.")
    unit_first: bool = hyper(False, words="True: the first step divides by 1 + ε, as if s were 1.")
    momentum: bool = hyper(False, words="True: ``m_t / (1 - β1^t)`` in the gradient's place.")
    rectified: bool = hyper(False,
        words="True: RAdam's factor, with s_{t-1} uncorrected, and steps of α m̂ while its ρ is below 5 (the authors' default).")  # fmt: skip
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def acprop(x, g, m, s, beta1, k1, beta2, k2, own, average, plain, root, eps, added, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta1, k1)
            s = s + added
            x = keep * x - (own * g + average * m) / divisor(xp.sqrt(s) * root + eps) - plain * m
            away = g - m
            return x, m, ema(s, away * away, beta2, k2)

        return acprop

    def scalars(self, t, carried):
        rate, c1 = self.rate(t), correction(self.beta1, t)
        added = self.eps if self.eps_added is None else self.eps_added
        out = {"k1": 1.0 - self.beta1, "k2": 1.0 - self.beta2, "own": 0.0, "average": 0.0, "plain": 0.0}
        out |= {"root": 1.0, "added": added if t > 1 else 0.0}
        adaptive, plain = rectification(self.beta2, t, least=5.0) if self.rectified else (1.0, 0.0)
        if t == 1 or plain:
            return {**out, "plain": rate / c1 / (1.0 + self.eps if t == 1 and self.unit_first else 1.0)}
        if self.rectified:
            rate *= adaptive * correction(self.beta2, t) ** 0.5
        else:
            out["root"] = correction(self.beta2, t - 1) ** -0.5
        return {**out, "average": rate / c1} if self.momentum else {**out, "own": rate}


dialect(ACProp, "official", "juntang-zhuang/ACProp-Optimizer optimizers/ACProp.py", rectified=True)
dialect(ACProp, "optax", "optax 0.2.8 contrib.acprop", "its residual is about the average of the step before, which is a fault"
    " (the deviation residual-of-the-old-average)", eps_added=1e-16, unit_first=True)  # fmt: skip
