"""TAM: momentum that damps gradients which turn away from it (Malviya et al. 2024)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.trust import leaf_norm

MALVIYA = Source("malviya-2024-torque", "P. Malviya, G. Mordido, A. Baratin, R. Babanezhad Harikandeh, G. K. Dziugaite, R. Pascanu, S. Chandar",
    "Torque-Aware Momentum", arxiv="2412.18790")  # fmt: skip


@register("tam", source=MALVIYA, where="the algorithm TAM", state_copies=1)
class TAM(Decay):
    """TAM: the heavy ball, into which a gradient goes by how far it agrees with the momentum.

    For every leaf ``S_t = <m_{t-1}, g_t> / (‖m_{t-1}‖ ‖g_t‖)``, ``s_t = γ s_{t-1} + (1 - γ) S_t``, ``d_t = (1 + s_t) / 2``,
    ``m_t = β m_{t-1} + (ε + d_t) g_t``, ``x_t = x_{t-1} - η m_t``, from m_0 = s_0 = 0; S is 0 where a norm is.

    Notes
    -----
    A gradient counts half at first, and whole where it keeps its direction. In pytorch_optimizer S is a product of columns, entry by
    entry (a fault, not a dialect).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("tam", lr=1.0, gamma=0.0, eps=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([2.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([-2.0]), s)
    >>> print(x)  # -1, then 0.9 of it, for the gradient that turns is not taken at all
    [-1.9]
    """

    slots = ("m", "s")
    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    momentum: float = hyper(0.9, "[0, 1)", "β.")
    gamma: float = hyper(0.9, "[0, 1)", "γ.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, without a unit.")
    words = {"weight_decay": "The paper has none."}

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, for s one number."""
        xp = namespace(leaf)
        return xp.zeros_like(xp.sum(leaf)) if slot == "s" else xp.zeros_like(leaf)

    def rule(self, xp):
        divisor = nonzero(xp)

        def tam(x, g, m, s, momentum, gamma, k, eps, lr, l2, keep):
            g = g + l2 * x
            # Of unit vectors, so that no product leaves the range of the dtype.
            cosine = xp.sum((m / divisor(leaf_norm(m))) * (g / divisor(leaf_norm(g))))
            s = ema(s, cosine, gamma, k)
            m = momentum * m + (eps + (1.0 + s) / 2.0) * g
            return keep * x - lr * m, m, s

        return tam

    def scalars(self, t, carried):
        return {"k": 1.0 - self.gamma}
