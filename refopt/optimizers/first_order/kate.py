"""KATE: AdaGrad without the square root (Choudhury et al. 2024)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import ElementwiseDecay
from refopt.optimizers.common.division import nonzero

CHOUDHURY = Source("choudhury-2024-kate", "S. Choudhury, N. Tupitsa, N. Loizou, S. Horváth, M. Takáč, E. Gorbunov",
    "Remove that Square Root: A New Efficient Scale-Invariant Version of AdaGrad", arxiv="2403.02648")  # fmt: skip


# A first gradient near zero makes a first step that is large, in single precision another one.
@register("kate", source=CHOUDHURY, where="the algorithm KATE", state_copies=2,
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}))  # fmt: skip
class KATE(ElementwiseDecay):
    """KATE: gradients over the sum of their squares itself, times a root that grows beside it.

    ``b_t² = b_{t-1}² + g_t²``, ``m_t² = m_{t-1}² + η g_t² + g_t² / b_t²``, ``x_t = x_{t-1} - γ m_t / b_t² g_t``, from b_0 = m_0 = 0.

    Notes
    -----
    With η = 0 a step has the unit of 1 / g: a linear model's predictions are the same in every unit of its features. A first
    gradient that is small makes a first step γ / g that is large. A coordinate whose gradient has always been zero stays.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("kate", lr=1.0)
    >>> x, s = o.update(np.zeros(2), np.array([4.0, -0.5]), o.init(np.zeros(2)))
    >>> print(x)
    [-0.25  2.  ]
    """

    slots = ("m2", "b2")
    lr: Rate = hyper(1e-3, "[0, inf)", "γ; with η = 0 in the units of x times those of the gradient.")
    eta: float = hyper(0.0, "[0, inf)", "η.")
    eps: float = hyper(0.0, "[0, inf)", "Added to b² where it divides; the paper has none.")
    words = {"weight_decay": "The paper has none."}

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def kate(x, g, m2, b2, lr, eta, eps, l2, keep):
            g = g + l2 * x
            square = g * g
            b2 = b2 + square
            below = divisor(b2 + eps)
            m2 = m2 + eta * square + square / below
            return keep * x - lr * xp.sqrt(m2) / below * g, m2, b2

        return kate


dialect(KATE, "official", "nazya/KATE codes/optimizers.py", eps=1e-8, decay="coupled")
