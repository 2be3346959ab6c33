"""Nero: each neuron's weights on a sphere, and a rate relative to their size (Liu et al. 2021)."""

from __future__ import annotations

from refopt.core.arrays import Array, Namespace, lengths, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import LeafRule
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

LIU = Source("liu-2021-learning", "Y. Liu, J. Bernstein, M. Meister, Y. Yue", "Learning by Turning: Neural Architecture Aware Optimisation",
    arxiv="2102.07227")  # fmt: skip


def by_neuron(a: Array) -> Array:
    """Return the norms of the slices of the first axis, of as many axes as `a`; of a vector, the absolute entries."""
    xp = namespace(a)
    return lengths(a, tuple(range(1, a.ndim)), keepdims=True) if a.ndim > 1 else xp.abs(a)


def balanced(xp: Namespace, x: Array, eps: float) -> Array:
    """Return `x` with a mean of 0 and a norm of 1 in each slice of the first axis, where it has more than one axis."""
    if x.ndim < 2:
        return x
    x = x - xp.mean(x, axis=tuple(range(1, x.ndim)), keepdims=True)
    return x / nonzero(xp)(by_neuron(x) + eps)


@register("nero", source=LIU, where="Algorithm 1", state_copies=0)
class Nero(LeafRule):
    """Nero: a neuron's gradient over its averaged norm, and the neuron's weights kept at mean 0 and norm 1.

    For the slices i of the first axis of a matrix or kernel, or the entries of a vector,
    ``v_i ← β v_i + (1 - β) ‖g_i‖²``, ``x_i ← x_i - η σ g_i / sqrt(v_i / (1 - β^t))`` with σ the mean of ``‖x_i‖`` at the start (0.01 where it
    is 0). Then of a matrix or kernel ``x_i ← x_i - mean(x_i)``, ``x_i ← x_i / ‖x_i‖``, which is also done with the start.

    Notes
    -----
    The start is put on the constraints at the beginning of the first step. A slice of equal entries becomes zero.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("nero", lr=0.5)
    >>> x = np.array([[3.0, 1.0, -1.0]])
    >>> x, s = o.update(x, np.array([[0.0, 7.0, -7.0]]), o.init(x))
    >>> print(x.round(4), np.linalg.norm(x).round(12))
    [[ 0.8165 -0.4082 -0.4082]] 1.0
    """

    slots = ("v", "scale")
    lr: Rate = hyper(0.01, "[0, inf)", "η: about the angle by which a neuron turns in a step.")
    beta: float = hyper(0.999, "[0, 1)", "β.")
    constrained: bool = hyper(True, words="False: nothing is put on the constraints.")
    eps: float = hyper(0.0, "[0, inf)", "Beside both roots; the paper has none.")

    def rule(self, xp):
        divisor = nonzero(xp)

        def nero(x, g, v, scale, first, lr, beta, k, root, eps):
            x = balanced(xp, x, eps) if first and self.constrained else x
            size = by_neuron(g)
            v = ema(v, size * size, beta, k)
            x = x - lr * scale * g / divisor(xp.sqrt(v) * root + eps)
            return (balanced(xp, x, eps) if self.constrained else x), v, xp.asarray(scale, copy=True)

        return nero

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, one a neuron, and σ."""
        xp = namespace(leaf)
        if slot == "v":
            return xp.zeros_like(by_neuron(leaf))
        size = by_neuron(balanced(xp, leaf, self.eps) if self.constrained else leaf)
        mean = xp.mean(size, keepdims=True)
        return xp.where(mean > 0.0, mean, xp.full_like(mean, 0.01))

    def scalars(self, t, carried):
        return {"first": float(t == 1), "k": 1.0 - self.beta, "root": correction(self.beta, t) ** -0.5}


dialect(Nero, "official", "jxbz/nero optim/nero.py")
dialect(Nero, "kozistr", "pytorch_optimizer 4.1 Nero", eps=1e-8)
