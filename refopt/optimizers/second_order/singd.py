"""Inverse-free natural gradients, dense (Lin et al. 2023) and structured (SINGD, Lin et al. 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.arrays import Array, eye_like, like, namespace
from refopt.core.hyper import Rate, check_rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, map_leaves, zeros_like
from refopt.core.registry import Source, dialect, register
from refopt.curvature.kronecker import as_matrix, check_cover, factors, from_matrix

SIMPLIFYING = Source("lin-2023-simplifying",
    "W. Lin, V. Duruisseaux, M. Leok, F. Nielsen, M. E. Khan, M. Schmidt",
    "Simplifying Momentum-based Positive-definite Submanifold Optimization with Applications to Deep Learning",
    arxiv="2302.09738")  # fmt: skip
STRUCTURED = Source("lin-2023-structured",
    "W. Lin, F. Dangel, R. Eschenhagen, K. Neklyudov, A. Kristiadi, R. E. Turner, A. Makhzani",
    "Structured Inverse-Free Natural Gradient: Memory-Efficient & Numerically-Stable KFAC",
    arxiv="2312.05705")  # fmt: skip
STRUCTURES = ("dense", "diagonal", "blocks", "hierarchical", "lower-toeplitz", "upper-toeplitz")


def kept_part(n: int, structure: str, sizes: tuple[int, int]) -> np.ndarray:
    """Return what each entry of a symmetric matrix is multiplied by: 0 where it is dropped, 2 where it stands for two."""
    if structure == "dense":
        return np.ones((n, n))
    if structure == "diagonal":
        return np.eye(n)
    if structure == "blocks":
        at = np.arange(n) // sizes[0]
        return (at[:, None] == at[None, :]).astype(float)
    first = min(sizes[0], n)
    last = max(n - sizes[1], first)
    out = np.zeros((n, n))
    out[:first, :first] = 1.0
    out[:first, first:] = 2.0
    out[range(first, last), range(first, last)] = 1.0
    out[last:, first:last] = 2.0
    out[last:, last:] = 1.0
    return out


def projected(S: Array, structure: str, sizes: tuple[int, int]) -> Array:
    """Return Π(S) of a symmetric S: its part in the structure, with what a one-sided structure drops on its other side."""
    n, xp = S.shape[0], namespace(S)
    if not structure.endswith("toeplitz"):
        return S if structure == "dense" else like(kept_part(n, structure, sizes), S) * S
    out = float(xp.linalg.trace(S)) / n * eye_like(S)
    for lag in range(1, n):
        band = like(np.eye(n, k=-lag), S)
        # Sums of a diagonal and its mirror image, over the one's length.
        mean = 2.0 * float(xp.sum(band * S)) / (n - lag)
        out = out + mean * (band if structure == "lower-toeplitz" else xp.matrix_transpose(band))
    return out


class _InverseFree(Method):
    """Base: two factors a layer, moved by the exponential map's first order, and heavy-ball momentum."""

    lr: Rate = hyper(1e-3, "[0, inf)", "β2.")
    momentum: float = hyper(0.9, "[0, 1)", "α2: ``b ← α2 b + (natural gradient + γ W)``, ``W ← W - β2 b``.")
    damping: float = hyper(1e-3, "[0, inf)", "λ.")
    factor_momentum: float = hyper(0.5, "[0, 1)", "α1.")
    factor_lr: Any = hyper(1e-2, None, "β1, in [0, inf), or a function of the step t = 1, 2, ....",
        kind="float or callable")  # fmt: skip
    weight_decay: float = hyper(0.0, "[0, inf)", "γ, beside the natural gradient.")
    update_every: int = hyper(10, "int [1, inf)", "T: K and C move at steps 1, T + 1, ….")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.beta1(1)

    def beta1(self, t: int) -> float:
        """Return β1 of step t."""
        name = f"{self.registered_name}: factor_lr"
        return check_rate(self.factor_lr(t) if callable(self.factor_lr) else self.factor_lr, name)

    def init(self, x: Params) -> State:
        """Return the state at the start `x`; the factors come with the first step."""
        return {"t": 0, "buffer": zeros_like(check_start(x, "x")), "factors": {}, "biases": {}}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the gradient and, when it is due, the layers; move the factors, and step."""
        t, g = s["t"] + 1, oracle.grad(x)
        kept, biases = s["factors"], s["biases"]
        if (t - 1) % self.update_every == 0:
            layers = oracle.layers(x, sample=False, positions=True)
            check_cover(x, layers, self.registered_name)
            biases = {layer.weight: layer.bias or "" for layer in layers}
            kept = {
                name: self.moved(kept.get(name) or self.start(U, G), U, G, t)
                for name, (U, G) in factors(layers).items()
            }
        natural = dict(g) if isinstance(g, dict) else g
        for name, bias in biases.items():
            W, K, C = as_matrix(g, name, bias), kept[name]["K"], kept[name]["C"]
            xp = namespace(W)
            W = C @ (xp.matrix_transpose(C) @ W @ K) @ xp.matrix_transpose(K)
            natural |= from_matrix(W, g, name, bias)
        decay = self.decay(t)
        buffer = map_leaves(lambda b, n, w: self.momentum * b + (n + decay * w), s["buffer"], natural, x)
        new = params.axpy(-self.rate(t), buffer, x)
        return new, {"t": t, "buffer": buffer, "factors": kept, "biases": biases}

    def decay(self, t: int) -> float:
        """Return γ of step t."""
        return self.weight_decay

    @staticmethod
    def start(U: Array, G: Array) -> dict[str, Array]:
        """Return a layer's first factors, I, and their momenta, zero."""
        K, C = eye_like(U), eye_like(G)
        return {"K": K, "C": C, "mK": 0.0 * K, "mC": 0.0 * C}

    def moved(self, f: dict[str, Array], U: Array, G: Array, t: int) -> dict[str, Array]:
        """Return a layer's factors and momenta after a step."""
        raise NotImplementedError


