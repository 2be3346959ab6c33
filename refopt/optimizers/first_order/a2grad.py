"""A2Grad: accelerated SGD whose steps shrink with the noise seen (Deng et al. 2018)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.trust import leaf_norm

DENG = Source("deng-2018-optimal", "Q. Deng, Y. Cheng, G. Lan", "Optimal Adaptive and Accelerated Stochastic Gradient Descent",
    arxiv="1810.00553")  # fmt: skip


@register("a2grad", source=DENG, where="A2Grad-uni, A2Grad-inc and A2Grad-exp", state_copies=3)
class A2Grad(LeafRule):
    """A2Grad: Lan's accelerated method, with the spread of gradients about their mean added to the curvature bound.

    With k = 0, 1, …, ``γ_k = 2L / (k + 1)``, ``α_k = 2 / (k + 3)``, α_{-1} = 1, ``δ_k = g_k - (g_0 + … + g_k) / (k + 1)``,
    ``v_k = v_{k-1} + δ_k²``, ``c_k = 1 / (γ_k + β sqrt(v_k))``: ``z_{k+1} = z_k - c_k g_k``,
    ``x_{k+1} = (1 - α_k) x_k + α_k z_{k+1} - (1 - α_k) α_{k-1} c_k g_k``, from z_0 = x_0 and v_{-1} = 0.

    Notes
    -----
    δ_0 is zero, so the first step is that of the bound L alone. The state has z - x. The codes that are about, the authors' not among them, take
    the norm of a leaf's δ in the place of each entry's. The paper projects onto a set, which is not here.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("a2grad", lipschitz=1.0, beta=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> print(x)  # a third of 0, two thirds of -1.5, and a third of -1.5
    [-1.5]
    """

    has_rate = False
    slots: ClassVar[tuple[str, ...]] = ("mean", "apart", "v", "largest")
    lipschitz: float = hyper(
        10.0, "(0, inf)", "L, a bound of the curvature, in the units of the gradient over those of x."
    )
    beta: float = hyper(10.0, "[0, inf)", "β, one over the units of x.")
    average: str = hyper("uni", ("uni", "inc", "exp"),
        "uni: as above. inc: ``(k / (k + 1))² v_{k-1}`` in the place of the old v. exp: ``sqrt((k + 1) v_k)`` in the place of the"
        " root, with v the largest so far of an average of δ² of weight ρ.")  # fmt: skip
    rho: float = hyper(0.5, "[0, 1)", "ρ, of ``exp`` alone.")
    whole: bool = hyper(
        False, words="True: δ² is the sum over a leaf, and v one number (severilov, pytorch_optimizer)."
    )

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: the largest average with ``exp`` alone."""
        return self.slots if self.average == "exp" else self.slots[:3]

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, with `whole` one number for v and its maximum."""
        xp = namespace(leaf)
        return xp.zeros_like(xp.sum(leaf) if self.whole and slot in ("v", "largest") else leaf)

    def rule(self, xp):
        def moved(x, g, apart, h, gamma, alpha, before):
            way = g / (gamma + self.beta * h)
            move = alpha * (apart - way) - (1.0 - alpha) * before * way
            return x + move, apart - way - move

        def spread(g, mean, share):
            mean = mean + share * (g - mean)
            away = g - mean
            return mean, leaf_norm(away) ** 2 if self.whole else away * away

        def summed(x, g, mean, apart, v, share, old, gamma, alpha, before):
            mean, square = spread(g, mean, share)
            v = old * v + square
            x, apart = moved(x, g, apart, xp.sqrt(v), gamma, alpha, before)
            return x, mean, apart, v

        def averaged(x, g, mean, apart, v, largest, share, rho, new, count, gamma, alpha, before):
            mean, square = spread(g, mean, share)
            v = ema(v, square, rho, new)
            largest = xp.maximum(largest, v)
            x, apart = moved(x, g, apart, xp.sqrt(count * largest), gamma, alpha, before)
            return x, mean, apart, v, largest

        return averaged if self.average == "exp" else summed

    def scalars(self, t, carried):
        k = t - 1
        out = {
            "share": 1.0 / t,
            "gamma": 2.0 * self.lipschitz / t,
            "alpha": 2.0 / (k + 3),
            "before": 2.0 / (k + 2),
        }
        if self.average == "exp":
            return {**out, "new": 1.0 - self.rho, "count": float(t)}
        return {**out, "old": (k / t) ** 2 if self.average == "inc" else 1.0}


dialect(A2Grad, "severilov", "severilov/A2Grad_optimizer optimizers.py", whole=True)
