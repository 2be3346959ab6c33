"""GGT: full-matrix adaptive regularisation over a window of gradients (Agarwal et al. 2018)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import hyper
from refopt.core.registry import Source, register
from refopt.matrix.common import eigh
from refopt.optimizers.second_order.mfac import Windowed, slid

AGARWAL = Source("agarwal-2018-efficient", "N. Agarwal, B. Bullins, X. Chen, E. Hazan, K. Singh, C. Zhang, Y. Zhang",
    "Efficient Full-Matrix Adaptive Regularization", arxiv="1806.02958")  # fmt: skip


@register("ggt", kind="wrapper", source=AGARWAL, where="Algorithm 1")
class GGT(Windowed):
    """GGT: full-matrix AdaGrad over the last r gradients, older ones weighted less.

    With ``G = [g_t, β2 g_{t-1}, …, β2^{r-1} g_{t-r+1}]`` and ``v_t = β1 v_{t-1} + (1 - β1) g_t``:
    ``W ← W - η ((G Gᵀ)^{1/2} + ε I)⁻¹ v``.

    Notes
    -----
    What v has of gradients in the window is ``G a`` with known a, and there the step is
    ``G ((Gᵀ G)^{1/2} + ε I)⁻¹ a``; only what v keeps of older ones is projected and divided by ε, which makes large
    steps of it: for small ε let β1^r be negligible. The code of Modoranu et al. adds 1e-6 to ``Gᵀ G`` and takes G
    there with, here without the weights; that is not reproduced.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("ggt", lr=0.1, momentum=0.0, eps=0.0)
    >>> x, s = o.update(np.zeros(2), np.array([3.0, 4.0]), o.init(np.zeros(2)))
    >>> print(x)
    [-0.06 -0.08]
    """

    slots = ("window", "dots", "v", "old")
    window: int = hyper(200, "int [1, inf)", "r.")
    momentum: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "(0, 1]", "β2.")
    eps: float = hyper(1e-4, "[0, inf)", "ε, in the units of the gradient; 0: the pseudoinverse.")

    def init(self, x):
        s = super().init(x)
        return {**s, "old": namespace(s["v"]).zeros_like(s["v"])}

    def average(self, v, u):
        return u

    def direction(self, g, s, donate):
        xp, b1, b2 = namespace(g), self.momentum, self.beta2
        rows, dots, old = b2 * s["window"], b2 * b2 * s["dots"], b1 * s["old"]
        if rows.shape[0] == self.window:
            # The oldest row leaves the window with its weight in v; that row has β2^r in it.
            old = old + (1.0 - b1) * (b1 / b2) ** self.window * rows[0, :]
        rows, dots = slid(g, rows, dots, self.window)
        n = rows.shape[0]
        a = (1.0 - b1) * (b1 / b2) ** xp.astype(xp.arange(n - 1, -1, -1, device=g.device), g.dtype)
        squares, V = eigh(dots)
        back = xp.matrix_transpose(V)
        sigma = xp.sqrt(xp.where(squares > 0.0, squares, 0.0))
        # Below this a singular value of the window is rounding.
        floor = (10.0 * n * float(xp.finfo(g.dtype).eps)) ** 0.5 * float(sigma[-1])
        u = (V @ ((back @ a) * self._over(sigma + self.eps, floor))) @ rows
        if self.momentum and bool(xp.any(old != 0.0)):
            u = u + self._outside(rows, V, sigma, floor, old)
        return u, {"window": rows, "dots": dots, "old": old}

    def _over(self, sigma: Array, floor: float) -> Array:
        """Return the reciprocal, and zero for what is rounding where no ε stands beside it."""
        xp = namespace(sigma)
        used = sigma > (0.0 if self.eps else floor)
        return xp.where(used, 1.0 / xp.where(used, sigma, 1.0), 0.0)

    def _outside(self, rows: Array, V: Array, sigma: Array, floor: float, w: Array) -> Array:
        """Return ``((G Gᵀ)^{1/2} + ε I)⁻¹ w`` for any w."""
        xp = namespace(w)
        used = sigma > floor
        inverse = xp.where(used, 1.0 / xp.where(used, sigma, 1.0), 0.0)
        inside = inverse * (xp.matrix_transpose(V) @ (rows @ w))
        basis = xp.matrix_transpose(xp.matrix_transpose(rows) @ (V * inverse))
        part = (inside * self._over(sigma + self.eps, floor)) @ basis
        return part + (w - inside @ basis) / self.eps if self.eps else part