def inner(K: Array, U: Array | None = None) -> Array:
    """Return ``Kᵀ U K``."""
    Kt = namespace(K).matrix_transpose(K)
    return Kt @ K if U is None else Kt @ U @ K


def mean_trace(S: Array) -> float:
    """Return ``tr S / n``."""
    return float(namespace(S).linalg.trace(S)) / S.shape[0]


@register("ingd", source=SIMPLIFYING, where="the update of dense Kronecker factors for deep learning", needs=("grad", "layers"))  # fmt: skip
class INGD(_InverseFree):
    """INGD: K-FAC's natural gradient with factors of the inverse that move without an inversion.

    For a layer W (d x p), with inputs ā (one appended) and own gradients s of its outputs, ``U = mean ā āᵀ``,
    ``Γ = mean s sᵀ``, ``H_K = Kᵀ U K``, ``H_C = Cᵀ Γ C``. Every T steps, from K = C = I, m = 0, all from the old K and C:
    ``m_K ← α1 m_K + ½ (tr(H_C)/d H_K + λ tr(CᵀC)/d KᵀK - I)``, ``m_C ← α1 m_C + ½ (tr(H_K)/p H_C + λ tr(KᵀK)/p CᵀC - I)``,
    ``K ← K - β1 K m_K``, ``C ← C - β1 C m_C``. The natural gradient is ``C Cᵀ ∇W K Kᵀ``.

    Notes
    -----
    The Fisher matrix is the empirical one, of the data's labels. Leaves that belong to no linear layer are an error.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(8,), seed=0)
    >>> r = refopt.minimize(p, "ingd", lr=0.1, factor_lr=0.1, update_every=5, steps=30)
    >>> bool(r.history["value"][-1] < 0.5 * r.history["value"][0])
    True
    """

    warmup: bool = hyper(False,
        words="True: β1 is 2e-4 in steps 1 to 101 and 2e-3 to 500, whatever `factor_lr` says (the authors' code).")  # fmt: skip
    decay_after: int = hyper(0, "int [0, inf)", "Steps without weight decay at the start.")

    def beta1(self, t: int) -> float:
        """Return β1 of step t."""
        if self.warmup and t <= 500:
            return 2e-4 if t <= 101 else 2e-3
        return super().beta1(t)

    def decay(self, t: int) -> float:
        """Return γ of step t."""
        return self.weight_decay if t > self.decay_after else 0.0

    def moved(self, f: dict[str, Array], U: Array, G: Array, t: int) -> dict[str, Array]:
        """Return a layer's factors and momenta after a step."""
        K, C = f["K"], f["C"]
        new: dict[str, Array] = {}
        for name, here, H, other, there in (("K", K, U, C, G), ("C", C, G, K, U)):
            bracket = mean_trace(inner(other, there)) * inner(here, H) - eye_like(here)
            bracket = bracket + self.damping * mean_trace(inner(other)) * inner(here)
            m = self.factor_momentum * f[f"m{name}"] + 0.5 * bracket
            new[name], new[f"m{name}"] = here - self.beta1(t) * (here @ m), m
        return new


