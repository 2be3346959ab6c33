"""AdEMAMix (Pagliardini, Ablin and Grangier 2024)."""

from __future__ import annotations

import math

from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.first_order.adam import AdamFamily

PAGLIARDINI = Source("pagliardini-2024-ademamix", "M. Pagliardini, P. Ablin, D. Grangier",
    "The AdEMAMix Optimizer: Better, Faster, Older", arxiv="2409.03137")  # fmt: skip


def half_life_warmup(start: float, end: float, part: float, shift: float = 0.0) -> float:
    """Return the weight whose half-life is `part` of the way from that of `start` to that of `end`.

    ``exp(1 / ((1 - part) / ln start + part / ln end))``, which is the paper's formula.

    Parameters
    ----------
    start, end : float, range [0, 1)
    part : float, range [0, inf)
        From 1 on, the answer is `end`.
    shift : float, range [0, inf)
        Added to both weights inside the logarithms (the authors' code).

    Returns
    -------
    float

    Examples
    --------
    >>> round(half_life_warmup(0.9, 0.9999, 0.5), 6)
    0.9998
    """
    if part >= 1.0:
        return end

    def life(beta: float) -> float:
        return 1.0 / math.log(beta + shift) if beta + shift > 0.0 else 0.0

    total = (1.0 - part) * life(start) + part * life(end)
    return math.exp(1.0 / total) if total else 0.0


@register("ademamix", source=PAGLIARDINI, where="Algorithm 1", state_copies=3)
class AdEMAMix(AdamFamily):
    """AdEMAMix: Adam with a second, much slower average of the gradients beside the first.

    ``m1 ← β1 m1 + (1 - β1) g``, ``m2 ← β3(t) m2 + (1 - β3(t)) g``, ``ν ← β2 ν + (1 - β2) g²``,
    ``x_t = x_{t-1} - η ((m1 / (1 - β1^t) + α(t) m2) / (sqrt(ν / (1 - β2^t)) + ε) + λ x_{t-1})``, from
    zero. ``α(t) = min(t / T, 1) α``; β3(t) goes from β1 to β3 in T steps, linearly in the half-life.

    Notes
    -----
    m2 has no bias correction. A coordinate whose gradient has always been zero stays but for decay.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("ademamix", lr=1.0, alpha=4.0, beta3=0.75)
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))
    [-2.]
    """

    slots = ("m1", "m2", "v")
    beta3: float = hyper(0.9999, "[0, 1)")
    alpha: float = hyper(5.0, "[0, inf)", "α; the paper uses values from about 2 to 10.")
    alpha_steps: int | None = hyper(None, "int [1, inf)",
        "T of either warm-up, usually the length of the run; None: α and β3 are constant.")  # fmt: skip
    beta3_steps: int | None = hyper(None, "int [1, inf)",
        "T of either warm-up, usually the length of the run; None: α and β3 are constant.")  # fmt: skip
    count_from: int = hyper(1, (1, 0), "What the warm-ups count the first step as.")
    half_life_shift: float = hyper(0.0, "[0, inf)", "See `half_life_warmup`.")

    def rule(self, xp):
        divisor = nonzero(xp)

        def ademamix(x, g, m1, m2, v, beta1, k1, beta2, k2, step, root, eps, beta3, k3, slow, l2, keep):
            g = g + l2 * x
            m1, m2, v = ema(m1, g, beta1, k1), ema(m2, g, beta3, k3), ema(v, g * g, beta2, k2)
            denominator = divisor(xp.sqrt(v) * root + eps)
            return keep * x - (step * m1 + slow * m2) / denominator, m1, m2, v

        return ademamix

    def warm(self, t: int) -> tuple[float, float]:
        """Return α(t) and β3(t)."""
        count = t - 1 + self.count_from
        alpha, beta3 = self.alpha, self.beta3
        if self.alpha_steps is not None:
            alpha = min(count / self.alpha_steps, 1.0) * alpha
        if self.beta3_steps is not None:
            beta3 = half_life_warmup(self.beta1, beta3, count / self.beta3_steps, self.half_life_shift)
        return alpha, beta3

    def scalars(self, t, carried):
        alpha, beta3 = self.warm(t)
        return {**self.moment_scalars(t), "beta3": beta3, "k3": 1.0 - beta3, "slow": self.rate(t) * alpha}


dialect(AdEMAMix, "official", "apple/ml-ademamix pytorch/ademamix.py", alpha=2.0, half_life_shift=1e-8)
dialect(AdEMAMix, "optax", "optax 0.2.8 contrib.ademamix, apple/ml-ademamix optax/ademamix.py",
    "the warm-ups see a count from 0", count_from=0)  # fmt: skip
dialect(AdEMAMix, "kozistr", "pytorch_optimizer 4.1.0 AdEMAMix", decay="coupled")
