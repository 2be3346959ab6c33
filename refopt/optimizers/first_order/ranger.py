"""Ranger: RAdam, gradient centralisation and lookahead in one (Wright 2019)."""

from __future__ import annotations

from typing import ClassVar

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.rectification import rectification

WRIGHT = Source("wright-2019-ranger", "L. Wright", "Ranger, a synergistic optimizer",
    url="https://github.com/lessw2020/Ranger-Deep-Learning-Optimizer")  # fmt: skip


@register("ranger", source=WRIGHT, where="ranger/ranger.py", state_copies=3)
class Ranger(Decay):
    """Ranger: RAdam on centred gradients, and every k-th step goes back a part of the way of the last k.

    In leaves of two axes or more g loses its mean at each index of the first axis. RAdam's step from x_{t-1} leads to x', with ε beside the
    uncorrected root, and while ρ_t is at most 5 with the plain step ``η m̂_t``. At every k-th step ``φ ← φ + α (x' - φ)``, ``x_t = φ``, else
    ``x_t = x'``; φ is x_0 at first.

    Notes
    -----
    Without centring it is `lookahead` around `radam`. pytorch_optimizer's default goes up the gradient while ρ is small (a fault, not a
    dialect); its degenerated_to_sgd=True does not.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("ranger", lr=1.0, period=1)
    >>> x, s = o.update(np.zeros((1, 2)), np.array([[3.0, 1.0]]), o.init(np.zeros((1, 2))))
    >>> print(x)  # half of a centred gradient
    [[-0.5  0.5]]
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "slow")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta1: float = hyper(0.95, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-5, "[0, inf)", "ε.")
    threshold: float = hyper(5.0, "[4, inf)", "ρ must be above it, or, with `at_threshold`, at least it.")
    at_threshold: bool = hyper(False, words="True: rectified at ρ = threshold too.")
    centralize: bool = hyper(True, words="False: gradients are not centred.")
    period: int = hyper(6, "int [1, inf)", "k.")
    alpha: float = hyper(0.5, "[0, 1]", "α; 1: no step goes back.")

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, for φ the start."""
        xp = namespace(leaf)
        return xp.asarray(leaf, copy=True) if slot == "slow" else xp.zeros_like(leaf)

    def rule(self, xp):
        divisor = nonzero(xp, self.eps)

        def ranger(x, g, m, v, slow, beta1, k1, beta2, k2, step, root, eps, adaptive, plain, back, l2, keep):
            g = g + l2 * x
            if g.ndim > 1 and self.centralize:
                g = g - xp.mean(g, axis=tuple(range(1, g.ndim)), keepdims=True)
            m, v = ema(m, g, beta1, k1), ema(v, g * g, beta2, k2)
            new = keep * x - step * m * (adaptive / divisor(xp.sqrt(v) * root + eps) + plain)
            if not back:
                return new, m, v, slow
            slow = slow + self.alpha * (new - slow)
            return slow, m, v, xp.asarray(slow, copy=True)

        return ranger

    def scalars(self, t, carried):
        adaptive, plain = rectification(self.beta2, t, least=self.threshold, strict=not self.at_threshold)
        root = correction(self.beta2, t) ** -0.5
        return {
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": root,
            "eps": self.eps * root,
            "adaptive": adaptive,
            "plain": plain,
            "back": float(t % self.period == 0),
        }


dialect(
    Ranger,
    "official",
    "lessw2020/Ranger-Deep-Learning-Optimizer ranger/ranger.py",
    "it centres with use_gc=False too",
)
dialect(Ranger, "kozistr", "pytorch_optimizer 4.1 Ranger, degenerated_to_sgd=True", at_threshold=True)
