"""Yogi (Zaheer et al. 2018)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

ZAHEER = Source("zaheer-2018-adaptive", "M. Zaheer, S. Reddi, D. Sachan, S. Kale, S. Kumar",
    "Adaptive Methods for Nonconvex Optimization", venue="Advances in Neural Information Processing Systems 31 (NeurIPS 2018)")  # fmt: skip


@register("yogi", source=ZAHEER, where="Algorithm 2", state_copies=2)
class Yogi(ElementwiseDecay):
    """Yogi: Adam whose second moment moves towards g² by no more than (1 - β2) g².

    ``m_t = β1 m_{t-1} + (1 - β1) g_t``, ``v_t = v_{t-1} - (1 - β2) sign(v_{t-1} - g_t²) g_t²``,
    ``x_t = x_{t-1} - η m_t / (sqrt(v_t) + ε)``.

    Notes
    -----
    v_0 is small and not zero; how the paper starts could not be read, 1e-6 is the libraries'. The paper has no
    bias correction.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("yogi", lr=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([1.0]), o.init(np.array([0.0])))
    >>> print(s["v"])  # v_0 + (1 - β2) g²
    [0.001001]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-2, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-3, "[0, inf)", "ε.")
    initial: float = hyper(1e-6, "[0, inf)", "v_0.")
    initial_momentum: float = hyper(0.0, "[0, inf)", "m_0.")
    bias_correction: bool = hyper(False, words="Divide m by 1 - β1^t, v by 1 - β2^t, whatever they began at.")
    words = {"weight_decay": "The paper has none."}

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return v_0 or m_0."""
        return namespace(leaf).full_like(leaf, self.initial if slot == "v" else self.initial_momentum)

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def yogi(x, g, m, v, beta1, k1, k2, step, root, eps, l2, keep):
            g = g + l2 * x
            square = g * g
            m = ema(m, g, beta1, k1)
            v = v - k2 * xp.sign(v - square) * square
            return keep * x - step * m / divisor(xp.sqrt(v) * root + eps), m, v

        return yogi

    def scalars(self, t, carried):
        c1, c2 = (correction(b, t) if self.bias_correction else 1.0 for b in (self.beta1, self.beta2))
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / c1,
            "root": 1.0 / c2**0.5,
        }


dialect(Yogi, "optax", "optax 0.2.8 yogi", "bias correction, and averages that both begin at 1e-6",
    bias_correction=True, initial_momentum=1e-6)  # fmt: skip
dialect(
    Yogi, "kozistr", "pytorch_optimizer 4.1 Yogi", "as optax", bias_correction=True, initial_momentum=1e-6
)
