"""LAMB: Adam's direction, scaled layer by layer to the size of the layer (You et al. 2019)."""

from __future__ import annotations

from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.trust import leaf_norm, trust_ratio

YOU_LAMB = Source("you-2019-large", "Y. You, J. Li, S. Reddi, J. Hseu, S. Kumar, et al.",
    "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", arxiv="1904.00962")  # fmt: skip


@register("lamb", source=YOU_LAMB, where="Algorithm 2", state_copies=2)
class LAMB(LeafRule):
    """LAMB: Adam's direction with decay, its norm replaced by the layer's.

    ``r_t = m̂_t / (sqrt(v̂_t) + ε)`` with Adam's averages, and for every layer (leaf)
    ``x_{t+1} = x_t - η φ(‖x_t‖) / ‖r_t + λ x_t‖ (r_t + λ x_t)``, ``φ(z) = min(max(z, γ_l), γ_u)``.

    Notes
    -----
    Where ‖x‖ or the direction's norm is zero the ratio is 1, as every implementation has it.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("lamb", lr=0.1, weight_decay=0.0, eps=0.0)
    >>> x = np.array([3.0, 4.0])
    >>> x, s = o.update(x, np.array([700.0, 0.0]), o.init(x))
    >>> print(x)
    [2.5 4. ]
    """

    slots = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η, without a unit: the share of its size by which a layer moves.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-6, "[0, inf)", "ε.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")
    smallest_size: float = hyper(0.0, "[0, inf)")
    largest_size: float = hyper(float("inf"), "(0, inf]", "γ_l and γ_u.")
    bias_correction: str = hyper("moments", ("moments", "rate", "none"),
        "``moments`` as above; ``rate``: m and v in place of m̂ and v̂, and η / (1 - β1^t) in place of"
        " η; ``none``: m and v.")  # fmt: skip
    decay_in_ratio: bool = hyper(
        True, words="True as above; False: ``x ← (1 - η λ) x`` first, then the step with r alone."
    )
    eps_in_ratio: bool = hyper(False, words="Add ε to the ratio's denominator too.")
    always_adapt: bool = hyper(True, words="False: without decay the ratio is 1.")

    def rule(self, xp):
        adapts = self.always_adapt or self.weight_decay > 0.0

        def lamb(x, g, m, v, lr, step, c1, c2):
            m = ema(m, g, self.beta1, 1.0 - self.beta1)
            v = ema(v, g * g, self.beta2, 1.0 - self.beta2)
            below = xp.sqrt(v / c2) + self.eps
            r = (m / c1) / xp.where(below > 0.0, below, xp.ones_like(below))
            if self.decay_in_ratio:
                r = r + self.weight_decay * x
            else:
                x = (1.0 - lr * self.weight_decay) * x
            size = xp.clip(leaf_norm(x), min=self.smallest_size, max=self.largest_size)
            length = leaf_norm(r)
            extra = self.eps if self.eps_in_ratio else 0.0
            # eps beside the norm must not give a direction of length zero a ratio.
            ratio = trust_ratio(size, xp.where(length > 0.0, length + extra, length))
            return x - step * (ratio if adapts else 1.0) * r, m, v

        return lamb

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smallest_size > self.largest_size:
            raise ArgumentError(
                f"lamb: smallest_size: wanted at most largest_size = {self.largest_size!r}, got {self.smallest_size!r}"
            )

    def scalars(self, t, carried):
        c1, c2 = correction(self.beta1, t), correction(self.beta2, t)
        on, rate = self.bias_correction == "moments", self.rate(t)
        return {
            "lr": rate,
            "step": rate / c1 if self.bias_correction == "rate" else rate,
            "c1": c1 if on else 1.0,
            "c2": c2 if on else 1.0,
        }


dialect(LAMB, "official", "google-research/albert lamb_optimizer.py",
    "eps beside the uncorrected root; excluded names are to be split off by the caller",
    bias_correction="none")  # fmt: skip
dialect(LAMB, "optax", "optax 0.2.8 lamb", weight_decay=0.0)
dialect(LAMB, "keras", "Keras 3 Lamb", "decay first, outside the ratio", decay_in_ratio=False)
dialect(LAMB, "kozistr", "pytorch_optimizer 4.1 Lamb", weight_decay=0.0, bias_correction="rate",
    largest_size=10.0, decay_in_ratio=False, eps_in_ratio=True)  # fmt: skip
dialect(LAMB, "timm", "timm 1.0 Lamb with max_grad_norm=None", "as it comes, it clips the gradients of all leaves together to"
    " norm 1 first (the wrapper clip-norm, threshold=1.0)", always_adapt=False)  # fmt: skip
