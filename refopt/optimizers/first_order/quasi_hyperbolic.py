"""Quasi-hyperbolic momentum: QHM and QHAdam (Ma and Yarats 2018)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

MA = Source(
    "ma-2018-quasi",
    "J. Ma, D. Yarats",
    "Quasi-hyperbolic momentum and Adam for deep learning",
    arxiv="1810.06801",
)


@register("qhm", source=MA, where="equation (3)", state_copies=1)
class QHM(ElementwiseDecay):
    """QHM: the mean of a gradient step and a momentum step, with weights.

    ``m_t = β m_{t-1} + (1 - β) g_t``, ``x_t = x_{t-1} - α ((1 - ν) g_t + ν m_t)``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("qhm", lr=1.0, beta=0.9, nu=0.5)
    >>> x, s = o.update(np.array([0.0]), np.array([1.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-0.55]
    """

    slots = ("m",)
    lr: Rate = hyper(
        1e-2, "[0, inf)", "α; the paper's rule of thumb has 1 where SGD with momentum 0.9 has 0.1."
    )
    beta: float = hyper(0.999, "[0, 1)", "β.")
    nu: float = hyper(0.7, "[0, 1]", "ν, the weight of momentum.")
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        def qhm(x, g, m, beta, k, nu, rest, lr, l2, keep):
            g = g + l2 * x
            m = ema(m, g, beta, k)
            return keep * x - lr * (rest * g + nu * m), m

        return qhm

    def scalars(self, t, carried):
        return {"k": 1.0 - self.beta, "rest": 1.0 - self.nu}


dialect(QHM, "official", "facebookresearch/qhoptim pyt/qhm.py", decay="coupled")
dialect(
    QHM,
    "kozistr",
    "pytorch_optimizer 4.1 QHM",
    "plain momentum by default",
    beta=0.0,
    nu=1.0,
    lr=1e-3,
    decay="coupled",
)


@register("qhadam", source=MA, where="Algorithm 1", state_copies=2)
class QHAdam(ElementwiseDecay):
    """QHAdam: Adam with the gradient beside its average, and its square beside its average.

    ``x_t = x_{t-1} - α ((1 - ν1) g_t + ν1 m̂_t) / (sqrt((1 - ν2) g_t² + ν2 v̂_t) + ε)``, with Adam's m̂ and v̂.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("qhadam", lr=0.1)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-0.1]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "α.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    nu1: float = hyper(0.7, "[0, 1]", "ν1, the weight of m̂.")
    nu2: float = hyper(1.0, "[0, 1]", "ν2, the weight of v̂.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def qhadam(x, g, m, v, beta1, k1, beta2, k2, from_g, from_m, from_square, from_v, lr, eps, l2, keep):
            g = g + l2 * x
            square = g * g
            m, v = ema(m, g, beta1, k1), ema(v, square, beta2, k2)
            below = divisor(xp.sqrt(from_square * square + from_v * v) + eps)
            return keep * x - lr * (from_g * g + from_m * m) / below, m, v

        return qhadam

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1, "k2": 1.0 - self.beta2, "from_g": 1.0 - self.nu1, "from_square": 1.0 - self.nu2,
            "from_m": self.nu1 / correction(self.beta1, t), "from_v": self.nu2 / correction(self.beta2, t),
        }  # fmt: skip


dialect(
    QHAdam, "official", "facebookresearch/qhoptim pyt/qhadam.py", "Adam by default", nu1=1.0, decay="coupled"
)
dialect(QHAdam, "kozistr", "pytorch_optimizer 4.1 QHAdam", "Adam by default", nu1=1.0, decay="coupled")
