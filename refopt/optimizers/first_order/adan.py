"""Adan (Xie et al. 2022)."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise, State
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

XIE = Source("xie-2022-adan", "X. Xie, P. Zhou, H. Li, Z. Lin, S. Yan",
    "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models", arxiv="2208.06677")  # fmt: skip


@register("adan", source=XIE, where="Algorithm 1", state_copies=4)
class Adan(Elementwise):
    """Adan: averages of the gradient, of its change, and of the square of both together.

    ``d_t = g_t - g_{t-1}``, ``m_t = b1 m_{t-1} + (1 - b1) g_t``, ``v_t = b2 v_{t-1} + (1 - b2) d_t``,
    ``n_t = b3 n_{t-1} + (1 - b3) (g_t + b2 d_t)²``,
    ``x_t = (x_{t-1} - η (m_t + b2 v_t) / sqrt(n_t + ε)) / (1 + λ η)``, from d_1 = v_1 = 0, m_1 = g_1,
    n_1 = g_1². The paper's β_i is 1 - b_i.

    Notes
    -----
    optax 0.2.8 puts 1 - b2 in place of b2 in n and in the step: a fault, not a dialect. Clipping is not
    part of the algorithm; the gradient that is kept for the next difference is the clipped one. A
    coordinate whose gradient has always been zero stays but for its decay.

    ε inside the root is from two transcriptions of the paper's algorithm (one in brainpy's reference),
    not from the paper itself.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adan", lr=1.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([50.0]), o.init(np.array([0.0])))
    >>> print(x)
    [-1.]
    """

    slots = ("m", "v", "n", "previous")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.98, "[0, 1)", "b1, b2, b3, in the code's convention.")
    beta2: float = hyper(0.92, "[0, 1)", "b1, b2, b3, in the code's convention.")
    beta3: float = hyper(0.99, "[0, 1)", "b1, b2, b3, in the code's convention.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_inside: bool = hyper(True, words="True as above; False: ``sqrt(n) + ε`` (the authors' code).")
    eps_root: float = hyper(
        0.0, "[0, inf)", "Added to the corrected n inside the root (optax); the paper has none."
    )
    bias_correction: bool = hyper(False,
        words="False as above. True: all averages start at zero and are divided by 1 - b_i^t (the code).")  # fmt: skip
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")
    decay: str = hyper("proximal", ("proximal", "decoupled"),
        "Divide by 1 + λ η after the step as above, or multiply x by 1 - λ η before it.")  # fmt: skip
    restart_every: int | None = hyper(None, "int [1, inf)",
        "Steps after which all averages begin anew; the paper leaves the condition open.")  # fmt: skip
    max_grad_norm: float | None = hyper(None, "(0, inf)",
        "M: all gradients are multiplied by ``min(1, M / (‖g‖ + ε))`` first, with the norm over all"
        " leaves (the authors' code). None: not.")  # fmt: skip

    def rule(self, xp):
        divisor = nonzero(xp)

        def adan(
            x,
            g,
            m,
            v,
            n,
            previous,
            b1,
            k1,
            b2,
            k2,
            b3,
            k3,
            moving,
            weight,
            step_m,
            step_v,
            root,
            inside,
            outside,
            before,
            after,
        ):
            d = moving * (g - previous)
            ahead = g + weight * d
            m, v, n = ema(m, g, b1, k1), ema(v, d, b2, k2), ema(n, ahead * ahead, b3, k3)
            denominator = divisor(xp.sqrt(n + inside) * root + outside)
            return after * (before * x - (step_m * m + step_v * v) / denominator), m, v, n, g

        return adan

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Clip the gradients' norm, if so wished, and make one step."""
        if self.max_grad_norm is not None:
            size = params.norm(g) + self.eps
            g = params.scale(min(1.0, self.max_grad_norm / size) if size > 0.0 else 1.0, g)
        return super()._update(x, g, s, donate)

    def scalars(self, t, carried):
        age = t if self.restart_every is None else (t - 1) % self.restart_every + 1
        begins = age == 1
        b1, b2, b3 = self.beta1, self.beta2, self.beta3
        # m_1 = g_1 and n_1 = g_1²: the first weights of the past are zero.
        memory = 0.0 if begins and not self.bias_correction else 1.0
        # With correction the averages start from zero again at a restart.
        past = 0.0 if begins else 1.0
        c = [correction(b, age) if self.bias_correction else 1.0 for b in (b1, b2, b3)]
        eta = self.rate(t)
        before, after = 1.0, 1.0
        if self.decay == "proximal":
            after = 1.0 / (1.0 + eta * self.weight_decay)
        else:
            before = 1.0 - eta * self.weight_decay
        return {
            "b1": b1 * past,
            "k1": 1.0 - b1 * memory,
            "b2": b2 * past,
            "k2": 1.0 - b2,
            "b3": b3 * past,
            "k3": 1.0 - b3 * memory,
            "moving": past,
            "weight": b2,
            "step_m": eta / c[0],
            "step_v": eta * b2 / c[1],
            "root": 1.0 / math.sqrt(c[2]),
            # Beside the corrected n, as in Adam.
            "inside": (self.eps if self.eps_inside else 0.0) + self.eps_root * c[2],
            "outside": 0.0 if self.eps_inside else self.eps,
            "before": before,
            "after": after,
        }


dialect(Adan, "official", "sail-sg/Adan adan.py",
    "no_prox=True is decay='decoupled'; timm and pytorch_optimizer 4.1.0 (prox: its default) alike",
    bias_correction=True, eps_inside=False)  # fmt: skip
dialect(Adan, "no-prox", "sail-sg/Adan adan.py, no_prox=True",
    "optax 0.2.8 adan has this form, but 1 - b2 where the gradient's change is weighed: see docs/museum.md",
    bias_correction=True, eps_inside=False, decay="decoupled")  # fmt: skip
