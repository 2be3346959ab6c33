"""Gradients of examples drawn by the size of their gradients (Lu et al. 2023)."""

from __future__ import annotations

import numpy as np

from refopt.core import params
from refopt.core.arrays import like, to_numpy
from refopt.core.hyper import hyper
from refopt.core.oracle import Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, register
from refopt.estimators.base import Estimator
from refopt.optimizers.private.dp_sgd import example_norms, weighted_sum

LU = Source("lu-2023-pada", "S. Lu, Y. Hu, L. Yang, Z. Sun, J. Mei, J. Tan, C. Song",
    "PA&DA: Jointly Sampling PAth and DAta for Consistent NAS", arxiv="2302.14772")  # fmt: skip


@register("importance-sampling", source=LU, where="sampling by normalised gradient norms, of data", needs=("example_grads",),
    calm_problem=("logistic", {"l2": 0.1, "n_examples": 80}))  # fmt: skip
class ImportanceSampling(Estimator):
    """Importance sampling: examples drawn by the norms of their gradients, and weighted so that nothing is biased.

    ``p_i = τ ‖g_i‖/Σ ‖g_j‖ + (1 - τ)/n`` over the n examples that the base asks about; m are drawn with replacement, and
    ``ĝ = (1/m) Σ g_i/(n p_i)``. With τ = 1, ``E‖ĝ - ḡ‖² = ((mean ‖g_i‖)² - ‖ḡ‖²)/m``, which no other p makes smaller.

    Notes
    -----
    The norms are those of this very point, so that all gradients are computed: this is what the method aims at, and what cheaper
    proxies are held against. The authors take the last layer's error of the epoch before, let τ grow from 0 to 1, and do
    not weight (`weighted=False`): their mean is ``Σ p_i g_i``.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "importance-sampling", samples=16, lr=0.3, steps=60)
    >>> bool(p.value(r.x) < 0.3)
    True
    """

    samples: int = hyper(8, "int [1, inf)", "m.")
    share: float = hyper(1.0, "[0, 1]", "τ.")
    weighted: bool = hyper(True, words="Divide by n p_i.")

    def law(self, each: Params) -> np.ndarray:
        """Return the p_i of gradients on a first axis; equal ones where all are zero."""
        sizes = to_numpy(example_norms(each)).astype(np.float64)
        n, top = sizes.size, float(np.max(sizes))
        # In units of the largest, whose sum does not overflow.
        p = sizes / top / np.sum(sizes / top) if top > 0.0 else np.full(n, 1.0 / n)
        p = self.share * p + (1.0 - self.share) / n
        return p / np.sum(p)

    def estimate(self, oracle: Oracle, x: Params) -> Params:
        """Return ĝ."""
        each = oracle.example_grads(x)
        p = self.law(each)
        n = p.size
        times = np.bincount(oracle.rng.choice(n, self.samples, p=p), minlength=n)
        weights = times / self.samples
        if self.weighted:
            weights = np.divide(weights, n * p, out=np.zeros(n), where=times > 0)
        return weighted_sum(each, like(weights, next(iter(params.leaves(each).values()))))
