"""Averaged SGD (Polyak and Juditsky 1992), with the falling rate of Bottou's codes."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import ElementwiseDecay

POLYAK = Source("polyak-1992-acceleration", "B. T. Polyak, A. B. Juditsky",
    "Acceleration of Stochastic Approximation by Averaging", doi="10.1137/0330046",
    venue="SIAM Journal on Control and Optimization 30(4), 838-855")  # fmt: skip


@register("asgd", source=POLYAK, where="the averaged iterates of stochastic approximation")
class ASGD(ElementwiseDecay):
    """ASGD: gradient steps with a slowly falling rate, and the mean of the points that they lead to.

    ``η_t = η / (1 + λ η (t - 1))^α``, ``x_t = (1 - λ η_t) x_{t-1} - η_t g_t``; the average is x_t up to the step T, from where
    points are averaged, and ``a_t = a_{t-1} + (x_t - a_{t-1}) / (t - T + 1)`` from there on.

    Notes
    -----
    `average` gives the average of a state, which steers nothing. λ, the strength of a quadratic term of the loss, is torch's
    ``lambd``; with λ = 0 the rate is constant.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("asgd", lr=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([-1.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([-2.0]), s)
    >>> print(x, o.average(s))
    [3.] [2.]
    """

    slots = ("a",)
    lr: Rate = hyper(1e-2, "[0, inf)", "η.")
    strength: float = hyper(0.0, "[0, inf)", "λ.")
    power: float = hyper(0.75, "[0, inf)", "α.")
    average_from: int = hyper(1, "int [1, inf)", "T; torch's t0 + 2.")
    words = {"weight_decay": "A further term, outside of the rate's fall. The paper has none."}

    def average(self, s: State) -> Params:
        """Return the average of a state."""
        return params.copied(s["a"])

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return the start, which is the average so far."""
        return namespace(leaf).asarray(leaf, copy=True)

    def rule(self, xp):
        def asgd(x, g, a, lr, left, share, rest, l2, keep):
            x = keep * left * x - lr * (g + l2 * x)
            return x, rest * a + share * x

        return asgd

    def rate(self, t: int) -> float:
        """Return η_t, as λ makes it fall."""
        lr = super().rate(t)
        return lr / (1.0 + self.strength * lr * (t - 1)) ** self.power

    def scalars(self, t, carried):
        share = 1.0 / max(1, t - self.average_from + 1)
        return {"left": 1.0 - self.strength * self.rate(t), "share": share, "rest": 1.0 - share}


dialect(ASGD, "torch", "torch 2.13 optim.ASGD", strength=1e-4, average_from=1_000_002, decay="coupled")
