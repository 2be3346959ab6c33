"""AdaMod (Ding et al. 2019)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.adam import AdamFamily

DING = Source("ding-2019-adaptive", "J. Ding, X. Ren, R. Luo, X. Sun", "An Adaptive and Momental Bound Method for Stochastic Learning",
    arxiv="1910.12249")  # fmt: skip


@register("adamod", source=DING, where="AdaMod", state_copies=3)
class AdaMod(AdamFamily):
    """AdaMod: Adam none of whose rates is above its own long average.

    With Adam's m̂ and v̂: ``η_t = α / (sqrt(v̂_t) + ε)``, ``s_t = β3 s_{t-1} + (1 - β3) η_t``, ``x_t = x_{t-1} - min(η_t, s_t) m̂_t``,
    from s_0 = 0.

    Notes
    -----
    s is not corrected, so that the first steps are 1 - β3 of Adam's: a warm-up of its own. The authors' code has the correction of m
    inside η. A coordinate without a gradient so far has no rate to average, and stays.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamod", lr=1.0, beta3=0.75)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-0.25]
    """

    slots = ("m", "v", "s")
    beta3: float = hyper(0.999, "[0, 1)", "β3.")
    rate_corrected: bool = hyper(
        False, words="True: η_t is divided by 1 - β1^t, and m stands for m̂ (the authors' code)."
    )
    words = {"weight_decay": "The paper has none.", "lr": "α."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adamod(x, g, m, v, s, beta1, k1, beta2, k2, beta3, k3, inside, outside, root, eps, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            eta = inside / divisor(xp.sqrt(v) * root + eps)
            s = ema(s, eta, beta3, k3)
            return keep * x - outside * xp.minimum(eta, s) * m, m, v, s

        return adamod

    def scalars(self, t, carried):
        numbers = self.moment_scalars(t)
        step, alpha = numbers.pop("step"), self.rate(t)
        inside, outside = (
            (step, 1.0) if self.rate_corrected else (alpha, step / alpha if alpha > 0.0 else 0.0)
        )
        return {**numbers, "k3": 1.0 - self.beta3, "inside": inside, "outside": outside}


dialect(AdaMod, "official", "lancopku/AdaMod adamod/adamod.py", rate_corrected=True, eps_corrected=False)
dialect(
    AdaMod,
    "kozistr",
    "pytorch_optimizer 4.1 AdaMod",
    rate_corrected=True,
    eps_corrected=False,
    beta2=0.99,
    beta3=0.9999,
)
