"""Mano: momentum on the oblique manifold, by rows and by columns in turn (Gu and Xie 2026)."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import lengths
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.common.lmo import as_matrix
from refopt.optimizers.first_order.adamw import AdamW

GU = Source(
    "gu-2026-mano",
    "Y. Gu, Z. Xie",
    "Mano: Restriking Manifold Optimization for LLM Training",
    arxiv="2601.23000",
)


@register("mano", source=GU, where="the algorithm", state_copies=1)
class Mano(Grouped, Decay):
    """Mano: the momentum's part tangent to the weights' lines, each line at length one; columns and rows in turn.

    With lines k = columns in odd steps and rows in even ones, of n_k entries, ``M_t = μ M_{t-1} + G_t``,
    ``P = X_{t-1} / ‖X_{t-1}‖_k``, ``T = M_t - <M_t, P>_k P``, ``X_t = X_{t-1} - η (0.2 sqrt(n_k) T / ‖T‖_k + λ X_{t-1})``, with norms
    and products of every line. A norm is at least ε.

    Notes
    -----
    X is never put onto the manifold. Every step but for decay has a root mean square of 0.2 η.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("mano", lr=1.0, weight_decay=0.0)
    >>> x = np.diag([2.0, 1.0])
    >>> x, s = o.update(x, np.array([[5.0, 3.0], [-0.1, 9.0]]), o.init(x))
    >>> print(x.round(4))  # the diagonal is normal to the tangent space
    [[ 2.     -0.2828]
     [ 0.2828  1.    ]]
    """

    slots = ("m",)
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    momentum: float = hyper(0.95, "[0, 1)", "μ.")
    nesterov: bool = hyper(False, words="True: ``G_t + μ M_t`` in the place of M_t.")
    unit: bool = hyper(
        True, words="False: P is X_{t-1} itself, so that T is no tangent (the authors' second version)."
    )
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_rule: str = hyper("clamp", ("clamp", "add"), "``add``: ε is added to the norm of T.")
    weight_decay: float = hyper(0.1, "[0, inf)", "λ.")
    group: Any = hyper("matrices-and-kernels",
        words="The matrices; kernels are flattened behind the first axis.",
        kind="str, sequence of str, or callable")  # fmt: skip
    others: Any = hyper(AdamW(lr=1e-3, beta2=0.95, eps_corrected=False, weight_decay=0.1, decay="decoupled"),
        words="For the rest; default AdamW at the same rate, betas (0.9, 0.95), weight decay 0.1.", kind="Method")  # fmt: skip

    def rule(self, xp):
        divisor = nonzero(xp)

        def mano(x, g, m, axis, lr, l2, keep, momentum, direct, through, eps, added):
            k = int(axis)
            g = g + l2 * x
            m = momentum * m + g
            u, point = as_matrix(direct * g + through * m), as_matrix(x)
            least = 0.0 if self.eps_rule == "add" else eps
            if self.unit:
                point = point / divisor(xp.clip(lengths(point, k, keepdims=True), min=eps))
            u = u - xp.sum(u * point, axis=k, keepdims=True) * point
            u = u / divisor(xp.clip(lengths(u, k, keepdims=True), min=least) + added)
            return keep * x - lr * 0.2 * u.shape[k] ** 0.5 * xp.reshape(u, x.shape), m

        return mano

    def scalars(self, t, carried):
        return {
            "axis": float((t - 1) % 2),
            "direct": 1.0 if self.nesterov else 0.0,
            "through": self.momentum if self.nesterov else 1.0,
            "added": self.eps if self.eps_rule == "add" else 0.0,
        }


dialect(
    Mano,
    "official",
    "xie-lab-ml/Mano-Restriking-Manifold-Optimization-for-LLM-Training mano.py",
    "takes matrices alone",
    group="matrices",
)
dialect(
    Mano,
    "official-v2",
    "the same, mano_v2.py",
    "takes matrices alone",
    nesterov=True,
    unit=False,
    eps_rule="add",
    group="matrices",
)
