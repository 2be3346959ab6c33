"""AdaMuon: Muon with Adam's second moment, on signs of the momentum (Si et al. 2025)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, lengths, namespace
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.lmo import as_matrix
from refopt.optimizers.first_order.muon import MuonKin

SI = Source(
    "si-2025-adamuon", "C. Si, D. Zhang, W. Shen", "AdaMuon: Adaptive Muon Optimizer", arxiv="2507.11005"
)


@register("adamuon", source=SI, where="the algorithm", state_copies=2)
class AdaMuon(MuonKin):
    """AdaMuon: the orthogonal factor of the momentum's signs over the root of its averaged squares, at Adam's size.

    ``M_t = μ M_{t-1} + (1 - μ) G_t``, ``O_t = NewtonSchulz(sign(M_t))``, ``V_t = μ V_{t-1} + (1 - μ) O_t²``,
    ``Ô_t = O_t / (sqrt(V_t) + ε)``, ``X_t = X_{t-1} - η (0.2 sqrt(mn) / (‖Ô_t‖_F + ε) Ô_t + λ X_{t-1})`` for a hidden matrix of m
    rows and n columns.

    Notes
    -----
    The paper's M is a sum, of which this is a multiple, and so has the same signs. Every step has a root mean square of 0.2 η.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("adamuon", lr=1.0, weight_decay=0.0)
    >>> x, s = o.update(np.zeros((2, 2)), np.array([[5.0, 0.1], [-3.0, 0.2]]), o.init(np.zeros((2, 2))))
    >>> print(x)  # the signs are orthogonal here
    [[-0.2 -0.2]
     [ 0.2 -0.2]]
    """

    slots = ("m", "v")
    sign: bool = hyper(True, words="False: M_t itself is orthogonalised (the paper's first version).")
    beta2: float | None = hyper(None, "[0, 1)", "The weight of V in its average; None: μ.")
    bias_correction: bool = hyper(False, words="V_t is divided by 1 - β2^t, which only ε sees.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    weight_decay: float = hyper(0.01, "[0, inf)", "λ.")

    def rule(self, xp):
        divisor = nonzero(xp)

        def adamuon(x, g, m, v, lr, l2, keep, beta2, k2, root, eps):
            m, matrix = self.averaged(g + l2 * x, m)
            o = self.factor(xp.sign(matrix) if self.sign else matrix)
            v = ema(v, o * o, beta2, k2)
            u = o / divisor(xp.sqrt(v) * root + eps)
            u = u * (0.2 * math.prod(x.shape) ** 0.5 / divisor(lengths(u, keepdims=True) + eps))
            return keep * x - lr * xp.reshape(u, x.shape), m, v

        return adamuon

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, of V as a matrix."""
        zeros = namespace(leaf).zeros_like(leaf)
        return zeros if slot == "m" else as_matrix(zeros)

    def scalars(self, t, carried):
        beta2 = self.momentum if self.beta2 is None else self.beta2
        return {
            "beta2": beta2,
            "k2": 1.0 - beta2,
            "root": correction(beta2, t) ** -0.5 if self.bias_correction else 1.0,
        }


dialect(AdaMuon, "official", "Chongjie-Si/AdaMuon gpt2/models/optimizers/adamuon.py",
    "Newton-Schulz in bfloat16 (ns_dtype); of kernels it takes the size from the largest and the smallest side, which is not followed",
    nesterov=True, group="matrices")  # fmt: skip
dialect(AdaMuon, "kozistr", "pytorch_optimizer 4.1 AdaMuon", "Newton-Schulz in bfloat16 (ns_dtype)",
    sign=False, momentum=0.9, beta2=0.95, bias_correction=True, eps=1e-10, weight_decay=0.0, ns_eps_rule="clamp")  # fmt: skip
