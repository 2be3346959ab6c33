"""Rose: gradients over the range of their slices, without a state (Kieren 2026)."""

from __future__ import annotations

import math

from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.trust import leaf_norm

KIEREN = Source("kieren-2026-rose", "M. E. Kieren", "Rose: Range-Of-Slice Equilibration optimizer", doi="10.5281/zenodo.19589764")  # fmt: skip


@register("rose", source=KIEREN, where="the algorithm Rose", state_copies=0)
class Rose(Decay):
    r"""Rose: every slice of a gradient is centred and divided by its range, drawn to the mean of all ranges.

    For a leaf of two axes or more, with slices at each index of the first axis: ``g ← g - mean(g)`` of its slice,
    ``r = |max(g)| - min(g)`` of its slice, ``T = mean(r) / (mean(r) + std(r))``, ``d = mean(r) + T (r - mean(r))``. A vector is one slice
    that is not centred, with d = r; of a single number d = \\|g\\|. Then ``x_t = max(0, 1 - η λ) x_{t-1} - η g / d``, with 1 in place of a d of zero.

    Notes
    -----
    Where all entries of a vector are negative, r is more than their range. -g has another d than g.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("rose", lr=1.0)
    >>> x, s = o.update(np.zeros(3), np.array([3.0, -1.0, 0.0]), o.init(np.zeros(3)))
    >>> print(x)
    [-0.75  0.25  0.  ]
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η, in the units of x.")
    centralize: bool = hyper(True, words="False: slices are not centred.")
    stabilize: bool = hyper(True, words="False: d = r.")
    words = {"weight_decay": "Never coupled in the author's code."}

    def keep(self, t: int) -> float:
        """Return the factor that is left of x beside the step, never below zero."""
        return max(0.0, super().keep(t))

    def rule(self, xp):
        divisor = nonzero(xp)

        def rose(x, g, lr, l2, keep):
            g = g + l2 * x
            if g.ndim == 0:
                return (keep * x - lr * xp.sign(g),)
            axes = tuple(range(1, g.ndim)) or (0,)
            if g.ndim > 1 and self.centralize:
                g = g - xp.mean(g, axis=axes, keepdims=True)
            d = xp.abs(xp.max(g, axis=axes, keepdims=True)) - xp.min(g, axis=axes, keepdims=True)
            if g.ndim > 1 and self.stabilize:
                mean = xp.mean(d)
                std = leaf_norm(d - mean) / math.prod(d.shape) ** 0.5
                d = mean + mean / divisor(mean + std) * (d - mean)
            return (keep * x - lr * g / divisor(d),)

        return rose


dialect(
    Rose,
    "official",
    "MatthewK78/Rose rose_opt.py",
    "of bfloat16 it rounds at random, which is not followed",
    weight_decay=1e-4,
)
dialect(Rose, "kozistr", "pytorch_optimizer 4.1 ROSE", weight_decay=1e-4, decay="coupled")
