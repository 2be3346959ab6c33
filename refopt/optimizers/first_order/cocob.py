"""COCOB: a coin is bet on in every coordinate (Orabona and Tommasi 2017)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Elementwise
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.division import nonzero

ORABONA = Source("orabona-2017-training", "F. Orabona, T. Tommasi", "Training Deep Networks without Learning Rates Through Coin Betting",
    arxiv="1705.07795")  # fmt: skip


@register("cocob", source=ORABONA, where="Algorithm 2, COCOB-Backprop", state_copies=5)
class COCOB(Elementwise):
    """COCOB: each coordinate is a bet on the sign of its gradients, with the money won so far; there is no rate.

    Of each coordinate, with g the gradient at x: ``L ← max(L, |g|)``, ``G ← G + |g|``, ``R ← max(R - g (x - x_0), 0)``, ``θ ← θ - g``,
    ``x ← x_0 + θ / (L max(G + L, α L)) (L + R)``, from L = ε and θ = G = R = 0.

    Notes
    -----
    Zero over zero is zero. The first step has the length 1/α in every coordinate (with ε = 0). lr multiplies gradients: as a
    constant it changes nothing but the unit of ε. The state has w = x - x_0 and not x_0: a difference of points has lost digits.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("cocob", alpha=10.0)
    >>> x, s = o.update(np.array([1.0, 1.0]), np.array([3.0, -1e-3]), o.init(np.array([1.0, 1.0])))
    >>> print(x)
    [0.9 1.1]
    """

    slots = ("theta", "G", "R", "L", "w")
    lr: Rate = hyper(1.0, "[0, inf)", "Multiplies the gradient; leave it at 1. The paper has none.")
    alpha: float = hyper(100.0, "(0, inf)", "α.")
    eps: float = hyper(0.0, "[0, inf)", "ε, in the units of the gradient; the paper begins at L = 0.")
    weight_decay: float = hyper(
        0.0, "[0, inf)", "λ: g + λ x is taken in the gradient's place. The paper has none."
    )

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return ε for L, and zeros."""
        return namespace(leaf).full_like(leaf, self.eps if slot == "L" else 0.0)

    def rule(self, xp):
        divisor = nonzero(xp)

        def cocob(x, g, theta, G, R, L, w, lr, alpha, weight_decay):
            g = lr * (g + weight_decay * x)
            L = xp.maximum(L, xp.abs(g))
            G = G + xp.abs(g)
            R = xp.maximum(R - g * w, 0.0)
            theta = theta - g
            # In two divisions: L² of small gradients would be zero.
            new = theta / divisor(xp.maximum(G + L, alpha * L)) * ((L + R) / divisor(L))
            return x + (new - w), theta, G, R, L, new

        return cocob


dialect(
    COCOB,
    "official",
    "bremen79/parameterfree cocob.py, by the first author; optax 0.2.8 contrib.cocob alike",
    eps=1e-8,
)
