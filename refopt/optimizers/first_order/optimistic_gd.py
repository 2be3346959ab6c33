"""Optimistic gradient descent (Daskalakis et al. 2017, Mokhtari et al. 2019)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register

DASKALAKIS = Source("daskalakis-2017-training", "C. Daskalakis, A. Ilyas, V. Syrgkanis, H. Zeng", "Training GANs with Optimism",
    arxiv="1711.00141")  # fmt: skip
MOKHTARI = Source("mokhtari-2019-unified", "A. Mokhtari, A. Ozdaglar, S. Pattathil",
    "A Unified Analysis of Extra-gradient and Optimistic Gradient Methods for Saddle Point Problems: Proximal Point Approach",
    arxiv="1901.08511")  # fmt: skip


@register(
    "optimistic-gd",
    source=DASKALAKIS,
    where="optimistic mirror descent for unconstrained games",
    also=(MOKHTARI,),
    state_copies=1,
)
class OptimisticGD(Elementwise):
    """Optimistic GD: gradient descent with the gradient's last change added, so that bilinear games converge.

    ``x_t = x_{t-1} - η ((α + β) g_t - β g_{t-1})``, from g_0 = g_1; α = β = 1: ``2 g_t - g_{t-1}``.

    Notes
    -----
    With α = β = 1 the points are those of `optimistic-mirror-descent` on all space (`first` is its switch too), which keeps the other
    sequence; α and β apart are the generalised form of Mokhtari et al.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("optimistic-gd", lr=0.5)
    >>> x, s = o.update(np.array([1.0]), np.array([1.0]), o.init(np.array([1.0])))
    >>> x, s = o.update(x, np.array([0.5]), s)
    >>> print(x)  # 2 · 0.5 - 1 = 0
    [0.5]
    """

    slots = ("last",)
    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    alpha: float = hyper(1.0, "[0, inf)", "α.")
    beta: float = hyper(1.0, "[0, inf)", "β, the weight of the gradient's change.")
    first: str = hyper("own", ("own", "zero"), "g_0: g_1, or zero.")

    def rule(self, xp):
        def optimistic_gd(x, g, last, lr, new, old):
            return x - lr * (new * g - old * last), 1.0 * g

        return optimistic_gd

    def scalars(self, t, carried):
        # The last gradient is zero in the first step, so that g_0 = g_1 is a change of zero.
        alone = t == 1 and self.first == "own"
        return {"new": self.alpha if alone else self.alpha + self.beta, "old": self.beta}


dialect(OptimisticGD, "optax", "optax 0.2.8 optimistic_gradient_descent")
