"""NovoGrad (Ginsburg et al. 2019)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero

GINSBURG = Source("ginsburg-2019-novograd", "B. Ginsburg et al.",
    "Stochastic Gradient Methods with Layer-wise Adaptive Moments for Training of Deep Networks",
    arxiv="1905.11286")  # fmt: skip


@register("novograd", source=GINSBURG, where="Algorithm 1", state_copies=1)
class NovoGrad(Decay):
    """NovoGrad: momentum of gradients divided by an average of their whole layer's norm.

    ``v_t = β2 v_{t-1} + (1 - β2) ‖g_t‖²``, ``m_t = β1 m_{t-1} + (g_t / (sqrt(v_t) + ε) + d x_{t-1})``,
    ``x_t = x_{t-1} - η m_t``, from v_1 = ‖g_1‖² and m_1 = g_1 / ‖g_1‖ + d x_0, for every array apart.

    Notes
    -----
    An array whose gradient is all zero has g / ‖g‖ = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("novograd", lr=1.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, 4.0]), o.init(np.zeros(2)))
    >>> print(x)
    [-0.6 -0.8]
    """

    slots = ("m", "v")
    lr: Rate = hyper(
        0.01, "[0, inf)", "η, in units of a norm of x: a step has about this length divided by 1 - β1."
    )
    beta1: float = hyper(0.95, "[0, 1)")
    beta2: float = hyper(0.98, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_first: bool = hyper(False, words="ε stands in the first step too (the libraries).")
    restart: bool = hyper(
        False, words="v is ‖g‖² again after it was zero (the authors' code takes that for the first step)."
    )
    grad_averaging: bool = hyper(False, words="m takes 1 - β1 of the new term.")
    average_first: bool = hyper(True, words="With `grad_averaging`: in the first step too.")
    decay: str = hyper("coupled", ("coupled", "decoupled", "independent"),
        "``coupled``: inside m, beside the divided gradient, as above; the others: apart from m.")  # fmt: skip
    words = {"weight_decay": "d."}

    def rule(self, xp):
        divisor = nonzero(xp)

        def novograd(x, g, m, v, lr, beta1, gain, beta2, eps, d, keep):
            square = xp.sum(g * g, keepdims=True)
            average = ema(v, square, beta2, 1.0 - beta2)
            v = xp.where(v == 0.0, square, average) if self.restart else average
            m = beta1 * m + gain * (g / divisor(xp.sqrt(v) + eps) + d * x)
            return keep * x - lr * m, m, v

        return novograd

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: like the leaf, and one number of as many dimensions for its norm."""
        xp = namespace(leaf)
        return xp.zeros_like(leaf) if slot == "m" else xp.sum(xp.zeros_like(leaf), keepdims=True)

    def scalars(self, t, carried):
        averaged = self.grad_averaging and (self.average_first or t > 1)
        return {
            "gain": 1.0 - self.beta1 if averaged else 1.0,
            "beta2": self.beta2 if t > 1 else 0.0,
            "eps": self.eps if self.eps_first or t > 1 else 0.0,
            "d": self.coupled(),
        }


dialect(NovoGrad, "jasper", "NVIDIA/DeepLearningExamples Jasper optimizers.py",
    "v is set anew whenever it is zero", beta2=0.0, lr=1e-3, eps_first=True, restart=True)  # fmt: skip
dialect(NovoGrad, "timm", "timm nvnovograd", lr=1e-3, eps_first=True, restart=True)
dialect(NovoGrad, "optax", "optax 0.2.8 novograd", beta1=0.9, beta2=0.25, eps=1e-6, eps_first=True)
dialect(NovoGrad, "kozistr", "pytorch_optimizer 4.1.0 NovoGrad", lr=1e-3, eps_first=True, average_first=False)