dialect(INGD, "official", "yorkerlin/StructuredNGD-DL optimizers/local_cov.py",
    "weight decay begins after 20 T steps", weight_decay=1e-2, warmup=True, decay_after=200)  # fmt: skip


@register("singd", source=STRUCTURED, where="the SINGD update, and IKFAC", needs=("grad", "layers"), also=(SIMPLIFYING,))  # fmt: skip
class SINGD(_InverseFree):
    """SINGD: inverse-free natural gradients whose factors keep a sparse structure.

    As INGD, with every symmetric matrix replaced by its projection Π on the structure (`projected`):
    ``m_K ← α1 m_K + ½ (tr(H_C)/d H_K + λ tr(CᵀC)/d Π(KᵀK) - I)``, ``H_K = Π(Kᵀ U K)``, and so for C; then
    ``K ← K - β1 K m_K``. Structures are closed under products, so that K and m_K stay in theirs.

    Notes
    -----
    The structures: ``dense``; ``diagonal``; ``blocks`` on the diagonal; ``lower-toeplitz`` and ``upper-toeplitz``, triangular;
    ``hierarchical``, rows of a dense block of the first coordinates over a diagonal, and below it rows of a dense block of
    the last. One-sided structures count what they drop twice on the side that they keep. ``singd`` with dense
    structures is ``ingd``. Here factors are held as full matrices, whatever their structure. The authors' code
    takes KᵀK of ``blocks`` as KKᵀ, which is a fault.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("mlp", widths=(8,), seed=0)
    >>> r = refopt.minimize(p, "singd", lr=0.1, factor_lr=0.1, update_every=5, structure_k="diagonal", steps=30)
    >>> bool(r.history["value"][-1] < 0.5 * r.history["value"][0])
    True
    """

    structure_k: str = hyper("dense", STRUCTURES, "Of K, over inputs.")
    structure_c: str = hyper("dense", STRUCTURES, "Of C, over outputs.")
    block: int = hyper(30, "int [1, inf)", "The size of blocks.")
    first: int = hyper(
        15, "int [1, inf)", "The sizes of the dense blocks, first and last, of ``hierarchical``."
    )
    last: int = hyper(
        15, "int [0, inf)", "The sizes of the dense blocks, first and last, of ``hierarchical``."
    )
    kfac_like: bool = hyper(False,
        words="True: IKFAC, whose brackets have 1 for the traces and no momentum: K-FAC's averages to first order.")  # fmt: skip
    normalize: bool = hyper(False,
        words="True: the bracket times 1 - α1, and β1 over the largest entry of m where that is above 1.")  # fmt: skip

    def moved(self, f: dict[str, Array], U: Array, G: Array, t: int) -> dict[str, Array]:
        """Return a layer's factors and momenta after a step."""
        alpha = 0.0 if self.kfac_like else self.factor_momentum
        scale = 0.5 * (1.0 - alpha) if self.normalize else 0.5
        new: dict[str, Array] = {}
        for name, H, other, there in (("K", U, "C", G), ("C", G, "K", U)):
            here, structure = f[name], self.structure_k if name == "K" else self.structure_c
            sizes = (self.block, self.block) if structure == "blocks" else (self.first, self.last)
            weights = (1.0, 1.0) if self.kfac_like else (
                mean_trace(inner(f[other], there)), mean_trace(inner(f[other]))
            )  # fmt: skip
            bracket = weights[0] * projected(inner(here, H), structure, sizes)
            bracket = bracket + self.damping * weights[1] * projected(inner(here), structure, sizes)
            m = alpha * f[f"m{name}"] + scale * (bracket - eye_like(here))
            rate = self.beta1(t)
            if self.normalize:
                rate /= max(1.0, params.max_abs(m))
            new[name], new[f"m{name}"] = here - rate * (here @ m), m
        return new
