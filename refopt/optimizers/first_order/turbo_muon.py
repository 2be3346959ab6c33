"""Turbo-Muon: rows scaled before Newton-Schulz, which then needs a step less (Boissin et al. 2025)."""

from __future__ import annotations

from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import hyper
from refopt.core.registry import Source, dialect, register
from refopt.matrix.polar_schedules import SCHEDULES, Schedule, choose
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.orthogonal import orthogonalised
from refopt.optimizers.first_order.muon import JORDAN, Muon

BOISSIN = Source("boissin-2025-turbo", "T. Boissin, T. Massena, F. Mamalet, M. Serrurier",
    "Turbo-Muon: Accelerating Orthogonality-Based Optimization with Pre-Conditioning", arxiv="2512.04632")  # fmt: skip
PRACH = Source("prach-2022-almost", "B. Prach, C. H. Lampert",
    "Almost-Orthogonal Layers for Efficient General-Purpose Lipschitz Networks", arxiv="2208.03160")  # fmt: skip


def almost_orthogonal(M: Array, least: float = 0.0) -> Array:
    """Return `M` with each line along its shorter side over the root of the sum of its products with all of them.

    ``s_i = (Σ_j |M M^T|_ij)^{-1/2}``, ``diag(s) M`` for a matrix of no more rows than columns; else of the transposed. No
    singular value is above 1, since every row of ``diag(s) M M^T diag(s)`` is weakly dominated by s.

    Parameters
    ----------
    M : array of shape (m, n)
    least : float
        The sum counts as at least this.

    Returns
    -------
    array of shape (m, n)
    """
    xp = namespace(M)
    wide = M.shape[0] <= M.shape[1]
    A = M @ xp.matrix_transpose(M) if wide else xp.matrix_transpose(M) @ M
    s = 1.0 / xp.sqrt(nonzero(xp)(xp.clip(xp.sum(xp.abs(A), axis=1, keepdims=True), min=least)))
    return s * M if wide else M * xp.matrix_transpose(s)


@register("turbo-muon", source=BOISSIN, where="Muon with AOL preconditioning and one iteration less", also=(PRACH, JORDAN),
    state_copies=1)  # fmt: skip
class TurboMuon(Muon):
    """Turbo-Muon: Muon with rows scaled to be almost orthogonal, and one step of Newton-Schulz less.

    ``B_t = μ B_{t-1} + G_t``, ``C = G_t + μ B_t``, for no more rows than columns ``A = C C^T``, ``s_i = (Σ_j |A_ij|)^{-1/2}``,
    ``O_t = NewtonSchulz(diag(s) C)``, ``X_t = X_{t-1} - η κ O_t``; columns are scaled where there are more rows.

    Notes
    -----
    The scaling takes the place of the division by the norm, so that small singular values begin larger, and of the usual five
    quintics the first is left out. It changes the polar factor unless rows are orthogonal: O is no approximation of Muon's, and a
    rotation of the rows of G is not a rotation of O. The authors scale in bfloat16 too; here ``ns_dtype`` is of Newton-Schulz alone.

    A table that circulates as "aol", (4.0098, -7.0585, 2.4635) first, is -0.585 at 1: singular values near 1, which
    the scaling leaves where rows are nearly parallel, come out near -1, and steps lead uphill there.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("turbo-muon", lr=1.0, nesterov=False)
    >>> x, s = o.update(np.zeros((2, 2)), np.diag([3.0, -1e-3]), o.init(np.zeros((2, 2))))
    >>> print(np.diag(x).round(2))  # orthogonal rows begin at 1
    [-0.99  0.99]
    """

    ns_steps: int = hyper(4, "int [1, inf)")
    coefficients: Any = hyper(SCHEDULES["leloykun"].triples[1:],
        words="Default: ``leloykun`` without its first triple.", kind="str or sequence of triples")  # fmt: skip
    eps: float = hyper(1e-7, "[0, inf)", "The least ``Σ_j |A_ij|``, in the units of G².")
    words = {"eps_rule": "Not used."}

    def orthogonal(self, M: Array, eps: float, eps_rule: str) -> Array:
        """Return what the quintics make of the scaled matrix."""
        triples, _ = choose(self.coefficients, self.ns_steps)
        # A divisor of 0 ‖M‖ + 1: the scaling has taken the norm's place.
        undivided = Schedule(triples, 0.0)
        return orthogonalised(
            almost_orthogonal(M, eps), self.ns_dtype, steps=self.ns_steps, coefficients=undivided, eps=1.0
        )


dialect(TurboMuon, "flash-newton-schulz", "thib-s/flash-newton-schulz newton_schulz_triton.py",
    "in bfloat16; quintics found by a genetic search",
    coefficients=((4.6051, -9.6552, 5.6769), (4.7505, -6.0861, 2.1790), (2.7763, -2.3190, 0.5523), (2.4231, -2.2861, 0.8193)))  # fmt: skip
