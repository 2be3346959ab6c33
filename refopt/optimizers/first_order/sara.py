"""SaRA: AdamW on the weights that were small to begin with (Hu et al. 2024)."""

from __future__ import annotations

import math
from typing import ClassVar

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, leaves, map_leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.core.rng import generator
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.lmo import polar_and_nuclear

HU = Source("hu-2024-sara", "T. Hu, J. Zhang, R. Yi, H. Huang, Y. Wang, L. Ma",
    "SaRA: High-Efficient Diffusion Model Fine-tuning with Progressive Sparse Low-Rank Adaptation", arxiv="2409.06633")  # fmt: skip


@register(
    "sara",
    source=HU,
    where="sparse fine-tuning, with progressive choice and the low-rank constraint",
    state_copies=3,
)
class SaRA(ElementwiseDecay):
    """SaRA: AdamW on the entries whose magnitude is below a threshold at the start, the others stand still.

    ``K = 1[|x_0| < θ]``; for entries of K Adam's averages of g, ``x_t = (1 - η λ) x_{t-1} - η m̂_t / (sqrt(v̂_t) + ε)``; other entries keep x_0. At step
    p + 1 ``K ← K 1[|x_p| < θ]``. With a low-rank constraint ``λ_r U V^T`` is added to the gradient of one matrix a step, drawn
    from those that are large enough, where ``U Σ V^T`` is the matrix with zeros outside K.

    Notes
    -----
    ``U V^T`` is the gradient of the nuclear norm of what has been trained. The code's default rate is ``1e-3 exp(-350 θ)``. At step p + 1 the
    authors' code begins Adam anew, makes no step and chooses among all entries, and it puts magnitudes in the place of
    the chosen weights, which looks like a fault; here averages go on, and nothing but K changes.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sara", lr=0.1, threshold=0.5, weight_decay=0.0)
    >>> x, s = o.update(np.array([0.2, 3.0]), np.array([1.0, 1.0]), o.init(np.array([0.2, 3.0])))
    >>> print(x.round(6))
    [0.1 3. ]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "chosen")
    lr: Rate = hyper(1e-3 * math.exp(-0.35), "[0, inf)", "η.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    threshold: float = hyper(1e-3, "(0, inf]", "θ, in the units of x; infinity: all entries.")
    choose_again_after: int | None = hyper(None, "int [0, inf)", "p. None: K stays.")
    low_rank: float = hyper(0.0, "[0, inf)", "λ_r.")
    smallest_side: int = hyper(
        65, "int [1, inf)", "Matrices with a shorter side have no low-rank constraint."
    )
    seed: int = hyper(0, "int [0, inf)", "Of the draws of a matrix.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, for K ones where the start is small."""
        xp = namespace(leaf)
        small = xp.ones_like(leaf) if slot == "chosen" else xp.zeros_like(leaf)
        return xp.where(xp.abs(leaf) < self.threshold, small, xp.zeros_like(leaf))

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def sara(x, g, m, v, chosen, beta1, k1, beta2, k2, step, root, eps, l2, keep):
            g = chosen * (g + l2 * x)
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            new = keep * x - step * m / divisor(xp.sqrt(v) * root + eps)
            return xp.where(chosen > 0.0, new, x), m, v, chosen

        return sara

    def scalars(self, t, carried):
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
        }

    def still_small(self, chosen: Array, x: Array) -> Array:
        """Return K without the entries that are not small now."""
        xp = namespace(x)
        return xp.where(xp.abs(x) < self.threshold, chosen, xp.zeros_like(x))

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Choose again where that is due, add the low-rank constraint's gradient to that of a matrix; then one step."""
        if s["t"] == self.choose_again_after:
            s = {**s, "chosen": map_leaves(self.still_small, s["chosen"], x)}
        large = [k for k, v in leaves(x).items() if v.ndim == 2 and min(v.shape) >= self.smallest_side]
        if self.low_rank and large:
            name = large[int(generator(self.seed, "method", s["t"] + 1).integers(len(large)))]
            trained = leaves(x)[name] * leaves(s["chosen"])[name]
            added = leaves(g)[name] + self.low_rank * polar_and_nuclear(trained)[0]
            g = rebuild(g, {**leaves(g), name: added})
        return super()._update(x, g, s, donate)


dialect(
    SaRA,
    "kozistr",
    "pytorch_optimizer 4.1 SaRA",
    "matrices with 100 chosen entries or fewer have no low-rank constraint",
)
