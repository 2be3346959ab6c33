"""NorMuon: Muon with a second moment for each neuron (Li et al. 2025)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.lmo import as_matrix
from refopt.optimizers.first_order.muon import MuonKin, shape_factor

LI = Source("li-2025-normuon", "Z. Li, L. Liu, C. Liang, W. Chen, T. Zhao", "NorMuon: Making Muon more efficient and scalable",
    arxiv="2510.05491")  # fmt: skip


@register("normuon", source=LI, where="the algorithm", state_copies=2)
class NorMuon(MuonKin):
    """NorMuon: the rows of Muon's orthogonal step are divided by the root of their averaged mean squares.

    ``M_t = μ M_{t-1} + (1 - μ) G_t``, ``O_t = NewtonSchulz(M_t)``, for every row i
    ``v_t,i = β2 v_{t-1,i} + (1 - β2) mean_j O_t,ij²`` and ``Ô_t,ij = O_t,ij / (sqrt(v_t,i) + ε)``,
    ``X_t = X_{t-1} - η κ Ô_t``, for a hidden matrix of m rows and n columns with ``κ = 0.2 sqrt(mn) / (‖Ô_t‖_F + ε)``.

    Notes
    -----
    v needs no bias correction: κ takes out what is common to the rows. With β2 = 0 all rows move as far.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("normuon", lr=0.1, beta2=0.0)
    >>> x, s = o.update(np.zeros((2, 3)), np.array([[3.0, 0.0, 1.0], [0.0, 0.1, 0.0]]), o.init(np.zeros((2, 3))))
    >>> print(np.linalg.norm(x, axis=1).round(6))  # 0.1 · 0.2 · sqrt(3)
    [0.034641 0.034641]
    """

    slots = ("m", "v")
    beta2: float = hyper(0.95, "[0, 1)", "β2.")
    eps: float = hyper(1e-10, "[0, inf)", "ε.")
    scale: str = hyper("match-rms", ("match-rms", "keep-norm"),
        "κ: as above, for steps of a root mean square of 0.2; or ``sqrt(max(1, m/n)) ‖O_t‖_F / (‖Ô_t‖_F + ε)`` (the authors' code).")  # fmt: skip

    def rule(self, xp):
        divisor = nonzero(xp)

        def normuon(x, g, m, v, lr, l2, keep, beta2, k2, eps):
            m, matrix = self.averaged(g + l2 * x, m)
            o = self.factor(matrix)
            v = ema(v, xp.mean(o * o, axis=1, keepdims=True), beta2, k2)
            u = o / divisor(xp.sqrt(v) + eps)
            if self.scale == "match-rms":
                size = 0.2 * math.prod(o.shape) ** 0.5
            else:
                size = shape_factor("max", *o.shape) * lengths(o, keepdims=True)
            u = u * (size / divisor(lengths(u, keepdims=True) + eps))
            return keep * x - lr * xp.reshape(u, x.shape), m, v

        return normuon

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: like the leaf, and one number a row."""
        zeros = namespace(leaf).zeros_like(leaf)
        return zeros if slot == "m" else namespace(leaf).sum(as_matrix(zeros), axis=1, keepdims=True)

    def scalars(self, t, carried):
        return {"k2": 1.0 - self.beta2}


dialect(NorMuon, "official", "zichongli5/NorMuon normuon.py",
    "Newton-Schulz in bfloat16 (ns_dtype); of kernels it takes the means over the last axis alone and κ from the last two, which is not"
    " followed", nesterov=True, scale="keep-norm", group="matrices")  # fmt: skip
dialect(NorMuon, "kozistr", "pytorch_optimizer 4.1 NorMuon", "Newton-Schulz in bfloat16 (ns_dtype)",
    nesterov=True, scale="keep-norm", ns_eps_rule="clamp")  # fmt: skip
