"""AdaGrad-Norm: AdaGrad with one rate for all coordinates (Ward et al. 2018)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, register

WARD = Source("ward-2018-adagrad", "R. Ward, X. Wu, L. Bottou",
    "AdaGrad stepsizes: Sharp convergence over nonconvex landscapes", arxiv="1806.01811")  # fmt: skip


@register("adagrad-norm", source=WARD, where="Algorithm 1, AdaGrad-Norm", state_copies=0)
class AdaGradNorm(GradientMethod):
    """AdaGrad-Norm: the gradient over the root of the sum of all squared norms so far.

    ``b_t² = b_{t-1}² + ||g_t||²``, ``x_{t+1} = x_t - η g_t / (b_t + ε)``, with the norm over all parameters.

    Notes
    -----
    The state holds b, not its square, which could overflow. The code of Lau et al. (2024) under this name
    accumulates by rows and tensors, and is another method.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adagrad-norm", lr=1.0, initial=0.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, 4.0]), o.init(np.zeros(2)))
    >>> print(x, s["b"])
    [-0.6 -0.8] 5.0
    """

    lr: Rate = hyper(1.0, "[0, inf)", "η, in the units of x.")
    initial: float = hyper(0.1, "[0, inf)", "b_0; with 0 the first step has the length η.")
    eps: float = hyper(0.0, "[0, inf)", "ε; the paper has none, with b_0 > 0.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: b_0."""
        check_start(x, "x")
        return {"t": 0, "b": self.initial}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("b",)

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Add to b and make one step."""
        t = s["t"] + 1
        b = math.hypot(s["b"], params.norm(g))
        divisor = b + self.eps
        # Zero over zero: no gradient has come yet.
        gain = self.rate(t) / divisor if divisor > 0.0 else 0.0
        return params.axpy(-gain, g, x), {"t": t, "b": b}
