"""diffGrad (Dubey et al. 2019)."""

from __future__ import annotations

from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.adam import AdamFamily

DUBEY = Source("dubey-2019-diffgrad", "S. R. Dubey et al.",
    "diffGrad: An Optimization Method for Convolutional Neural Networks", arxiv="1909.11015")  # fmt: skip


@register("diffgrad", source=DUBEY, where="the update rule with the friction coefficient ξ", state_copies=3)
class DiffGrad(AdamFamily):
    """diffGrad: Adam whose step is damped where the gradient changes little.

    ``ξ_t = 1 / (1 + exp(-abs(g_{t-1} - g_t)))``, ``x_t = x_{t-1} - α ξ_t m̂_t / (sqrt(v̂_t) + ε)``
    with Adam's averages, and g_0 = 0.

    Notes
    -----
    ξ depends on the gradient's units. A coordinate whose gradient has always been zero stays.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("diffgrad", lr=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([50.0]), s)
    >>> print(x.round(6))
    [-1.5]
    """

    slots = ("m", "v", "previous")
    eps_root: float = hyper(0.0, "[0, inf)", "Added to v inside the root (pytorch_optimizer).")
    words = {
        "lr": "α.",
        "weight_decay": "The paper has none.",
        "decay": "Coupled decay enters the difference of gradients too.",
    }

    def rule(self, xp):
        divisor = nonzero(xp)

        def diffgrad(x, g, m, v, previous, beta1, k1, beta2, k2, step, root, eps, inside, l2, keep):
            g = g + l2 * x
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            friction = 1.0 / (1.0 + xp.exp(-xp.abs(previous - g)))
            return (keep * x - step * friction * m / divisor(xp.sqrt(v + inside) * root + eps), m, v, g)

        return diffgrad

    def scalars(self, t, carried):
        return {**self.moment_scalars(t), "inside": self.eps_root}


dialect(DiffGrad, "official", "shivram1987/diffGrad diffGrad_v2.py",
    "its first version kept no copy of the gradient, and could be Adam at half the rate", eps_corrected=False,
    decay="coupled")  # fmt: skip
dialect(DiffGrad, "kozistr", "pytorch_optimizer 4.1.0 DiffGrad", eps_corrected=False, eps_root=1e-15,
    decay="decoupled")  # fmt: skip
