"""LOMO and AdaLomo: steps made inside the backward pass, so that no two gradients are kept (Lv et al. 2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.clipping import shortening
from refopt.optimizers.first_order.adafactor import SHAZEER, Adafactor

LV = Source("lv-2023-full", "K. Lv, Y. Yang, T. Liu, Q. Gao, Q. Guo, X. Qiu",
    "Full Parameter Fine-tuning for Large Language Models with Limited Resources", arxiv="2306.09782")  # fmt: skip
LV_ADA = Source("lv-2023-adalomo", "K. Lv, H. Yan, Q. Guo, H. Lv, X. Qiu",
    "AdaLomo: Low-memory Optimization with Adaptive Learning Rate", arxiv="2310.10195")  # fmt: skip


@register("lomo", source=LV, where="the algorithm LOMO, with clipping by value or by norm", state_copies=0)
class LOMO(GradientMethod):
    """LOMO: gradient descent, fused into the backward pass: every leaf moves as soon as its gradient is known.

    ``x_t = x_{t-1} - η ĝ_t``, with ĝ the gradient, or its entries clipped to [-v, v], or ``g_t min(1, c / (‖g_t‖ + 1e-6))`` with the norm
    over all leaves, or both, values first.

    Notes
    -----
    The arithmetic is that of `sgd`, and with a norm of `clipped-sgd` but for the 1e-6. What the fusing saves is memory, of which an
    array of gradients that is handed over here has nothing. The norm needs a backward pass of its own before the one that
    moves; gradients are those of the old x all the same. A code that computes in single precision whatever the weights' dtype, as
    the authors' does, rounds double weights.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("lomo", lr=0.5, clip_value=4.0)
    >>> x, s = o.update(np.zeros(2), np.array([30.0, -1.0]), o.init(np.zeros(2)))
    >>> print(x)
    [-2.   0.5]
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    clip_value: float | None = hyper(
        None, "(0, inf)", "v, in the units of the gradient. None: no clipping by value."
    )
    clip_norm: float | None = hyper(
        None, "(0, inf)", "c, in the units of the gradient. None: no clipping by norm."
    )
    norm_eps: float = hyper(1e-6, "[0, inf)", "Added to the norm.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        check_start(x, "x")
        return {"t": 0}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step from the gradient `g`."""
        t, keep, v = s["t"] + 1, 1.0, self.clip_value
        if self.clip_norm is not None:
            # The norm is known from the pass before, of gradients that were not clipped.
            keep = shortening(params.norm(g) + self.norm_eps, self.clip_norm)
        if v is not None:
            g = map_leaves(lambda leaf: namespace(leaf).clip(leaf, min=-v, max=v), g)
        return params.axpy(-self.rate(t) * keep, g, x), {"t": t}


dialect(
    LOMO,
    "official",
    "OpenLMLab/LOMO lomo_optim/lomo.py; pytorch_optimizer 4.1 LOMO alike",
    "computes in float32",
)


@register("adalomo", source=LV_ADA, where="the algorithm AdaLomo", also=(SHAZEER, LV))
class AdaLomo(Adafactor):
    """AdaLomo: Adafactor without its rate 1/sqrt(t), fused into the backward pass.

    With ``β_t = 1 - t^{-0.8}``, R_t and C_t the averages of row and column means of ``g_t² + ε1``, ``V_t = R_t C_t / mean(R_t)`` (vectors: the average
    itself), ``U_t = g_t / sqrt(V_t)``, ``Û_t = U_t / max(1, RMS(U_t))``: ``x_t = x_{t-1} - α_t (Û_t + λ x_{t-1})``,
    ``α_t = η max(ε2, RMS(x_{t-1}))``.

    Notes
    -----
    It is `adafactor` with ``relative_step=False`` and the rate η; this class is no more than that. The normalisation by leaf, which the paper
    calls grouped, is what lets the step be fused: no norm over all leaves is needed. The authors' code stops at kernels.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adalomo", lr=0.5)
    >>> x, s = o.update(np.array([2.0, -2.0]), np.array([3.0, 1e-4]), o.init(np.zeros(2)))
    >>> print(x)
    [ 1. -3.]
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η, without a unit.")
    relative_step: bool = hyper(False, words="True: η is at most 1 / sqrt(t).")


dialect(AdaLomo, "official", "OpenLMLab/LOMO lomo_optim/adalomo.py; pytorch_optimizer 4.1 AdaLOMO",
    "computes in float32, gradients through a loss scale of 1024; takes no kernels")  # fmt: skip
