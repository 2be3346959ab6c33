"""Shampoo: one preconditioner for every axis of a tensor (Gupta et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from refopt.core.arrays import Array, Namespace, namespace
from refopt.core.cost import Cost
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Rule
from refopt.core.registry import Dialect, Evidence, Source, register
from refopt.matrix.common import eigh, from_eigen
from refopt.matrix.inverse_root import inverse_pth_root
from refopt.optimizers.common.decay import Decay
from refopt.optimizers.common.modes import mode_gram, mode_product

GUPTA = Source(
    key="gupta-2018-shampoo",
    authors="V. Gupta, T. Koren, Y. Singer",
    year=2018,
    title="Shampoo: Preconditioned Stochastic Tensor Optimization",
    arxiv="1802.09568",
)


def square_zeros(leaf: Array, n: int) -> Array:
    """Return an n x n matrix of zeros of the library, dtype and device of `leaf`."""
    return namespace(leaf).zeros((n, n), dtype=leaf.dtype, device=leaf.device)


def root_of_sum(S: Array, power: int, eps: float, method: str) -> Array:
    """Return ``(eps I + S)^(-1/power)`` of a sum of Gram matrices.

    Its eigenvalues are eps at least; what rounding takes away below that is given back.
    """
    if method == "newton":
        return inverse_pth_root(S, power, ridge=eps, ridge_rule="absolute")
    xp = namespace(S)
    values, vectors = eigh(S)
    return from_eigen(vectors, (xp.clip(values, min=0.0) + eps) ** (-1.0 / power))


def _square_state(n: int) -> Callable[[], Any]:
    return lambda: dict(Shampoo().init(np.ones((n, n))))


@register(
    "shampoo",
    kind="optimizer",
    source=GUPTA,
    costs=(Cost("n", 2.0, "one n x n matrix an axis", _square_state, (32, 64, 128, 256), "bytes", 0.02),),
    where="Algorithm 2, for tensors of any order",
    dialects={
        "kozistr": Dialect(
            {"lr": 1e-3, "eps": 1e-6, "decay": "coupled", "scalars_too": False},
            "pytorch_optimizer 4.1 Shampoo",
        ),
        "jettify": Dialect(
            {"lr": 0.1, "exponent": "order", "in_turn": True, "decay": "coupled", "scalars_too": False},
            "jettify/pytorch-optimizer torch_optimizer/shampoo.py",
            "exponent -1/k; an axis sees the gradient already preconditioned along those before",
        ),
    },
    evidence=(
        Evidence(
            "parity",
            "pytorch_optimizer.Shampoo with its odd momentum and decay, 200 steps on leaves of one to four axes, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[shampoo-kozistr]",
        ),
        Evidence(
            "parity",
            "jettify/pytorch-optimizer's Shampoo with momentum and decay, 200 steps, to 1e-12",
            "tests/parity/test_tapes.py::test_tape[shampoo-jettify]",
        ),
        Evidence(
            "identity",
            "without an axis, in the libraries' dialects, it is SGD with coupled decay and their momentum, to 1e-15",
            "tests/identities/test_shampoo.py::test_scalars_of_libraries",
        ),
        Evidence(
            "identity",
            "for a vector it is full-matrix AdaGrad, computed with mpmath to 50 digits, to 1e-11",
            "tests/identities/test_shampoo.py::test_vector_is_full_matrix_adagrad",
        ),
        Evidence(
            "identity",
            "a first step is -lr U V^T of the gradient's SVD as eps -> 0, to 1e-9",
            "tests/identities/test_shampoo.py::test_first_step_is_the_polar_factor",
        ),
        Evidence(
            "claim",
            "eps I + (1/r) sum of vec(G) vec(G)^T is below the Kronecker product of the square roots of L and R",
            "tests/claims/test_shampoo.py::test_preconditioner_is_an_upper_bound",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class Shampoo(Decay):
    """Shampoo: the gradient times an inverse root of its summed Gram matrix, along every axis.

    For a tensor of k axes ``H^i_t = H^i_{t-1} + mat_i(G_t) mat_i(G_t)^T`` from ``H^i_0 = ε I``, and
    ``W_{t+1} = W_t - η G_t ×_1 (H^1_t)^{-1/(2k)} … ×_k (H^k_t)^{-1/(2k)}``; for a matrix
    ``L^{-1/4} G R^{-1/4}``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        η, in the units of W.
    eps : float, range (0, inf)
        ε, in the units of the gradient squared.
    exponent : {"twice-order", "order"}
        -1/(2k), or -1/k.
    in_turn : bool
        False: every axis sees the raw gradient. True: the gradient already preconditioned along the
        axes before.
    momentum : float, range [0, 1)
        μ: ``(1 - μ) G_t + μ`` times the last preconditioned step takes the gradient's place, the first
        gradient for the first step. The libraries' way; Algorithm 2 has none (0).
    root : {"eigh", "newton"}
        How the inverse root is computed: by eigendecomposition, or by the coupled Newton iteration of
        `refopt.matrix.inverse_root.inverse_pth_root`.
    scalars_too : bool
        A scalar is a vector of one entry (True); or, having no axis, has no preconditioner, as in libraries.
    weight_decay : float, range [0, inf)
    decay : {"decoupled", "independent", "coupled"}
    schedule : callable, optional

    References
    ----------
    V. Gupta, T. Koren, Y. Singer 2018, arXiv:1802.09568, Algorithm 2.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("shampoo", lr=0.1, eps=1e-12)
    >>> x = np.zeros((2, 2))
    >>> x, s = o.update(x, np.diag([3.0, 0.1]), o.init(x))
    >>> print(np.diag(x).round(6))
    [-0.1 -0.1]
    """

    slots: ClassVar[tuple[str, ...]] = ("sums", "buffer")
    lr: Rate = hyper(0.1, "[0, inf)", rate=True)
    eps: float = hyper(1e-4, "(0, inf)")
    exponent: str = hyper("twice-order", ("twice-order", "order"))
    in_turn: bool = hyper(False, (True, False))
    momentum: float = hyper(0.0, "[0, 1)")
    root: str = hyper("eigh", ("eigh", "newton"))
    scalars_too: bool = hyper(True, (True, False))

    def active_slots(self) -> tuple[str, ...]:
        """Return the Gram sums, and the last step where there is momentum."""
        return self.slots if self.momentum else self.slots[:1]

    def init_slot(self, slot: str, leaf: Array) -> Array:
        """Return a tuple of zero matrices, one an axis (ε I is added at the root); or zeros."""
        if slot == "buffer":
            return super().init_slot(slot, leaf)
        return tuple(square_zeros(leaf, n) for n in leaf.shape or (1,))

    def scalars(self, t: int, carried: object) -> dict[str, float]:
        """Return rate, decay, and whether this is the first step."""
        return {"lr": self.rate(t), "first": float(t == 1), "l2": self.coupled(), "keep": self.keep(t)}

    def precondition(self, G: Array, sums: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        """Return the preconditioned G and the new Gram sums."""
        power = len(sums) * (2 if self.exponent == "twice-order" else 1)
        out, new = G, []
        for axis, S in enumerate(sums):
            S = S + mode_gram(out if self.in_turn else G, axis)
            new.append(S)
            out = mode_product(out, axis, root_of_sum(S, power, self.eps, self.root))
        return out, tuple(new)

    def rule(self, xp: Namespace) -> Rule:
        """Return one leaf's step."""

        def shampoo(x, g, sums, *rest):  # type: ignore[no-untyped-def]
            *buffer, lr, first, l2, keep = rest
            if buffer and not first:
                g = (1.0 - self.momentum) * g + self.momentum * buffer[0]
            step = g + l2 * x
            if x.shape or self.scalars_too:
                step, sums = self.precondition(xp.reshape(step, x.shape or (1,)), sums)
                step = xp.reshape(step, x.shape)
            return (keep * x - lr * step, sums, *([step] if buffer else []))

        return shampoo
