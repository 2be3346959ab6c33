"""SGD-SaI: rates fixed by the first gradient's signal-to-noise ratio (Xu et al. 2024)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import State
from refopt.core.params import Params, leaves, rebuild
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import Decay

XU = Source("xu-2024-no", "M. Xu, L. Xiang, X. Cai, H. Wen",
    "No More Adam: Learning Rate Scaling at Initialization is All You Need", arxiv="2412.11768")  # fmt: skip


def signal_to_noise(g: Array, eps: float) -> Array:
    """Return ``||g||_2 / (std(g) + eps)`` of one block, a 0-d array; std is unbiased, 0 for one element."""
    xp = namespace(g)
    n = math.prod(g.shape)
    centred = g - xp.mean(g)
    spread = lengths(centred) / math.sqrt(n - 1) if n > 1 else 0.0 * xp.sum(g)
    size = lengths(g)
    # Zero over zero, without eps: a block that has no signal.
    return size / (spread + eps) if float(size) > 0.0 else size


@register("sgd-sai", source=XU, where="Algorithm 1", state_copies=1)
class SGDSaI(Decay):
    """SGD-SaI: momentum SGD whose rate in each block is set once, by the block's first gradient.

    At t = 1 ``G_i = ||g_i||_2 / (std(g_i) + ε)`` and ``G̃_i = G_i / max_k G_k``, kept for the whole run.
    ``m_1 = g_1``, ``m_t = μ m_{t-1} + (1 - μ) g_t``, ``x ← (1 - η λ) x - η G̃_i m_t``. A block is a leaf.

    Notes
    -----
    A block of one element has no deviation: its ratio is abs(g)/ε, and normalised it turns all other
    rates to almost nothing. A block whose first gradient is zero never moves.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sgd-sai", lr=0.1, weight_decay=0.0)
    >>> x = np.zeros(2)
    >>> x, s = o.update(x, np.array([1.0, -1.0]), o.init(x))
    >>> print(x)
    [-0.1  0.1]
    """

    slots = ("m", "gain")
    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    momentum: float = hyper(0.9, "[0, 1)", "μ.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, beside the standard deviation.")
    normalize: bool = hyper(True,
        words="Divide by the largest ratio (the paper); the authors' package does not, which makes rates"
        " larger by that ratio, about the square root of the largest block's size.")  # fmt: skip
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")

    def rule(self, xp):
        def sai(x, g, m, gain, old, new, lr, l2, keep):
            m = old * m + new * (g + l2 * x)
            return keep * x - lr * gain * m, m, gain

        return sai

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros like the leaf, and one number for its gain."""
        zeros = namespace(leaf).zeros_like(leaf)
        return zeros if slot == "m" else namespace(leaf).sum(zeros)

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Set the gains from the first gradient; then make one step."""
        if s["t"] == 0:
            s = {**s, "gain": rebuild(x, self.gains(g))}
        return super()._update(x, g, s, donate)

    def gains(self, grad: Params) -> dict[str, Array]:
        """Return each block's gain."""
        ratios = {k: signal_to_noise(g, self.eps) for k, g in leaves(grad).items()}
        if not self.normalize:
            return ratios
        largest = max(float(r) for r in ratios.values())
        return {k: r / largest if largest > 0.0 else r for k, r in ratios.items()}

    def scalars(self, t, carried):
        return {"old": 0.0 if t == 1 else self.momentum, "new": 1.0 if t == 1 else 1.0 - self.momentum}


dialect(SGDSaI, "official", "AnonymousAlethiometer/SGD_SaI 1.0.3", "not divided by the largest ratio",
    normalize=False)  # fmt: skip
