"""AdamC: AdamW whose decay follows the square of the rate (Defazio 2025)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

DEFAZIO = Source("defazio-2025-gradients", "A. Defazio", "Why Gradients Rapidly Increase Near the End of Training",
    arxiv="2506.02285")  # fmt: skip


@register("adamc", source=DEFAZIO, where="the algorithm AdamC, of layers that are normalised", state_copies=2)
class AdamC(Elementwise):
    """AdamC: AdamW for weights that a normalisation follows, whose length is not to fall with the rate.

    With Adam's m̂_t and v̂_t, and η_t the rate of the step, ``x_t = (1 - λ η_t² / η_max) x_{t-1} - η_t m̂_t / (sqrt(v̂_t) + ε)``.

    Notes
    -----
    Random steps of size η against a decay of ηλ hold weights that have no scale at a length of sqrt(η), so that at the end of a schedule
    they shrink and their gradients grow; against η²λ the length stays. At a constant rate η_max it is AdamW. Leaves that nothing normalises are for `adamw`.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamc", lr=0.5, weight_decay=1.0, schedule=lambda t: 1.0 / t)
    >>> x, s = o.update(np.array([8.0]), np.array([0.0]), o.init(np.array([8.0])))
    >>> x, s = o.update(x, np.array([0.0]), s)
    >>> print(x)  # 8 (1 - 1/2) (1 - 1/8)
    [3.5]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    peak: float | None = hyper(None, "(0, inf)", "η_max, the largest rate of the run. None: lr.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_corrected: bool = hyper(True, words="False: ε stands beside ``sqrt(v)``.")
    eps_root: float = hyper(0.0, "[0, inf)", "Added inside the uncorrected root (pytorch_optimizer).")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if callable(self.lr) and self.peak is None and self.weight_decay:
            raise ArgumentError(
                "peak: wanted the largest rate of the run, since lr is a function of the step; got None"
            )

    def _largest(self) -> float:
        return float(self.lr if self.peak is None else self.peak)  # type: ignore[arg-type]

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def adamc(x, g, m, v, beta1, k1, beta2, k2, step, root, eps, inside, keep):
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            return keep * x - step * m / divisor(xp.sqrt(v + inside) * root + eps), m, v

        return adamc

    def scalars(self, t, carried):
        rate, root = self.rate(t), correction(self.beta2, t) ** -0.5
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": rate / correction(self.beta1, t),
            "root": root,
            "eps": self.eps if self.eps_corrected else self.eps * root,
            "inside": self.eps_root,
            "keep": 1.0 - self.weight_decay * rate * (rate / self._largest())
            if self.weight_decay and rate
            else 1.0,
        }


dialect(
    AdamC,
    "kozistr",
    "pytorch_optimizer 4.1 AdamC, of groups that are normalized",
    eps_corrected=False,
    eps_root=1e-15,
)
