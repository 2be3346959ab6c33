"""AdaSmooth (Lu 2022)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

LU = Source(
    "lu-2022-adasmooth",
    "J. Lu",
    "AdaSmooth: An Adaptive Learning Rate Method based on Effective Ratio",
    arxiv="2204.00825",
)


@register("adasmooth", source=LU, where="the update with the effective ratio", state_copies=4)
class AdaSmooth(ElementwiseDecay):
    """AdaSmooth: RMSprop whose memory is short where a coordinate goes straight on, and long where it swings.

    Of each coordinate, over the run so far, ``e_t = |x_{t-1} - x_0| / (Σ_{s<t} |x_s - x_{s-1}| + ε)``, ``c_t = (ρ2 - ρ1) e_t + (1 - ρ2)``,
    ``v_t = c_t² g_t² + (1 - c_t²) v_{t-1}``, ``x_t = x_{t-1} - η g_t / sqrt(v_t + ε)``.

    Notes
    -----
    The formulas are those of pytorch_optimizer 4, the one code there is; the paper could not be read, nor whether it begins sums anew
    with every epoch. With ε = 0 and before the first move e is 0.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adasmooth", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([3.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))  # 1 / (1 - ρ2)
    [-100.]
    """

    slots = ("way", "path", "step", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    rho1: float = hyper(0.5, "[0, 1]", "ρ1, the memory of a coordinate that goes straight on.")
    rho2: float = hyper(0.99, "[0, 1]", "ρ2, of one that does not.")
    eps: float = hyper(1e-6, "[0, inf)", "ε, in the units of x and of g².")

    def rule(self, xp):
        divisor = nonzero(xp)

        def adasmooth(x, g, way, path, step, v, lr, fast, slow, eps, l2, keep):
            # The last move, with this step's decay: of points the difference has lost digits.
            moved = (keep * x - x) - step
            g, x = g + l2 * x, keep * x
            way, path = way + moved, path + xp.abs(moved)
            c = (fast - slow) * (xp.abs(way) / divisor(path + eps)) + slow
            v = (1.0 - c * c) * v + c * c * (g * g)
            step = lr * g / divisor(xp.sqrt(v + eps))
            return x - step, way, path, step, v

        return adasmooth

    def scalars(self, t, carried):
        return {"fast": 1.0 - self.rho1, "slow": 1.0 - self.rho2}


dialect(AdaSmooth, "kozistr", "pytorch_optimizer 4.1 AdaSmooth", decay="coupled")
