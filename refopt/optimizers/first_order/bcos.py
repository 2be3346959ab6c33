"""BCOS: steps by blocks of optimal size, from a conditional second moment (Jiang and Xiao 2025)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

JIANG = Source("jiang-2025-stochastic", "T. Jiang, L. Xiao",
    "Stochastic Approximation with Block Coordinate Optimal Stepsizes", arxiv="2507.08963")  # fmt: skip


@register(
    "bcos", source=JIANG, where="the algorithms BCOS-g, BCOS-m and BCOS-c, in BCOSW's form", state_copies=1
)
class BCOS(ElementwiseDecay):
    """BCOS: momentum over the root of its second moment, given the momentum before it.

    ``v_t = (3β² - 2β³) m_{t-1}² + (1 - β)² g_t² + 2β (1 - β)² m_{t-1} g_t``, ``m_t = β m_{t-1} + (1 - β) g_t``,
    ``x_t = (1 - α λ) x_{t-1} - α m_t / (sqrt(v_t) + ε)``, from m_0 = g_1.

    Notes
    -----
    The three weights sum to 1: where gradients do not change v is their square, as in the first step. No second average is kept.
    Estimates from averages are the modes ``gradient``, which is RMSprop, and ``momentum``. A coordinate without gradient stays.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("bcos", lr=1.0, beta=0.5, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([2.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([0.0]), s)
    >>> print(x.round(6))  # -1, then m = 1 over the root of 4 / 2
    [-1.707107]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    lr: Rate = hyper(1e-3, "[0, inf)", "α, in the units of x.")
    beta: float = hyper(0.9, "[0, 1)", "β.")
    beta2: float | None = hyper(None, "[0, 1]",
        "Weight of the past in v. None: β in the averages, ``1 - (1 - β)²`` in ``simple``.")  # fmt: skip
    eps: float = hyper(1e-6, "[0, inf)", "ε, in the units of the gradient.")
    mode: str = hyper("conditional", ("conditional", "simple", "momentum", "gradient"),
        "conditional: v as above. simple: ``β2 m_{t-1}² + (1 - β2) g_t²``. momentum: an average of m², from g_1²."
        " gradient: one of g², and g is divided in the place of m.")  # fmt: skip

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: m, its average, or an average without m."""
        return {"momentum": self.slots, "gradient": self.slots[1:]}.get(self.mode, self.slots[:1])

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def conditional(x, g, m, first, beta, k, of_m, of_g, of_both, lr, eps, l2, keep):
            g = g + l2 * x
            m = m + first * g
            v = of_m * (m * m) + of_g * (g * g) + of_both * (m * g)
            m = ema(m, g, beta, k)
            return keep * x - lr * m / divisor(xp.sqrt(v) + eps), m

        def momentum(x, g, m, v, first, beta, k, beta2, k2, lr, eps, l2, keep):
            g = g + l2 * x
            m = ema(m + first * g, g, beta, k)
            v = ema(v + first * (g * g), m * m, beta2, k2)
            return keep * x - lr * m / divisor(xp.sqrt(v) + eps), m, v

        def gradient(x, g, v, first, beta2, k2, lr, eps, l2, keep):
            g = g + l2 * x
            v = ema(v + first * (g * g), g * g, beta2, k2)
            return keep * x - lr * g / divisor(xp.sqrt(v) + eps), v

        return {"momentum": momentum, "gradient": gradient}.get(self.mode, conditional)

    def scalars(self, t, carried):
        b, k = self.beta, 1.0 - self.beta
        # Averages are zero before the first step, which takes its own gradient for the last.
        out = {"first": 1.0 if t == 1 else 0.0}
        if self.mode == "conditional":
            return {**out, "k": k, "of_m": (3.0 - 2.0 * b) * b * b, "of_g": k * k, "of_both": 2.0 * b * k * k}
        if self.mode == "simple":
            k2 = k * k if self.beta2 is None else 1.0 - self.beta2
            return {**out, "k": k, "of_m": 1.0 - k2, "of_g": k2, "of_both": 0.0}
        beta2 = b if self.beta2 is None else self.beta2
        out |= {"beta2": beta2, "k2": 1.0 - beta2}
        return out if self.mode == "gradient" else {**out, "k": k}


dialect(BCOS, "official", "facebookresearch/bcos bcos.py", weight_decay=0.1)
dialect(BCOS, "simple", "facebookresearch/bcos bcos.py, simple_cond=True", mode="simple", weight_decay=0.1)
