"""SRMM: stochastic regularised majorisation-minimisation with quadratic surrogates (Lyu 2022)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import ema

LYU = Source("lyu-2022-srmm", "H. Lyu",
    "Stochastic regularized majorization-minimization with weakly convex and multi-convex surrogates", arxiv="2201.01652")  # fmt: skip


@register(
    "srmm", source=LYU, where="SRMM with prox-linear surrogates and proximal regularisation", state_copies=2
)
class SRMM(Elementwise):
    """SRMM: every point minimises the average of all quadratic models so far, held to the last point.

    ``w_t = (t + 1)^-β``, and of models around each point, ``f̄_t(x) = (1 - w_t) f̄_{t-1}(x) + w_t (<g_t, x> + ‖x - x_{t-1}‖² / (2η))`` from
    ``f̄_0(x) = ‖x - x_0‖² / (2η)``: ``x_t = argmin f̄_t(x) + ρ ‖x - x_{t-1}‖² / 2``. With ḡ_t and x̄_t the averages of gradients and of points,
    ``x_t = (x̄_t + ρ η x_{t-1} - η ḡ_t) / (1 + ρ η)``.

    Notes
    -----
    The state has ḡ and x̄ - x. A rate that changes changes all models. In the author's code, and in pytorch_optimizer 4.1.0, x̄ begins
    at zero, so that the first step takes x to 0.71 x: a fault, not a dialect.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("srmm", lr=1.0, power=1.0)
    >>> x, s = o.update(np.array([0.0]), np.array([6.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([6.0]), s)
    >>> print(x)  # -3; then x̄ = -1, ḡ = 4
    [-5.]
    """

    slots = ("mean", "apart")
    lr: Rate = hyper(1e-2, "[0, inf)", "η, in the units of x over those of the gradient.")
    power: float = hyper(0.5, "[0, 1]", "β, of the models' weights; 0: only the newest counts.")
    proximal: float = hyper(0.0, "[0, inf)", "ρ.")

    def rule(self, xp):
        def srmm(x, g, mean, apart, old, w, share, step):
            mean = ema(mean, g, old, w)
            apart = old * apart
            move = share * apart - step * mean
            return x + move, mean, apart - move

        return srmm

    def scalars(self, t, carried):
        w, rate = (t + 1.0) ** -self.power, self.rate(t)
        share = 1.0 / (1.0 + self.proximal * rate)
        return {"old": 1.0 - w, "w": w, "share": share, "step": rate * share}
