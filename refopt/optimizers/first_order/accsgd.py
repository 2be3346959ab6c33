"""AccSGD: accelerated SGD for least squares (Jain et al. 2017)."""

from __future__ import annotations

from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register

JAIN = Source("jain-2017-accelerating", "P. Jain, S. M. Kakade, R. Kidambi, P. Netrapalli, A. Sidford",
    "Accelerating Stochastic Gradient Descent for Least Squares Regression", arxiv="1704.08227")  # fmt: skip
KIDAMBI = Source("kidambi-2018-insufficiency", "R. Kidambi, P. Netrapalli, P. Jain, S. M. Kakade",
    "On the Insufficiency of Existing Momentum Schemes for Stochastic Optimization", arxiv="1803.05591")  # fmt: skip


@register(
    "accsgd",
    source=JAIN,
    where="the algorithm ASGD, in the form of Kidambi et al.",
    also=(KIDAMBI,),
    state_copies=1,
)
class AccSGD(Elementwise):
    """AccSGD: a short step beside a long one, whose running average the short one is drawn to.

    With ``α = 1 - c² ξ / κ`` and ``z = c / (c + 1 - α)``: ``w_t = α w_{t-1} + (1 - α) (x_{t-1} - (κ η / c) g_t)``,
    ``x_t = z (x_{t-1} - η g_t) + (1 - z) w_t``, from w_0 = x_0.

    Notes
    -----
    The state has w - x. At a constant rate it is `qhm` with β = z α and other names for the rest of its numbers.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("accsgd", lr=1.0, kappa=4.0, xi=2.0, c=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> print(x)  # two thirds of -3, and one of half of -12
    [-4.]
    """

    slots = ("apart",)
    lr: Rate = hyper(
        1e-3, "[0, inf)", "η: the short step's rate, in the units of x over those of the gradient."
    )
    kappa: float = hyper(1000.0, "[1, inf)", "κ: the long step's rate is κ / c times the short one's.")
    xi: float = hyper(10.0, "(0, inf)", "ξ: the statistical advantage, at most sqrt(κ) in the paper.")
    c: float = hyper(0.7, "(0, 1]", "c.")
    weight_decay: float = hyper(
        0.0, "[0, inf)", "λ: g + λ x is taken in the gradient's place. The paper has none."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.new > 1.0:
            raise ArgumentError(
                f"xi: wanted c² ξ ≤ κ, at most {self.kappa / self.c**2!r} here, got {self.xi!r}"
            )

    @property
    def new(self) -> float:
        """1 - α."""
        return self.c**2 * self.xi / self.kappa

    def rule(self, xp):
        def accsgd(x, g, apart, alpha, long, z, rest, lr, weight_decay):
            g = g + weight_decay * x
            there = alpha * apart - long * g
            return x + rest * there - z * lr * g, z * (there + lr * g)

        return accsgd

    def scalars(self, t, carried):
        below = self.c + self.new
        return {
            "alpha": 1.0 - self.new,
            "long": self.c * self.xi * self.rate(t),
            "z": self.c / below,
            "rest": self.new / below,
        }


dialect(AccSGD, "official", "rahulkidambi/AccSGD AccSGD.py; pytorch_optimizer 4.1 AccSGD alike")
