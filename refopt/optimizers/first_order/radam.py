"""RAdam (Liu et al. 2019)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.rectification import rectification
from refopt.optimizers.first_order.adam import AdamFamily

LIU = Source("liu-2019-variance", "L. Liu, H. Jiang, P. He, W. Chen, X. Liu, J. Gao, J. Han",
    "On the Variance of the Adaptive Learning Rate and Beyond", arxiv="1908.03265")  # fmt: skip


@register("radam", source=LIU, where="Algorithm 2", state_copies=2)
class RAdam(AdamFamily):
    """RAdam: Adam with a factor that tames the first steps, where the average of squares knows little.

    ``x_t = x_{t-1} - α r_t m̂_t / (sqrt(v̂_t) + ε)`` where ``ρ_t > 4``, else ``x_t = x_{t-1} - α m̂_t``, with Adam's averages,
    ``ρ_t = ρ_∞ - 2 t β2^t / (1 - β2^t)``, ``ρ_∞ = 2 / (1 - β2) - 1`` and
    ``r_t = sqrt((ρ_t - 4)(ρ_t - 2) ρ_∞ / ((ρ_∞ - 4)(ρ_∞ - 2) ρ_t))``.

    Notes
    -----
    The paper has no ε. With β2 at most 3/5 ρ never comes above 4, and every step is the plain one.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("radam", lr=0.1)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))  # a gradient step
    [-0.3]
    """

    threshold: float = hyper(4.0, "[4, inf)", "ρ must be above it, or, with `at_threshold`, at least it.")
    at_threshold: bool = hyper(False, words="True: rectified at ρ = threshold too.")
    fallback: str = hyper(
        "momentum", ("momentum", "none"), "Steps before: α m̂, or none (the authors' default)."
    )
    decays_still: bool = hyper(True, words="False: no decay in steps that do not move.")
    words = {"weight_decay": "The paper has none.", "lr": "α."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def radam(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, adaptive, plain, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            return keep * x - step * m * (adaptive / divisor(xp.sqrt(v) * root + eps) + plain), m, v

        return radam

    def scalars(self, t, carried):
        adaptive, plain = rectification(self.beta2, t, least=self.threshold, strict=not self.at_threshold)
        plain = plain if self.fallback == "momentum" else 0.0
        out = {**self.moment_scalars(t), "adaptive": adaptive, "plain": plain}
        still = adaptive == plain == 0.0 and not self.decays_still
        return {**out, "keep": 1.0} if still else out


dialect(RAdam, "torch", "torch 2.13 optim.RAdam", threshold=5.0, eps_corrected=False, decay="coupled")
dialect(RAdam, "optax", "optax 0.2.8 radam", threshold=5.0, at_threshold=True)
dialect(RAdam, "kozistr", "pytorch_optimizer 4.1 RAdam", threshold=5.0, at_threshold=True, eps_corrected=False,
    fallback="none", decays_still=False)  # fmt: skip
dialect(RAdam, "official", "LiyuanLucasLiu/RAdam radam/radam.py", threshold=5.0, at_threshold=True, eps_corrected=False,
    fallback="none", decays_still=False)  # fmt: skip
