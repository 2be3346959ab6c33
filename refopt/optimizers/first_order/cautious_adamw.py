"""Cautious AdamW and C-Lion: methods that move only where step and gradient agree (Liang et al. 2024)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay

LIANG = Source("liang-2024-cautious", "K. Liang, L. Chen, B. Liu, Q. Liu",
    "Cautious Optimizers: Improving Training with One Line of Code", arxiv="2411.16085")  # fmt: skip


def cautious_mask(m: Array, g: Array, normalizer: str, eps: float) -> Array:
    """Return the mask of coordinates where `m` and `g` agree in sign, over its normaliser.

    Parameters
    ----------
    m, g : array
        The direction of the step and the gradient.
    normalizer : {"mean", "floor", "count"}
        Divide by ``mean(φ) + eps``, by ``max(mean(φ), 1e-3)``, or by ``(count(φ) + 1) / d``.
    eps : float
    """
    xp = namespace(m)
    mask = xp.where(m * g > 0.0, xp.ones_like(m), xp.zeros_like(m))
    mean = xp.mean(mask)
    if normalizer == "mean":
        below = mean + eps
    elif normalizer == "floor":
        below = xp.clip(mean, min=1e-3)
    else:
        entries = 1
        for n in m.shape:
            entries *= n
        below = mean + 1.0 / entries
    return mask / xp.where(below > 0.0, below, xp.ones_like(below))


@register("cautious-adamw", source=LIANG, where="the algorithm C-AdamW", state_copies=2)
class CautiousAdamW(Decay):
    """Cautious AdamW: AdamW's step masked where its momentum and the gradient differ in sign.

    With Adam's averages m_t, v_t and ``u_t = m̂_t / (sqrt(v̂_t) + ε)``, for every leaf
    ``φ_t = 1[m_t g_t > 0]``, ``x_t = (1 - η λ) x_{t-1} - η u_t φ_t / (mean(φ_t) + ε)``.

    Notes
    -----
    The mask uses the new momentum. The authors' first code decays after the step; whether the paper
    does could not be checked. Their later code decays before it, as here.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("cautious-adamw", lr=0.1)
    >>> x = np.array([1.0, 1.0])
    >>> x, s = o.update(x, np.array([2.0, 0.0]), o.init(x))
    >>> print(x.round(4))
    [0.8 1. ]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-6, "[0, inf)", "ε.")
    eps_corrected: bool = hyper(True, words="True: ε beside ``sqrt(v̂)``. False: beside ``sqrt(v)``.")
    normalizer: str = hyper("mean", ("mean", "floor", "count"),
        "What φ is divided by: ``mean(φ) + ε`` (the paper), ``max(mean(φ), 1e-3)``, or ``(count(φ) + 1)"
        " / d`` with d the leaf's size.")  # fmt: skip
    decay_after: bool = hyper(False, words="``x ← (1 - η λ) (x - step)`` in place of ``(1 - η λ) x - step``.")

    def rule(self, xp):
        def cautious(x, g, m, v, step, root, eps, l2, keep):
            g = g + l2 * x
            m = ema(m, g, self.beta1, 1.0 - self.beta1)
            v = ema(v, g * g, self.beta2, 1.0 - self.beta2)
            below = xp.sqrt(v) * root + eps
            u = m / xp.where(below > 0.0, below, xp.ones_like(below))
            masked = step * u * cautious_mask(m, g, self.normalizer, self.eps)
            return keep * (x - masked) if self.decay_after else keep * x - masked, m, v

        return cautious

    def scalars(self, t, carried):
        c1, c2 = correction(self.beta1, t), correction(self.beta2, t)
        return {
            "step": self.rate(t) / c1,
            "root": c2**-0.5,
            "eps": self.eps if self.eps_corrected else self.eps / c2**0.5,
        }


dialect(CautiousAdamW, "official", "kyleliang919/C-Optim c_adamw.py, foreach=False",
    "its other path has eps beside the corrected root", normalizer="floor", eps_corrected=False)  # fmt: skip
dialect(CautiousAdamW, "timm", "timm adamw(caution=True)", normalizer="floor", eps=1e-8)
dialect(CautiousAdamW, "first", "kyleliang919/C-Optim c_adamw.py of November 2024",
    "decay_after=False: the version of December 2024", normalizer="count", eps_corrected=False,
    decay_after=True)  # fmt: skip
dialect(CautiousAdamW, "levanter", "levanter optim/cautious.py", "without its clipping of the global norm",
    beta1=0.95, beta2=0.95, eps=1e-8)  # fmt: skip


@register("c-lion", source=LIANG, where="the algorithm C-Lion", state_copies=1)
class CautiousLion(Decay):
    """C-Lion: Lion's step masked where its sign and the gradient's differ.

    ``u_t = sign(β1 m_{t-1} + (1 - β1) g_t)``, for every leaf of d entries ``φ_t = 1[u_t g_t > 0]``,
    ``x_t = (1 - η λ) x_{t-1} - η u_t φ_t d / (Σ φ_t + 1)``, ``m_t = β2 m_{t-1} + (1 - β2) g_t``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("c-lion", lr=0.5)
    >>> x, s = o.update(np.zeros(2), np.array([2.0, -1.0]), o.init(np.zeros(2)))
    >>> print(x.round(4))  # two of two, over two and one
    [-0.3333  0.3333]
    """

    slots = ("m",)
    lr: Rate = hyper(1e-4, "[0, inf)", "η, in the units of x.")
    beta1: float = hyper(0.95, "[0, 1)", "Weight of the momentum in the direction.")
    beta2: float = hyper(0.98, "[0, 1)", "Weight of the momentum in its own average.")
    normalizer: str = hyper("count", ("mean", "floor", "count"),
        "What φ is divided by: ``mean(φ) + ε``, ``max(mean(φ), 1e-3)``, or ``(Σ φ + 1) / d`` as above.")  # fmt: skip
    eps: float = hyper(1e-6, "[0, inf)", "ε, of the normalizer ``mean`` alone.")

    def rule(self, xp):
        def cautious_lion(x, g, m, beta1, k1, beta2, k2, lr, eps, l2, keep):
            g = g + l2 * x
            u = xp.sign(ema(m, g, beta1, k1))
            return keep * x - lr * u * cautious_mask(u, g, self.normalizer, eps), ema(m, g, beta2, k2)

        return cautious_lion

    def scalars(self, t, carried):
        return {"k1": 1.0 - self.beta1, "k2": 1.0 - self.beta2}


dialect(CautiousLion, "official", "kyleliang919/C-Optim c_lion.py")
