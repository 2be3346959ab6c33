"""COSMOS: Adam in the leading eigenspace, Muon in the rest (Liu et al. 2025)."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, Namespace, lengths, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.orthogonal import orthogonalised
from refopt.optimizers.low_memory.subspace import Chosen

LIU_COSMOS = Source("liu-2025-cosmos", "L. Liu, Z. Xu, Z. Zhang, H. Kang, Z. Li, C. Liang, W. Chen, T. Zhao",
    "COSMOS: A Hybrid Adaptive Optimizer for Memory-Efficient Training of LLMs", arxiv="2502.17410")  # fmt: skip


@register("cosmos", source=LIU_COSMOS, where="Algorithm 1",
    calm_problem=("asymmetric-matrix-sensing", {"n1": 6, "n2": 5, "rank": 2}))  # fmt: skip
class COSMOS(Chosen):
    """COSMOS: SOAP in the gradients' leading right eigenspace, Muon in what is left.

    ``M ← β1 M + (1 - β1) G``, ``U ← qr(β2 U S + (1 - β2) Gᵀ G U)``,
    ``S ← β2 Zᵀ S Z + (1 - β2) Uᵀ Gᵀ G U`` with Z = U_oldᵀ U, ``V ← β2 V + (1 - β2) (G U)²``.
    With D the corrected M: ``A = (D U / sqrt((V + ε) / (1 - β2^t))) Uᵀ``, ``B = NS5(D - D U Uᵀ)``,
    ``X = A + γ sqrt(m n) B / ‖B‖``, ``W ← W - η sqrt(n) X / ‖X‖``. At first U has the leading r eigenvectors
    of ``Gᵀ G``.

    Notes
    -----
    With r = n nothing is left and B is zero; the authors' code then normalises the rounding of ``D - D U Uᵀ``.
    In that code nestrov=False leaves the momentum out, and leaves that are no matrices average with 0.1 in place of
    1 - β1; those are taken for faults. The code runs NS5 in bfloat16: `ns_dtype`.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("cosmos", lr=0.1, rank=1)
    >>> x = np.zeros((3, 4))
    >>> x, s = o.update(x, np.eye(3, 4), o.init(x))
    >>> print(np.linalg.norm(x).round(6))
    0.2
    """

    slots = ("m", "v", "basis", "gram")
    lr: Rate = hyper(1e-3, "[0, inf)", "η; with ratio, that of the leaves that have Adam.")
    ratio: float = hyper(1.0, "(0, inf)", "Multiplies η for matrices, but not in the decay.")
    rank: int = hyper(64, "int [1, inf)", "r; at most n is used.")
    gamma: float = hyper(0.2, "[0, inf)", "γ.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε.")
    eps_inside: bool = hyper(True,
        words="True: ``sqrt((V + ε) / (1 - β2^t))``; False: ``sqrt(V / (1 - β2^t)) + ε``.")  # fmt: skip
    nesterov: bool = hyper(False,
        words="D: False ``M / (1 - β1^t)``; True ``((1 - β1) G + β1 M) / (1 - β1 + β1 (1 - β1^t))``.")  # fmt: skip
    eps_in_norms: bool = hyper(False, words="Whether ε stands beside both norms that divide, too.")
    per_entry: bool = hyper(False,
        words="True: a step has the norm ``η sqrt(m n)``, one η an entry; False: ``η sqrt(n)``.")  # fmt: skip
    ns_dtype: str | None = hyper(None, words="The dtype of NS5, by its name in the array's library.")
    max_size: int = hyper(10000, "int [0, inf)", "Matrices with more rows have Adam.")

    def first_slots(self, leaf, projected):
        xp = namespace(leaf)
        zeros = xp.zeros_like(leaf)
        if not projected or leaf.shape[0] > self.max_size:
            return {"m": zeros, "v": xp.zeros_like(leaf), "basis": (), "gram": ()}
        v = xp.zeros_like(leaf[:, : min(self.rank, leaf.shape[1])])
        U = xp.matrix_transpose(zeros) @ v
        return {"m": zeros, "v": v, "basis": (U,), "gram": (xp.matrix_transpose(v) @ v,)}

    def scalars(self, t, carried):
        c1, left = correction(self.beta1, t), 1.0 - self.beta1
        return {
            "first": float(t == 1),
            "c1": c1,
            "both": left + self.beta1 * c1,
            "root": correction(self.beta2, t) ** -0.5,
        }

    def rule(self, xp):
        divisor = nonzero(xp)
        norm_eps = self.eps if self.eps_in_norms else 0.0

        def root_of(v: Array, root: float, eps: float) -> Array:
            return divisor(xp.sqrt(v + eps) * root if self.eps_inside else xp.sqrt(v) * root + eps)

        def normed(X: Array) -> Array:
            return X / divisor(lengths(xp.reshape(X, (-1,)), 0, keepdims=True) + norm_eps)

        def cosmos(x, g, m, v, basis, gram, first, c1, both, root, lr, eps, l2, keep):
            g = g + l2 * x
            m = ema(m, g, self.beta1, 1.0 - self.beta1)
            if not basis:
                v = ema(v, g * g, self.beta2, 1.0 - self.beta2)
                return keep * x - lr * (m / c1) / root_of(v, root, eps), m, v, basis, gram
            U, S = self.tracked(xp, g, basis[0], gram[0], bool(first))
            v = ema(v, (g @ U) ** 2, self.beta2, 1.0 - self.beta2)
            d = ((1.0 - self.beta1) * g + self.beta1 * m) / both if self.nesterov else m / c1
            inside, back = d @ U, xp.matrix_transpose(U)
            step = (inside / root_of(v, root, eps)) @ back
            rows, columns = x.shape
            if U.shape[1] < columns:
                rest = orthogonalised(d - inside @ back, self.ns_dtype)
                step = step + self.gamma * (rows * columns) ** 0.5 * normed(rest)
            length = (rows * columns if self.per_entry else columns) ** 0.5
            return keep * x - lr * self.ratio * length * normed(step), m, v, (U,), (S,)

        return cosmos

    def tracked(self, xp: Namespace, g: Array, U: Array, S: Array, first: bool) -> tuple[Any, Any]:
        """Return the eigenvectors after one power step with the new gradient, and the Gram matrix in them."""
        left = 1.0 - self.beta2
        if first:
            whole = xp.linalg.svd(xp.matrix_transpose(g) @ g)[0]
            new, kept = whole[:, : U.shape[1]], 0.0
        else:
            power = self.beta2 * (U @ S) + left * (xp.matrix_transpose(g) @ (g @ U))
            new = xp.linalg.qr(power, mode="reduced")[0]
            Z = xp.matrix_transpose(U) @ new
            kept = self.beta2 * (xp.matrix_transpose(Z) @ S @ Z)
        low = g @ new
        return new, kept + left * (xp.matrix_transpose(low) @ low)


dialect(COSMOS, "official", "lliu606/COSMOS COSMOS_optim.py", "runs NS5 in bfloat16, here in the input's dtype",
    ratio=0.1, nesterov=True, eps_inside=False, eps_in_norms=True, per_entry=True)  # fmt: skip
