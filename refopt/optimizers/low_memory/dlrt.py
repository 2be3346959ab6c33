"""DLRT: gradient descent on matrices of low rank, factor by factor (Schotthöfer et al. 2022)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core.arrays import Array, eye_like, namespace, to_numpy
from refopt.core.errors import DtypeError
from refopt.core.groups import choose
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, leaves, rebuild
from refopt.core.registry import Source, register

SCHOTTHOEFER = Source("schotthofer-2022-low", "S. Schotthöfer, E. Zangrando, J. Kusch, G. Ceruti, F. Tudisco",
    "Low-rank lottery tickets: finding efficient low-rank neural networks via matrix differential equations",
    arxiv="2205.13571")  # fmt: skip
# U, S and V of W = U S V^T, with orthonormal columns of U and V.
Factors = tuple[Array, Array, Array]


def matrix(factors: Factors) -> Array:
    """Return ``U S Vᵀ``."""
    U, S, V = factors
    return U @ S @ namespace(U).matrix_transpose(V)


@register("dlrt", source=SCHOTTHOEFER, where="Algorithm 1, with gradient steps as its one-step integrator")
class DLRT(Method):
    """DLRT: dynamical low-rank training, a matrix kept as ``U S Vᵀ`` and its rank found on the way.

    With ``G = ∇f(W)``: ``K = U S - η G V``, ``L = V Sᵀ - η Gᵀ U``; U_1 and V_1 are orthonormal bases of ``[K, U]`` and
    ``[L, V]`` (of K and L where the rank is fixed), ``S̃ = U_1ᵀ U S Vᵀ V_1``. With the gradient G' at
    ``U_1 S̃ V_1ᵀ``: ``S_1 = S̃ - η U_1ᵀ G' V_1``, and other leaves make their step with G' too. Of ``S_1 = P Σ Qᵀ``
    the fewest singular values stay with the norm of the others at most ``τ ‖Σ‖``.

    Notes
    -----
    The state starts with the leading rank of the start, and the first gradient is taken there. All matrices
    move at once; the authors' PyTorch code goes layer by layer, and with a fixed rank takes G' at ``U_1 S V_1ᵀ``. Where it
    truncates it takes the first columns of Qᵀ, which is what `torch.linalg.svd` returns, for those of Q: faults, both.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("matrix-sensing", n=6, rank=2)
    >>> r = refopt.minimize(p, "dlrt", lr=0.1, rank=2, steps=100)
    >>> bool(r.history["value"][-1] < 1e-4)
    True
    """

    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    rank: int = hyper(
        8, "int [1, inf)", "At first, and throughout where it is fixed; at most the shorter side."
    )
    adaptive: bool = hyper(True, words="False: the rank is fixed.")
    tolerance: float = hyper(0.1, "[0, 1)", "τ.")
    max_rank: int | None = hyper(
        None, "int [1, inf)", "What the adaptive rank stays below or at; None: the sides."
    )
    group: Any = hyper("matrices", words="The matrices that are kept in factors; see `choose`.",
        kind="str, sequence of str, or callable")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the factors of its best approximation of that rank."""
        x = check_start(x, "x")
        return {"t": 0, "factors": {k: self._factored(leaves(x)[k]) for k in choose(x, self.group)}}

    def _factored(self, W: Array) -> Factors:
        xp, r = namespace(W), min(self.rank, *W.shape)
        U, sigma, Vt = xp.linalg.svd(W, full_matrices=False)
        return U[:, :r], eye_like(U, r) * sigma[:r], xp.matrix_transpose(Vt)[:, :r]

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Make one step: two gradients, one for the bases, one inside them."""
        t, old = s["t"] + 1, s["factors"]
        eta = self.rate(t)
        named = leaves(x)
        if any(factors[0].dtype != named[k].dtype for k, factors in old.items()):
            raise DtypeError("s: is no state of x, which is of another dtype than its factors")
        g = leaves(oracle.grad(rebuild(x, {k: matrix(old[k]) if k in old else v for k, v in named.items()})))
        wide = {k: self._augmented(factors, g[k], eta) for k, factors in old.items()}
        g = leaves(
            oracle.grad(rebuild(x, {k: matrix(wide[k]) if k in wide else v for k, v in named.items()}))
        )
        new = {k: self._inside(factors, g[k], eta) for k, factors in wide.items()}
        moved = {k: matrix(new[k]) if k in new else v - eta * g[k] for k, v in named.items()}
        return rebuild(x, moved), {"t": t, "factors": new}

    def _augmented(self, factors: Factors, g: Array, eta: float) -> Factors:
        """Return W in the bases of the K- and the L-step."""
        U, S, V = factors
        xp = namespace(U)
        K = U @ S - eta * (g @ V)
        L = V @ xp.matrix_transpose(S) - eta * (xp.matrix_transpose(g) @ U)
        if self.adaptive:
            K, L = xp.concat([K, U], axis=1), xp.concat([L, V], axis=1)
        U1, V1 = (xp.linalg.qr(A, mode="reduced")[0] for A in (K, L))
        return U1, (xp.matrix_transpose(U1) @ U) @ S @ (xp.matrix_transpose(V) @ V1), V1

    def _inside(self, factors: Factors, g: Array, eta: float) -> Factors:
        """Return W after the step of S, of the rank that the tolerance leaves."""
        U, S, V = factors
        xp = namespace(U)
        S = S - eta * (xp.matrix_transpose(U) @ g @ V)
        if not self.adaptive:
            return U, S, V
        P, sigma, Qt = xp.linalg.svd(S)
        r = self.kept(to_numpy(sigma))
        return U @ P[:, :r], eye_like(P, r) * sigma[:r], V @ xp.matrix_transpose(Qt)[:, :r]

    def kept(self, sigma: np.ndarray) -> int:
        """Return how many singular values stay, at least one."""
        top = float(sigma[0])
        scaled = sigma / top if top > 0.0 else sigma
        # tails[r] is the norm of all from the r-th on.
        tails = np.sqrt(np.cumsum(scaled[::-1] ** 2)[::-1])
        r = 1 + int(np.count_nonzero(tails[1:] > self.tolerance * tails[0]))
        return r if self.max_rank is None else min(r, self.max_rank)
