"""PID: SGD as a controller (An et al. 2018)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import ElementwiseDecay

AN = Source("an-2018-pid", "W. An, H. Wang, Q. Sun, J. Xu, Q. Dai, L. Zhang",
    "A PID Controller Approach for Stochastic Optimization of Deep Networks",
    venue="IEEE Conference on Computer Vision and Pattern Recognition, 2018")  # fmt: skip


@register("pid", source=AN, where="the PID optimizer", state_copies=3)
class PID(ElementwiseDecay):
    """PID: the gradient, its accumulated past, and the average of its changes, as a controller adds them.

    ``I_t = μ I_{t-1} + (1 - τ) g_t``, ``D_t = μ D_{t-1} + (1 - μ) (g_t - g_{t-1})``,
    ``x_t = x_{t-1} - η (g_t + k_i I_t + k_d D_t)``, from I_0 = D_1 = 0.

    Notes
    -----
    Under a constant gradient the rate is ``η (1 + k_i (1 - τ) / (1 - μ))``, 51 η at the defaults. In the authors' code the gradient
    before the second is zero (a fault, not a dialect); there, and in pytorch_optimizer, μ = 0 is SGD.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("pid", lr=1.0, momentum=0.5, integral=1.0, derivative=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([2.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([1.0]), s)
    >>> print(x)  # -(2 + 2) - (1 + 2 - 0.5)
    [-6.5]
    """

    slots = ("previous", "total", "D")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    momentum: float = hyper(0.9, "[0, 1)", "μ.")
    dampening: float = hyper(0.0, "[0, 1]", "τ.")
    integral: float = hyper(5.0, "[0, inf)", "k_i.")
    derivative: float = hyper(10.0, "[0, inf)", "k_d.")
    words = {"weight_decay": "Coupled in the authors' code."}

    def rule(self, xp):
        def pid(x, g, previous, total, D, momentum, k, new, moving, integral, derivative, lr, l2, keep):
            g = g + l2 * x
            total = momentum * total + new * g
            D = ema(D, moving * (g - previous), momentum, k)
            return keep * x - lr * (g + integral * total + derivative * D), g, total, D

        return pid

    def scalars(self, t, carried):
        return {
            "k": 1.0 - self.momentum,
            "new": 1.0 - self.dampening,
            # Before the first gradient there is none that it could have changed from.
            "moving": 0.0 if t == 1 else 1.0,
        }


dialect(PID, "kozistr", "pytorch_optimizer 4.1 PID", decay="coupled")
