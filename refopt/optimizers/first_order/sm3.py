"""SM3 (Anil et al. 2019)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero

ANIL = Source("anil-2019-memory", "R. Anil, V. Gupta, T. Koren, Y. Singer", "Memory-Efficient Adaptive Optimization",
    arxiv="1901.11150")  # fmt: skip


@register("sm3", source=ANIL, where="Algorithm SM3-II, with the slices of a tensor as its cover")
class SM3(LeafRule):
    """SM3: AdaGrad whose sums of squares are bounded by one number for each slice of a tensor.

    ``ν_t(i) = min_r μ_{t-1}(r) + g_t(i)²`` over the slices r that i is in, ``x_t(i) = x_{t-1}(i) - η g_t(i) / sqrt(ν_t(i))``,
    ``μ_t(r) = max_i ν_t(i)`` over the slice. The slices of a matrix are its rows and columns, of a vector its entries.

    Notes
    -----
    The state's A has the numbers of all slices of a leaf one behind another, axis by axis. Zero over zero is zero.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("sm3", lr=1.0)
    >>> x, s = o.update(np.zeros((2, 2)), np.array([[3.0, 0.0], [0.0, 0.0]]), o.init(np.zeros((2, 2))))
    >>> print(s["A"])  # two rows, two columns
    [9. 0. 9. 0.]
    """

    slots = ("A", "m")
    lr: Rate = hyper(0.1, "[0, inf)", "η, in the units of x: the size of the first step.")
    beta1: float = hyper(0.0, "[0, 1)", "Weight of the past in an average of the steps; 0: none is kept.")
    beta2: float = hyper(1.0, "[0, 1]", "1: ν is a sum, as above. Less: ``ν = β2 min μ + (1 - β2) g²``.")
    holds: bool = hyper(False, words="True: no μ(r) ever falls, which matters with β2 < 1 alone.")
    eps: float = hyper(0.0, "[0, inf)", "Added to ν inside the root, in the units of g².")

    def active_slots(self) -> tuple[str, ...]:
        """Return the slots in use: without β1 no average of steps."""
        return self.slots if self.beta1 > 0.0 else self.slots[:1]

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, for A one for every slice."""
        xp = namespace(leaf)
        if slot == "m":
            return xp.zeros_like(leaf)
        zero = xp.reshape(xp.zeros_like(leaf), tuple(leaf.shape) or (1,))
        return xp.concat([xp.sum(zero, axis=_others(i, zero.ndim)) for i in range(zero.ndim)])

    def rule(self, xp):
        def bounds(g, A, beta2, k2):
            shape = tuple(g.shape) or (1,)
            least, start = None, 0
            for axis, side in enumerate(shape):
                part = A[start : start + side]
                part = xp.reshape(part, tuple(side if i == axis else 1 for i in range(len(shape))))
                least = part if least is None else xp.minimum(least, part)
                start += side
            nu = beta2 * least + k2 * xp.reshape(g * g, shape)
            new = xp.concat([xp.max(nu, axis=_others(i, len(shape))) for i in range(len(shape))])
            return xp.reshape(nu, tuple(g.shape)), xp.maximum(A, new) if self.holds else new

        def direction(g, A, beta2, k2, eps):
            nu, A = bounds(g, A, beta2, k2)
            return g / nonzero(xp)(xp.sqrt(nu + eps)), A

        def sm3(x, g, A, lr, beta2, k2, eps):
            u, A = direction(g, A, beta2, k2, eps)
            return x - lr * u, A

        def with_momentum(x, g, A, m, lr, beta1, k1, beta2, k2, eps):
            u, A = direction(g, A, beta2, k2, eps)
            m = ema(m, u, beta1, k1)
            return x - lr * m, A, m

        return with_momentum if self.beta1 > 0.0 else sm3

    def scalars(self, t, carried):
        return {"k1": 1.0 - self.beta1, "k2": 1.0 if self.beta2 == 1.0 else 1.0 - self.beta2}


def _others(axis: int, ndim: int) -> tuple[int, ...]:
    """Return all axes but one."""
    return tuple(i for i in range(ndim) if i != axis)


dialect(
    SM3,
    "official",
    "google-research/google-research sm3/sm3.py",
    "momentum has no default there",
    eps=1e-30,
    beta1=0.9,
)
dialect(SM3, "optax", "optax 0.2.8 sm3", eps=1e-8, beta1=0.9)
dialect(SM3, "kozistr", "pytorch_optimizer 4.1 SM3", "its beta > 0 is beta2, with holds=True", eps=1e-30)
