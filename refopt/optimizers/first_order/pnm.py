"""Positive-negative momentum: PNM and AdaPNM (Xie et al. 2021)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

XIE = Source("xie-2021-positive", "Z. Xie, L. Yuan, Z. Zhu, M. Sugiyama",
    "Positive-Negative Momentum: Manipulating Stochastic Gradient Noise to Improve Generalization", arxiv="2103.17182")  # fmt: skip


def weights(beta0: float, beta1: float) -> dict[str, float]:
    """Return β1² and its complement, and the weights of this step's average and of the last's, a vector of length 1."""
    length, memory = ((1.0 + beta0) ** 2 + beta0**2) ** 0.5, beta1 * beta1
    return {"memory": memory, "new": 1.0 - memory, "plus": (1.0 + beta0) / length, "minus": beta0 / length}


class PositiveNegative(ElementwiseDecay):
    """What both share: two averages, of every second gradient each, and the weights of their difference."""

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta0: float = hyper(1.0, "[0, inf)", "β0, the weight of the negative average.")
    beta1: float = hyper(0.9, "[0, 1)", "β1; an average is multiplied by β1² at each of its own steps.")

    def weights(self) -> dict[str, float]:
        """Return the numbers of every step."""
        return weights(self.beta0, self.beta1)


@register("pnm", source=XIE, where="PNM", state_copies=2)
class PNM(PositiveNegative):
    """PNM: momentum of this step's parity, with that of the other parity subtracted, which makes the noise larger.

    ``m_t = β1² m_{t-2} + (1 - β1²) g_t``, ``x_t = x_{t-1} - η ((1 + β0) m_t - β0 m_{t-1}) / sqrt((1 + β0)² + β0²)``, from
    m_0 = m_{-1} = 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("pnm", lr=1.0, beta0=0.75, beta1=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([1.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([1.0]), s)
    >>> print((x * (1.75**2 + 0.75**2) ** 0.5).round(6))  # 1.75, then 1.75 - 0.75
    [-2.75]
    """

    slots = ("last", "older")

    def rule(self, xp):
        def pnm(x, g, last, older, lr, memory, new, plus, minus, l2, keep):
            fresh = ema(older, g + l2 * x, memory, new)
            return keep * x - lr * (plus * fresh - minus * last), fresh, 1.0 * last

        return pnm

    def scalars(self, t, carried):
        return self.weights()


@register("adapnm", source=XIE, where="AdaPNM", state_copies=4)
class AdaPNM(PositiveNegative):
    """AdaPNM: PNM's direction over the root of AMSGrad's averaged squares.

    ``v_t = β2 v_{t-1} + (1 - β2) g_t²``, ``V_t = max(V_{t-1}, v_t)``, ``x_t = x_{t-1} - η / (1 - β1^t) · d_t / (sqrt(V_t / (1 - β2^t)) + ε)``
    with PNM's direction d_t.

    Notes
    -----
    1 - β1^t is the correction of an average of all gradients, and not that of m.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adapnm", lr=1.0, beta0=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([5.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))  # (1 - 0.81) / (1 - 0.9)
    [-1.9]
    """

    slots: ClassVar[tuple[str, ...]] = ("last", "older", "v", "largest")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    amsgrad: bool = hyper(True, words="False: v itself in place of its maximum.")
    eps_corrected: bool = hyper(True, words="False: ε stands beside the uncorrected root.")
    eps_root: float = hyper(0.0, "[0, inf)", "Added inside the uncorrected root (pytorch_optimizer).")

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: the maximum with amsgrad alone."""
        return self.slots if self.amsgrad else self.slots[:3]

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adapnm(
            x,
            g,
            last,
            older,
            v,
            largest,
            memory,
            new,
            plus,
            minus,
            beta2,
            k2,
            step,
            root,
            eps,
            inside,
            l2,
            keep,
        ):
            g = g + l2 * x
            fresh, v = ema(older, g, memory, new), ema(v, g * g, beta2, k2)
            largest = xp.maximum(largest, v)
            below = divisor(xp.sqrt(largest + inside) * root + eps)
            return keep * x - step * (plus * fresh - minus * last) / below, fresh, 1.0 * last, v, largest

        def plain(
            x, g, last, older, v, memory, new, plus, minus, beta2, k2, step, root, eps, inside, l2, keep
        ):
            g = g + l2 * x
            fresh, v = ema(older, g, memory, new), ema(v, g * g, beta2, k2)
            below = divisor(xp.sqrt(v + inside) * root + eps)
            return keep * x - step * (plus * fresh - minus * last) / below, fresh, 1.0 * last, v

        return adapnm if self.amsgrad else plain

    def scalars(self, t, carried):
        root = correction(self.beta2, t) ** -0.5
        return {
            **self.weights(),
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": root,
            "eps": self.eps if self.eps_corrected else self.eps * root,
            "inside": self.eps_root,
        }


dialect(
    PNM, "official", "zeke-xie/Positive-Negative-Momentum pnm_optim/pnm.py; pytorch_optimizer 4.1 PNM alike"
)
dialect(AdaPNM, "official", "zeke-xie/Positive-Negative-Momentum pnm_optim/adapnm.py")
dialect(AdaPNM, "kozistr", "pytorch_optimizer 4.1 AdaPNM", eps_corrected=False, eps_root=1e-15)
