"""Tiger: signs of averaged gradients, at a rate relative to the weights, gradients accumulated in the average (Su 2023)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.factored import rms

SU = Source(
    "su-2023-tiger", "J. Su", "Tiger: A Tight-fisted Optimizer", url="https://github.com/bojone/tiger"
)


@register("tiger", source=SU, where="the formulas of the description, and tiger.py", state_copies=1)
class Tiger(Decay):
    """Tiger: signs of averaged gradients; k small batches go into one average without a buffer of their own.

    ``m_t = b_t m_{t-1} + (1 - β) / k g_t`` with b_t = β in the first of every k steps and 1 in the others;
    in the last of them ``x_t = x_{t-1} - α κ (sign(m_t) + λ x_{t-1})``, else x stays. κ is 1, or the root mean square of
    the leaf's entries.

    Notes
    -----
    With k = 1 and κ = 1 it is Signum with decoupled decay. A leaf that is zero never moves at the relative rate. The author's
    code besides halves the rate of biases and of normalisations and does not decay them, takes κ of an embedding by row,
    and shrinks x where a gradient is not finite.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("tiger", lr=0.1, accumulate=2, relative=True, weight_decay=0.0)
    >>> x = np.array([3.0, -4.0])
    >>> s = o.init(x)
    >>> for g in ([1.0, 1.0], [-3.0, 1.0]):
    ...     x, s = o.update(x, np.array(g), s)
    >>> print(x.round(4))  # one step of 0.1 times 5 / sqrt(2)
    [ 3.3536 -4.3536]
    """

    slots = ("m",)
    lr: Rate = hyper(1e-3, "[0, inf)", "α: in the units of x, or without a unit at the relative rate.")
    beta: float = hyper(0.965, "[0, 1)", "β.")
    accumulate: int = hyper(1, "int [1, inf)", "k.")
    relative: bool = hyper(False, words="κ is the root mean square of the leaf's entries before the step.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")

    def rule(self, xp):
        def tiger(x, g, m, lr, b, fresh, moves, l2, keep):
            m = ema(m, g + l2 * x, b, fresh)
            kappa = rms(x) if self.relative else 1.0
            # keep is 1 - α λ, or 1 - η λ: at the relative rate decay is, too.
            return x - moves * kappa * ((1.0 - keep) * x + lr * xp.sign(m)), m

        return tiger

    def scalars(self, t, carried):
        k = self.accumulate
        return {
            "b": self.beta if (t - 1) % k == 0 else 1.0,
            "fresh": (1.0 - self.beta) / k,
            "moves": float(t % k == 0),
        }


dialect(Tiger, "official", "bojone/tiger tiger.py",
    "without its treatment of leaves by name, which is no setting; gradients that are not finite are not taken", relative=True)  # fmt: skip
dialect(Tiger, "kozistr", "pytorch_optimizer 4.1 Tiger")
