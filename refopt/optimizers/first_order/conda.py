"""Conda: Adam in the basis of the momentum's singular vectors (Wang et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.groups import Grouped
from refopt.optimizers.first_order.adam import Adam

WANG = Source(
    key="wang-2025-conda",
    authors="J. Wang, P. Zhou, Y. Dong, H. Li, J. Li, X. Zhou, Q. Lao, C. Fang, Z. Lin",
    year=2025,
    title="Conda: Column-Normalized Adam for Training Large Language Models Faster",
    arxiv="2509.24218",
)


@register(
    "conda",
    kind="optimizer",
    source=WANG,
    where="Algorithm 1",
    dialects={
        "kozistr": Dialect(
            {"refresh_at_multiples": True}, "pytorch_optimizer 4.1 Conda", "refreshed at t = T, 2T, ..."
        )
    },
    evidence=(
        Evidence(
            "parity",
            "the authors' Conda with its float32 cast taken out, tall, wide and square matrices, 200 steps on two streams with decay and a schedule, to 1e-11 (measured 3e-14)",
            "tests/parity/test_tapes.py::test_tape[conda-authors]",
        ),
        Evidence(
            "parity",
            "pytorch_optimizer.Conda with its float32 cast taken out, 200 steps on two streams with decay and a schedule, to 1e-11 (measured 5e-14)",
            "tests/parity/test_tapes.py::test_tape[conda-kozistr]",
        ),
        Evidence(
            "identity",
            "60 steps of tall, wide and square matrices over three bases equal the algorithm written out, to 1e-10",
            "tests/identities/test_conda.py::test_written_out",
        ),
        Evidence(
            "identity",
            "beta1 = beta2 = eps = 0 and a basis a step: a wide matrix moves by lr U sign(V'), to 1e-12",
            "tests/identities/test_conda.py::test_without_averages",
        ),
        Evidence(
            "claim",
            "equivariant: R g in place of g moves R times as far, for orthogonal R and wide g, eps included (1e-11)",
            "tests/claims/test_conda.py::test_left_orthogonal_equivariance",
        ),
    ),
    state_copies=2,
)
@dataclass(frozen=True, kw_only=True)
class Conda(Grouped, Decay):
    """Conda: Adam's second moment is taken along the singular directions of the momentum.

    ``M_t = β1 M_{t-1} + (1 - β1) G_t``. Every T steps ``M = U Σ Vᵀ`` and the basis Q is U (or V for a
    matrix with at least as many rows as columns). With ``G' = Qᵀ G``, ``M' = Qᵀ M``:
    ``V_t = β2 V_{t-1} + (1 - β2) G'²``,
    ``X ← X - η sqrt(1 - β2^t) / (1 - β1^t) · κ · Q (M' / (sqrt(V_t) + ε))``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η.
    beta1, beta2 : float, range [0, 1)
    eps : float, range [0, inf)
        Beside the uncorrected root.
    update_every : int, range [1, inf)
        T; the first basis is made in the first step.
    scale : float, range (0, inf)
        κ.
    refresh_at_multiples : bool
        New bases at t = T, 2T, … besides the first; otherwise at t = 1, T + 1, 2T + 1, ….
    group : str, sequence of str, or callable
        The matrices; kernels are flattened behind the first axis.
    others : Method
        For the rest; default Adam.
    weight_decay : float, range [0, inf)
        Acts behind the step, as in the authors' code: ``x ← (1 - η λ) x``.
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional

    Notes
    -----
    V is not rotated when the basis changes. The authors' SVD is in float32 whatever the dtype; here
    it is in the input's.

    References
    ----------
    J. Wang et al. 2025, arXiv:2509.24218.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("conda", lr=0.1)
    >>> x = {"w": np.zeros((2, 3))}
    >>> x, s = o.update(x, {"w": np.diag([2.0, 1.0])[:, [0, 1, 1]]}, o.init(x))
    >>> s["basis"]["w"].shape
    (2, 2)
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "basis")
    lr: Rate = hyper(1e-3, "[0, inf)", rate=True)
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    eps: float = hyper(1e-8, "[0, inf)")
    update_every: int = hyper(2000, "int [1, inf)")
    scale: float = hyper(1.0, "(0, inf)")
    refresh_at_multiples: bool = hyper(False, (True, False))
    group: Any = hyper("matrices-and-kernels")
    others: Any = hyper(Adam())

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return zeros: moments like the leaf, a square basis of its smaller side."""
        xp = namespace(leaf)
        zeros = xp.zeros_like(leaf)
        if slot != "basis":
            return zeros
        flat = xp.reshape(zeros, (leaf.shape[0], -1))
        flat = flat if flat.shape[0] < flat.shape[1] else xp.matrix_transpose(flat)
        return flat @ xp.matrix_transpose(flat)

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return the numbers of step `t`."""
        due = t == 1 or (t if self.refresh_at_multiples else t - 1) % self.update_every == 0
        return {
            "due": float(due),
            "beta1": self.beta1,
            "beta2": self.beta2,
            "step": self.scale * self.rate(t) * correction(self.beta2, t) ** 0.5 / correction(self.beta1, t),
            "l2": self.coupled(),
            "keep": self.keep(t),
        }

    def rule(self, xp: Namespace) -> Rule:
        """Return the step of one matrix, with rows as its smaller side inside."""

        def conda(x, g, m, v, basis, due, beta1, beta2, step, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            m = ema(m, g, beta1, 1.0 - beta1)
            tall = x.shape[0] >= xp.reshape(x, (x.shape[0], -1)).shape[1]

            def wide(a: Array) -> Array:
                flat = xp.reshape(a, (a.shape[0], -1))
                return xp.matrix_transpose(flat) if tall else flat

            def back(a: Array) -> Array:
                return xp.reshape(xp.matrix_transpose(a) if tall else a, x.shape)

            if due:
                basis = xp.linalg.svd(wide(m), full_matrices=False)[0]
            q = xp.matrix_transpose(basis)
            v = ema(v, back((q @ wide(g)) ** 2), beta2, 1.0 - beta2)
            size = xp.sqrt(wide(v)) + self.eps
            direction = basis @ ((q @ wide(m)) / xp.where(size > 0, size, xp.ones_like(size)))
            return keep * (x - step * back(direction)), m, v, basis

        return conda
