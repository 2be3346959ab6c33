"""EShampoo: Shampoo with corrected eigenvalues, whose basis is renewed where it is off (Eschenhagen et al. 2025)."""

from __future__ import annotations

from refopt.core import arrays
from refopt.core.arrays import Array, eye_like, namespace
from refopt.core.errors import ArgumentError
from refopt.core.hyper import Rate, hyper
from refopt.core.registry import Source, dialect, register
from refopt.matrix.common import eigh
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.modes import mode_gram
from refopt.optimizers.second_order.distributed_shampoo import SHI_2023
from refopt.optimizers.second_order.shampoo import GUPTA, square_zeros
from refopt.optimizers.second_order.soap import rotate

ESCHENHAGEN = Source("eschenhagen-2025-purifying", "R. Eschenhagen, A. Defazio, T.-H. Lee, R. E. Turner, H.-J. M. Shi",
    "Purifying Shampoo: Investigating Shampoo's Heuristics by Decomposing its Preconditioner", arxiv="2506.03595")  # fmt: skip


def off_diagonal(B: Array) -> float:
    """Return ``‖B - diag(B)‖_F / ‖B‖_F``, 0 for zero."""
    size = arrays.norm(B)
    return arrays.norm(B * (1.0 - eye_like(B, B.shape[0]))) / size if size > 0.0 else 0.0


@register("eshampoo", source=ESCHENHAGEN, where="eigenvalue-corrected Shampoo, with the adaptive criterion for its bases",
    also=(SHI_2023, GUPTA), calm_problem=("matrix-sensing", {"n": 4, "rank": 4}))  # fmt: skip
class EShampoo(Decay):
    """EShampoo: Adam's second moment in the eigenbasis of Shampoo's Gram matrices, renewed before use.

    ``M ← β1 M + (1 - β1) G``, for every axis ``H ← β2 H + (1 - β2) mat(G) mat(G)^T``; at steps s, and behind it the multiples of f, Q becomes the
    eigenvectors of H, unless ``‖B - diag(B)‖_F ≤ τ ‖B‖_F`` with ``B = Q^T H Q``. Then ``D ← β2 D + (1 - β2) (Q_L^T G Q_R)²``,
    ``W ← W - η (Q_L ((Q_L^T M̂ Q_R) / (sqrt(D̂) + ε)) Q_R^T + λ W)``, with M̂ and D̂ corrected for their start at zero. Q is I before step s.

    Notes
    -----
    Where SOAP squares the gradient in the old basis and renews Q behind the step, here Q is new first; and M is kept
    unrotated. D is not turned, nor put into another order, when Q changes. A step that is `qr` makes at most `qr_steps` of the QR
    algorithm, ``B = Q' R``, ``B ← R Q'``, ``Q ← Q Q'``, as long as the criterion is not met. No grafting: the length is D's own.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("eshampoo", lr=0.1, update_every=1)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.array([[3.0, 1.0], [1.0, 3.0]]), o.init(x))
    >>> print(x.round(6) + 0.0)  # eigenvectors (1, 1) and (1, -1), both with a step of 0.1
    [[-0.1  0. ]
     [ 0.  -0.1]]
    """

    slots = ("m", "d", "grams", "bases")
    lr: Rate = hyper(1e-3, "[0, inf)", "η, in the units of W.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    update_every: int = hyper(10, "int [1, inf)", "f.")
    start: int | None = hyper(None, "int [1, inf)", "s, at least f. None: f.")
    tolerance: float = hyper(0.0, "[0, 1]", "τ: 0 renews every basis when it is due, 1 none.")
    method: str = hyper("eigh", ("eigh", "qr"), "How a basis is renewed.")
    qr_steps: int = hyper(1, "int [1, inf)", "See Notes.")
    max_size: int = hyper(10000, "int [0, inf)", "Longer axes are not rotated.")
    words = {"weight_decay": "λ, of the W before the step."}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None and self.start < self.update_every:
            raise ArgumentError(
                f"eshampoo: start: wanted at least update_every = {self.update_every}, got {self.start}"
            )

    def rule(self, xp):
        divisor = nonzero(xp)

        def eshampoo(x, g, m, d, grams, bases, t, beta1, k1, beta2, k2, step, root, eps, l2, keep):
            g = g + l2 * x
            axes = self.axes(x.shape)
            m = ema(m, g, beta1, k1)
            grams = tuple(ema(H, mode_gram(g, i), beta2, k2) for i, H in zip(axes, grams))
            if self.due(int(t)):
                bases = tuple(self.renewed(H, Q) for H, Q in zip(grams, bases))
            turned = rotate(g, bases, axes)
            d = ema(d, turned * turned, beta2, k2)
            u = rotate(m, bases, axes) / divisor(xp.sqrt(d) * root + eps)
            return keep * x - step * rotate(u, bases, axes, back=True), m, d, grams, bases

        return eshampoo

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the axes that are rotated."""
        return tuple(i for i, n in enumerate(shape) if n <= self.max_size)

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros, or for each rotated axis a matrix of zeros or the identity."""
        if slot in ("m", "d"):
            return super().init_slot(slot, leaf)
        sizes = [leaf.shape[i] for i in self.axes(tuple(leaf.shape))]
        return tuple(square_zeros(leaf, n) if slot == "grams" else eye_like(leaf, n) for n in sizes)

    def scalars(self, t, carried):
        return {
            "t": float(t),
            "k1": 1.0 - self.beta1,
            "k2": 1.0 - self.beta2,
            "step": self.rate(t) / correction(self.beta1, t),
            "root": correction(self.beta2, t) ** -0.5,
        }

    def due(self, t: int) -> bool:
        """Tell whether bases may change at step t."""
        first = self.update_every if self.start is None else self.start
        return t == first or (t > first and t % self.update_every == 0)

    def renewed(self, H: Array, Q: Array) -> Array:
        """Return a basis of `H`: the old one where it will do."""
        xp = namespace(H)
        B = xp.matrix_transpose(Q) @ H @ Q
        if self.method == "eigh":
            return Q if self.tolerance > 0.0 and off_diagonal(B) <= self.tolerance else eigh(H)[1]
        for _ in range(self.qr_steps):
            if off_diagonal(B) <= self.tolerance:
                break
            turn, R = xp.linalg.qr(B)
            B, Q = R @ turn, Q @ turn
        return xp.take(Q, xp.argsort(xp.sum(B * eye_like(B, B.shape[0]), axis=0)), axis=1)


dialect(EShampoo, "official", "facebookresearch/optimizers distributed_shampoo, EigenvalueCorrectedShampooPreconditionerConfig",
    "cuts leaves into blocks, and multiplies small neighbouring axes", eps=1e-12)  # fmt: skip
