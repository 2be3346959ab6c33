"""Lion: the sign of interpolated momentum, a rule found by program search (Chen et al. 2023)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import ElementwiseDecay

CHEN = Source("chen-2023-symbolic", "X. Chen, C. Liang, D. Huang, E. Real, K. Wang, et al.",
    "Symbolic Discovery of Optimization Algorithms", arxiv="2302.06675")  # fmt: skip


@register("lion", source=CHEN, where="the discovered algorithm, Lion", state_copies=1)
class Lion(ElementwiseDecay):
    """Lion: a step of equal size in every coordinate, against the sign of interpolated momentum.

    ``x_t = x_{t-1} - η (sign(β1 m_{t-1} + (1 - β1) g_t) + λ x_{t-1})``,
    ``m_t = β2 m_{t-1} + (1 - β2) g_t``, from m_0 = 0, with sign(0) = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("lion", lr=0.1)
    >>> x = np.array([1.0, -2.0])
    >>> x, s = o.update(x, np.array([30.0, -0.5]), o.init(x))
    >>> print(x)
    [ 0.9 -1.9]
    """

    slots = ("m",)
    lr: Rate = hyper(1e-4, "[0, inf)",
        "η, in the units of x: every coordinate moves by it. The paper advises 3 to 10 times less than"
        " for AdamW, and as much more decay.")  # fmt: skip
    beta1: float = hyper(0.9, "[0, 1)", "Weight of the momentum in the direction.")
    beta2: float = hyper(0.99, "[0, 1)", "Weight of the momentum in its own average.")

    def rule(self, xp):
        def lion(x, g, m, lr, beta1, k1, beta2, k2, l2, keep):
            g = g + l2 * x
            x = keep * x - lr * xp.sign(ema(m, g, beta1, k1))
            return x, ema(m, g, beta2, k2)

        return lion

    def scalars(self, t, carried):
        return {"k1": 1.0 - self.beta1, "k2": 1.0 - self.beta2}


dialect(Lion, "official", "google/automl lion/lion_pytorch.py", "its optax and TensorFlow files alike")
dialect(Lion, "optax", "optax 0.2.8 lion", weight_decay=1e-3)
dialect(Lion, "kozistr", "pytorch_optimizer 4.1 Lion")
dialect(Lion, "keras", "Keras 3 Lion", lr=1e-3)
