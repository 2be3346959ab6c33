"""Signum: the sign of a momentum (Bernstein et al. 2018)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.first_order.sign import BERNSTEIN


@register("signum", source=BERNSTEIN, where="Algorithm 2", state_copies=1)
class Signum(ElementwiseDecay):
    """Signum: a step of the size of the rate in every coordinate, against the sign of the averaged gradient.

    ``m_t = β m_{t-1} + (1 - β) g_t``, ``x_t = x_{t-1} - δ sign(m_t)``, with sign(0) = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("signum", lr=0.5)
    >>> x, s = o.update(np.array([1.0]), np.array([0.3]), o.init(np.array([1.0])))
    >>> x, s = o.update(x, np.array([-0.2]), s)
    >>> print(x)  # the average is still positive
    [0.]
    """

    slots = ("m",)
    lr: Rate = hyper(1e-4, "[0, inf)", "δ, in the units of x.")
    beta: float = hyper(0.9, "[0, 1)", "β.")
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        def signum(x, g, m, beta, k, lr, l2, keep):
            m = ema(m, g + l2 * x, beta, k)
            return keep * x - lr * xp.sign(m), m

        return signum

    def scalars(self, t, carried):
        return {"k": 1.0 - self.beta}


dialect(Signum, "optax", "optax 0.2.8 signum")
dialect(Signum, "kozistr", "pytorch_optimizer 4.1 SignSGD", lr=1e-3)
