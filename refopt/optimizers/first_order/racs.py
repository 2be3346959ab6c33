"""RACS: the gradient between two diagonal scalings, of its rows and of its columns (Gong et al. 2025)."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, Namespace, lengths, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.factored import row_and_column
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.common.lmo import as_matrix, divided
from refopt.optimizers.first_order.adam import Adam

GONG = Source("gong-2025-towards", "W. Gong, M. Scetbon, C. Ma, E. Meeds",
    "Towards Efficient Optimizer Design for LLM via Structured Fisher Approximation with a Low-Rank Extension",
    arxiv="2502.07752")  # fmt: skip


def two_sided(xp: Namespace, G: Array, steps: int) -> tuple[Array, Array]:
    """Return q (a column) and s (a row) with ``q s`` near G², by `steps` steps of power iteration from q = 1 (equation 16)."""
    largest = xp.max(xp.abs(G))
    # Of the order of one, so that squares of squares neither vanish nor overflow; q has no unit, and s that of G².
    part = divided(G, largest)
    P, q, s = part * part, xp.ones_like(G[:, :1]), G[:1, :]
    for _ in range(steps):
        s = divided(xp.matrix_transpose(q) @ P, xp.sum(q * q))
        q = divided(P @ xp.matrix_transpose(s), xp.sum(s * s))
    return q, s * largest * largest


@register("racs", source=GONG, where="Algorithm 1", state_copies=0)
class RACS(Grouped, Decay):
    """RACS: row and column scaled SGD, whose steps grow by no more than a factor.

    q of the rows and s of the columns approach ``G_t² ≈ q sᵀ``: from q = 1, k times ``s = (G_t²)ᵀ q / ‖q‖²``,
    ``q = G_t² s / ‖s‖²``. Then ``s_t = β s_{t-1} + (1 - β) s``, ``q_t = β q_{t-1} + (1 - β) q``,
    ``G̃_t = Diag(q_t)^{-1/2} G_t Diag(s_t)^{-1/2}``, ``η_t = γ / max(‖G̃_t‖ / φ_{t-1}, γ)`` with η_1 = 1, ``φ_t = η_t ‖G̃_t‖``,
    ``X_t = X_{t-1} - λ α η_t G̃_t``.

    Notes
    -----
    The paper gives the rest of the leaves, and often the last layer, to Adam. Where all gradients of a leaf have been zero φ is
    zero, and the next step is as the first.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("racs", lr=1.0, alpha=0.1)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.array([[3.0, 6.0], [-1.0, 2.0]]), o.init(x))
    >>> print(x)  # squares of rank one: all entries as large, by both averages' 1 - β
    [[-1. -1.]
     [ 1. -1.]]
    """

    slots = ("q", "s", "phi")
    lr: Rate = hyper(0.02, "[0, inf)", "λ.")
    beta: float = hyper(0.9, "[0, 1)", "β.")
    alpha: float = hyper(0.05, "(0, inf)", "α.")
    gamma: float = hyper(1.01, "(0, inf]", "γ: the most by which ‖G̃‖ grows in a step.")
    iterations: int = hyper(5, "int [1, inf)", "k.")
    scales: str = hyper(
        "fixed-point",
        ("fixed-point", "means"),
        "As above; or q and s are means of squares (pytorch_optimizer).",
    )
    start: float = hyper(0.0, "[0, inf)", "s_0.")
    eps: float = hyper(0.0, "[0, inf)", "Added to q_t, s_t and φ where they divide; the paper has none.")
    group: Any = hyper("matrices-and-kernels",
        words="The matrices; kernels are flattened behind the first axis, vectors are a column.",
        kind="str, sequence of str, or callable")  # fmt: skip
    others: Any = hyper(Adam(), words="For the rest; default Adam with lr 1e-3.", kind="Method")

    def rule(self, xp):
        divisor = nonzero(xp)

        def racs(x, g, q, s, phi, lr, l2, keep, beta, k, alpha, gamma, eps):
            G = as_matrix(g + l2 * x)
            if self.scales == "means":
                new_q, new_s = row_and_column(G * G, (0, 1))
            else:
                new_q, new_s = two_sided(xp, G, self.iterations)
            q, s = ema(q, new_q, beta, k), ema(s, new_s, beta, k)
            G = divided(divided(G, xp.sqrt(q + eps)), xp.sqrt(s + eps))
            size, least = lengths(G, keepdims=True), phi + eps
            growth = size / divisor(least)
            # gamma / max(growth, gamma), but for an infinite gamma.
            eta = xp.where((growth > gamma) & (least > 0.0), gamma / divisor(growth), 1.0)
            return keep * x - lr * alpha * xp.reshape(eta * G, x.shape), q, s, eta * size

        return racs

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, or s_0: a number a row, a number a column, one number, which is -1 before the first step."""
        xp = namespace(leaf)
        zeros = as_matrix(xp.zeros_like(leaf))
        if slot == "phi":
            return xp.sum(zeros, keepdims=True) - 1.0
        axis = 1 if slot == "q" else 0
        return xp.sum(zeros, axis=axis, keepdims=True) + (self.start if slot == "s" else 0.0)

    def scalars(self, t, carried):
        return {"k": 1.0 - self.beta}


dialect(
    RACS, "kozistr", "pytorch_optimizer 4.1 RACS", scales="means", start=1.0, eps=1e-8, lr=1e-3, group="all"
)
