"""The inverse Hessian that L-BFGS keeps as pairs of steps and changes of the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from refopt.core import params
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import check_number
from refopt.core.params import Params, check_like, copied
from refopt.core.registry import Source, register
from refopt.curvature.base import Curvature

LIU = Source("liu-1989-limited", "D. C. Liu, J. Nocedal",
    "On the limited memory BFGS method for large scale optimization",
    venue="Mathematical Programming 45, 503-528", doi="10.1007/BF01589116")  # fmt: skip


def two_loops(v: Params, pairs: Sequence[tuple[Params, Params, float]], gamma: float) -> Params:
    """Return H v by the two-loop recursion; `pairs` holds (s, y, 1 / sᵀy), the oldest first, and H_0 = gamma I."""
    q, kept = v, []
    for s, y, rho in reversed(pairs):
        alpha = rho * params.dot(s, q)
        q = params.axpy(-alpha, y, q)
        kept.append(alpha)
    r = params.scale(gamma, q)
    for (s, y, rho), alpha in zip(pairs, reversed(kept)):
        r = params.axpy(alpha - rho * params.dot(y, r), s, r)
    return r


@register(
    "lbfgs-inverse", kind="curvature", source=LIU, where="section 2, the two-loop recursion", needs=("grad",)
)
class LBFGSInverse(Curvature):
    """L-BFGS's approximation of the *inverse* Hessian: ``C @ v`` is ``H_k v``, by the two-loop recursion.

    From the last `memory` pairs s = a step, y = the change of the gradient over it, of positive sᵀy,
    ``H_{i+1} = (I - ρ s yᵀ) H_i (I - ρ y sᵀ) + ρ s sᵀ`` with ``ρ = 1 / sᵀy``, from ``H_0 = γ I``,
    ``γ = sᵀy / yᵀy`` of the newest pair. The secant equation ``H_k y = s`` holds for the newest pair, and H_k is positive
    definite.

    Parameters
    ----------
    steps : sequence of arrays or dicts like x
        The steps s that lead to x, the oldest first: the gradient is asked for at x, x - s_last, and so on back.
    memory : int
        How many pairs are kept, in [1, inf).
    curvature_floor : float
        A pair with ``sᵀy <= curvature_floor · ||s|| ||y||`` is left out; in [0, 1).

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.problem("quadratic", n=3, condition_number=10.0)
    >>> C = refopt.curvature("lbfgs-inverse", p, np.ones(3), steps=list(np.eye(3)))
    >>> y = p.grad(np.ones(3)) - p.grad(np.ones(3) - np.eye(3)[2])
    >>> bool(np.allclose(C @ y, np.eye(3)[2]))
    True
    """

    exact = False
    needs = ("grad",)

    def __init__(
        self, problem: Any, x: Params, batch: Any = None, *, steps: Sequence[Params], memory: int = 10,
        curvature_floor: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        check_number(memory, "int [1, inf)", "memory")
        check_number(curvature_floor, "[0, 1)", "curvature_floor")
        if not isinstance(steps, Sequence) or not len(steps):
            raise ArgumentTypeError(
                f"steps: wanted a non-empty sequence of steps like x, got {type(steps).__qualname__}"
            )
        super().__init__(problem, x, batch, seed=seed)
        found: list[tuple[Params, Params, float]] = []
        at, g = self.x, self.oracle.grad(self.x)
        for i, step in enumerate(reversed(steps)):
            if len(found) == memory:
                break
            s = copied(check_like(step, self.x, f"steps[{len(steps) - 1 - i}]", finite_values=True))
            at = params.subtract(at, s)
            before = self.oracle.grad(at)
            y, g = params.subtract(g, before), before
            if params.dot(s, y) > curvature_floor * params.norm(s) * params.norm(y):
                found.append((s, y, 1.0 / params.dot(s, y)))
        if not found:
            raise ArgumentError(
                "steps: the gradient's change is along none of them positive; no pair is left"
            )
        self.pairs = found[::-1]
        s, y, rho = self.pairs[-1]
        self.gamma = 1.0 / (rho * params.dot(y, y))

    def product(self, v: Params) -> Params:
        """Return H v."""
        return two_loops(v, self.pairs, self.gamma)

    def inverse_product(self, v: Params, damping: float) -> Params:
        """Return ``(H + damping I)^{-1} v``, by a dense factorization: with damping 0, the Hessian's approximation times v."""
        return super().inverse_product(v, damping)

    def _assemble(self) -> np.ndarray:
        matrix = super()._assemble()
        return (matrix + matrix.T) / 2
