"""Mirror descent with separable potentials (Pogodin et al. 2023)."""

from __future__ import annotations

from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register

POGODIN = Source("pogodin-2023-synaptic",
    "R. Pogodin, J. Cornford, A. Ghosh, G. Gidel, G. Lajoie, B. Richards",
    "Synaptic Weight Distributions Depend on the Geometry of Plasticity", arxiv="2305.19394")  # fmt: skip


@register("mirror-descent", source=POGODIN, where="mirror descent with p-norm and entropic potentials",
    state_copies=1)  # fmt: skip
class MirrorDescent(Elementwise):
    """Mirror descent: the step is made in the coordinates that the gradient of a potential gives.

    ``∇φ(x_t) = ∇φ(x_{t-1}) - η d_t`` with d_t the gradient, or its momentum. φ is ``sum |x| log |x|``
    (negative entropy), so that ``x_t = x_{t-1} exp(-η sign(x_{t-1}) d_t)``; or ``sum |x|^p / p``, with
    ``∇φ(x) = sign(x) |x|^{p-1}``.

    Notes
    -----
    With the entropy no sign ever changes and a zero stays. With p = 2 it is SGD; with p > 2 the way back has an
    infinite slope at zero. φ is a sum of powers, not half a squared norm. Momentum is of gradients, torch's way,
    with the first one whole.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("mirror-descent", lr=np.log(2.0))
    >>> x = np.array([1.0, -1.0, 0.0])
    >>> x, s = o.update(x, np.array([1.0, 1.0, 1.0]), o.init(x))
    >>> print(x)
    [ 0.5 -2.   0. ]
    """

    slots = ("v",)
    lr: Rate = hyper(0.01, "[0, inf)", "η, in the units of ∇φ over the gradient's.")
    potential: str = hyper("negative-entropy", ("negative-entropy", "p-norm"), "φ.")
    p: float = hyper(3.0, "(1, inf)", "Of the p-norm.")
    momentum: float = hyper(0.0, "[0, 1)", "``v_t = momentum v_{t-1} + g_t``, d_t = v_t.")
    dampening: float = hyper(0.0, "[0, 1]", "The share of a gradient, after the first, that v leaves out.")
    nesterov: bool = hyper(False, words="True: d_t = g_t + momentum v_t.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ of g + λ x, which takes the gradient's place.")

    def rule(self, xp):
        def entropic(x, g, v, lr, momentum, gain, own, carried, weight_decay):
            g = g + weight_decay * x
            v = momentum * v + gain * g
            return x * xp.exp(-lr * xp.sign(x) * (own * g + carried * v)), v

        def powers(x, g, v, lr, momentum, gain, own, carried, weight_decay, there, back):
            g = g + weight_decay * x
            v = momentum * v + gain * g
            d = own * g + carried * v
            y = xp.sign(x) * xp.abs(x) ** there - lr * d
            # Without a step the way there and back would be one of rounding.
            return xp.where(d == 0.0, x, xp.sign(y) * xp.abs(y) ** back), v

        return entropic if self.potential == "negative-entropy" else powers

    def scalars(self, t, carried):
        whole = t == 1 or self.momentum == 0.0
        numbers = {
            "gain": 1.0 if whole else 1.0 - self.dampening,
            "own": 1.0 if self.nesterov else 0.0,
            "carried": self.momentum if self.nesterov else 1.0,
        }
        if self.potential == "p-norm":
            numbers |= {"there": self.p - 1.0, "back": 1.0 / (self.p - 1.0)}
        return numbers


dialect(MirrorDescent, "official", "romanpogodin/synaptic-weight-distr md_utils.py",
    "potential=None there is SGD; momentum 0.9 in the experiments")  # fmt: skip
