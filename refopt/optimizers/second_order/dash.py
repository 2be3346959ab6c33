"""DASH: Shampoo by blocks with inverse roots by Newton and Denman-Beavers (Modoranu et al. 2026)."""

from __future__ import annotations

import math

from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.second_order.distributed_shampoo import SHI_2023, DistributedShampoo
from refopt.optimizers.second_order.shampoo import GUPTA

MODORANU = Source("modoranu-2026-dash", "I.-V. Modoranu et al.", "DASH: Faster Shampoo via Batched Block Preconditioning and Efficient Inverse-Root Solvers",
    arxiv="2602.02016")  # fmt: skip


def newton_db(A: Array, scale: float, steps: int) -> tuple[Array, Array]:
    """Return approximations of ``A^{1/2}`` and ``A^{-1/2}`` by the coupled Newton iteration.

    ``Y_0 = A / s``, ``Z_0 = I``, ``E = (3 I - Z Y) / 2``, ``Y ← Y E``, ``Z ← E Z``; then ``sqrt(s) Y`` and ``Z / sqrt(s)``.

    Parameters
    ----------
    A : array of shape (n, n)
        Symmetric, positive definite.
    scale : float
        s; no eigenvalue of A may be above 3 s.
    steps : int

    Returns
    -------
    root, inverse : arrays of shape (n, n)
    """
    eye = eye_like(A)
    Y, Z = A / scale, eye
    for _ in range(steps):
        E = 1.5 * eye - 0.5 * (Z @ Y)
        Y, Z = Y @ E, E @ Z
    return math.sqrt(scale) * Y, Z / math.sqrt(scale)


@register(
    "dash",
    source=MODORANU,
    where="DASH with Newton-DB, layer by layer",
    also=(SHI_2023, GUPTA),
    calm_problem=("quadratic", {"n": 1}),
)
class DASH(DistributedShampoo):
    """DASH: distributed Shampoo of averages, grafted to Adam, whose roots take a fixed number of matrix products.

    A leaf is a matrix (first axis, rest), cut into blocks of at most `max_size`. For a block ``L ← β2 L + (1 - β2) G G^T``, R likewise,
    ``M ← β1 M + (1 - β1) G``; at step s and the multiples of f ``L' = (L + δ I)^{-1/4}``, R' likewise, of a vector's one factor ``(L + δ I)^{-1/2}``.
    ``P = L' M R'``, with Adam's direction A of the same block ``W ← (1 - η λ) W - η P ‖A‖_F / (‖P‖_F + 1e-16)``.

    Notes
    -----
    With ``root_method="eigh"`` and δ near zero it is `distributed-shampoo` with exponential averages and grafting to Adam; factors are not
    bias-corrected, which the grafting undoes. The iteration is `newton_db`: the fourth root is the inverse root of the root, whose s is the root of the
    first. s is twice the largest eigenvalue, exactly here, where the code estimates it by ten steps of power iteration from
    sixteen random vectors in bfloat16; or the Frobenius norm. Small eigenvalues have not converged after ten steps, which damps them.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("dash", lr=0.1)
    >>> x, s = o.update(np.zeros((2, 2)), np.diag([3.0, 4.0]), o.init(np.zeros((2, 2))))
    >>> print(np.diag(x).round(4), round(float(np.linalg.norm(x)), 4))  # signs of entries of one size, as long as Adam's
    [-0.1 -0.1] 0.1414
    """

    lr: Rate = hyper(1e-3, "[0, inf)", "η.")
    beta2: float = hyper(0.95, "(0, 1]", "β2.")
    eps: float = hyper(1e-10, "(0, inf)", "δ, in the units of the gradient squared.")
    update_every: int = hyper(10, "int [1, inf)", "f.")
    start: int | None = hyper(1, "int [1, inf)", "s: before it W moves along A. None: f.")
    grafting: str = hyper("adam", ("none", "sgd", "adagrad", "adam"), "A.")
    grafting_beta: float = hyper(0.95, "[0, 1)", "The weight of the past in Adam's squares.")
    grafting_eps: float = hyper(1e-8, "(0, inf)", "Adam's ε.")
    nesterov: bool = hyper(True, words="``W ← W - η (P + μ B)``, with momentum alone.")
    root_method: str = hyper("newton", ("newton", "eigh"), "How inverse roots are computed.")
    root_steps: int = hyper(10, "int [1, inf)", "Of Newton's iteration.")
    scaling: str = hyper("spectral", ("spectral", "frobenius"), "s.")

    def __post_init__(self) -> None:
        # The first roots may be earlier than the first renewal.
        super(DistributedShampoo, self).__post_init__()
        if self.exponent is not None and self.root_method == "newton":
            raise ArgumentError(
                f"exponent: root_method 'newton' knows 1/2 and 1/4 alone, got {self.exponent}"
            )

    def scalars(self, t, carried):
        return {**super().scalars(t, carried), "c2": 1.0, "extra": 0.0, "apart": self.keep(t)}

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in which a leaf is cut into blocks."""
        sides = [n for n in shape if n != 1]
        return (sides[0], math.prod(sides[1:])) if len(sides) > 1 else (math.prod(shape),)

    def root(self, H: Array, axes: int) -> Array:
        """Return the inverse root of a factor of a block of `axes` axes."""
        if self.root_method == "eigh":
            return super().root(H, axes)
        xp = namespace(H)
        A = H + max(self.eps, float(xp.finfo(H.dtype).smallest_normal)) * eye_like(H)
        order = 2 if self.scaling == "spectral" else "fro"
        scale = float(xp.linalg.matrix_norm(A, ord=order)) * (2.0 if self.scaling == "spectral" else 1.0)
        root, inverse = newton_db(A, scale, self.root_steps)
        return inverse if axes == 1 else newton_db(root, math.sqrt(scale), self.root_steps)[1]


dialect(
    DASH,
    "kozistr",
    "pytorch_optimizer 4.1 DASH",
    "s by random vectors in bfloat16; with eigh it adds δ twice",
)
