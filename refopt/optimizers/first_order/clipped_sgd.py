"""Clipped SGD (Koloskova et al. 2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start
from refopt.core.registry import Source, register
from refopt.optimizers.common.clipping import shortening

KOLOSKOVA = Source("koloskova-2023-revisiting", "A. Koloskova, H. Hendrikx, S. U. Stich",
    "Revisiting Gradient Clipping: Stochastic bias and tight convergence guarantees", arxiv="2305.01588")  # fmt: skip


@register("clipped-sgd", source=KOLOSKOVA, where="the update of clipped SGD", state_copies=0)
class ClippedSGD(GradientMethod):
    """Clipped SGD: a step against the gradient, never longer than the rate times the threshold.

    ``x_{t+1} = x_t - η min(1, c / ||g_t||) g_t``, with the norm over all parameters.

    Notes
    -----
    With noise of variance σ² the limit is biased: the gradient's norm there can be of order
    min(σ, σ² / c), whatever η is. Around other methods than SGD, clipping is the wrapper `clip-norm`.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("clipped-sgd", lr=0.5, threshold=1.0)
    >>> x, s = o.update(np.zeros(2), np.array([30.0, 40.0]), o.init(np.zeros(2)))
    >>> print(x)
    [-0.3 -0.4]
    """

    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    threshold: float = hyper(1.0, "(0, inf)", "c, in the units of the gradient.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        check_start(x, "x")
        return {"t": 0}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step from the gradient `g`."""
        t = s["t"] + 1
        keep = shortening(params.norm(g), self.threshold)
        return params.axpy(-self.rate(t) * keep, g, x), {"t": t}
