"""Steepest descent under a norm (Bernstein and Newhouse 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from refopt.core.arrays import Array, namespace
from refopt.core.errors import ArgumentError, ArgumentTypeError
from refopt.core.hyper import Rate, check_number, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start, leaves, rebuild
from refopt.core.registry import Source, register
from refopt.optimizers.common.lmo import (
    as_matrix,
    column_direction,
    frobenius_direction,
    max_direction,
    rms_direction,
    row_direction,
    spectral_direction,
)

BERNSTEIN = Source("bernstein-2024-old", "J. Bernstein, L. Newhouse", "Old Optimizer, New Norm: An Anthology",
    arxiv="2409.20325")  # fmt: skip

NORMS: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "max": max_direction,
    "spectral": spectral_direction,
    "rms-rms": rms_direction,
    "l1-rms": column_direction,
    "l2-max": row_direction,
    "frobenius": frobenius_direction,
}


def dual(g: Array, norm: str) -> tuple[Array, float]:
    """Return the duality map ``D(G) = argmax over ||T|| = 1 of <G, T>`` and the dual norm ``<G, D(G)>``.

    Parameters
    ----------
    g : array
        Seen as a matrix W of (outputs, inputs), acting on the left: vectors are columns, kernels are
        flattened behind the first axis.
    norm : {"max", "spectral", "rms-rms", "l1-rms", "l2-max", "frobenius"}
        Largest entry (l1 to l∞); largest singular value (l2 to l2); the same times
        ``sqrt(inputs / outputs)``; largest column's 2-norm over ``sqrt(outputs)``; largest row's
        2-norm (l2 to l∞); Frobenius.

    Returns
    -------
    direction : array like g
        Zero where G is; for singular values of zero the thin factor's choice, 0.
    dual_norm : float
    """
    direction, size = NORMS[norm](as_matrix(g))
    return namespace(g).reshape(direction, g.shape), float(size)


@register(
    "steepest-descent",
    source=BERNSTEIN,
    where="Proposition 1 and the propositions on Adam, Shampoo and Prodigy; Table 1",
    state_copies=0,
)
class SteepestDescent(GradientMethod):
    """Steepest descent: the step that the linear model and a squared norm choose together.

    ``ΔW = argmin <G, Δ> + ||Δ||² / (2 η₀) = -η₀ ||G||_† D(G)``, with D(G) the unit matrix that has the
    largest inner product with G, and ||G||_† that product. Over several leaves the norm is
    ``max_l s_l ||W_l||``, so ``ΔW_l = -(η / s_l) D(G_l)`` with ``η = η₀ sum_k ||G_k||_† / s_k``.

    Notes
    -----
    The polar factor is exact (SVD), at O(out·in·min(out, in)) a leaf.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("steepest-descent", norm="max", lr=0.1, dual_scaled=False)
    >>> x, s = o.update(np.zeros(3), np.array([5.0, -0.2, 0.0]), o.init(np.zeros(3)))
    >>> print(x + 0.0)
    [-0.1  0.1  0. ]
    """

    lr: Rate = hyper(
        0.01, "[0, inf)", "η₀ (the inverse of the sharpness λ), or η itself without `dual_scaled`."
    )
    norm: Any = hyper("spectral", words="Of every leaf, or by the leaf's name; see `dual`.",
        kind='{"spectral", "rms-rms", "l1-rms", "l2-max", "max", "frobenius"} or dict')  # fmt: skip
    scales: Any = hyper(
        None, words="s_l by the leaf's name; 1 where it has none.", kind="dict of str to float"
    )
    dual_scaled: bool = hyper(True,
        words="Multiply by the dual norm, as above; False: a step of norm η in every leaf (sign descent,"
        " orthogonalised descent, normalised descent).")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for norm in self.norm.values() if isinstance(self.norm, dict) else [self.norm]:
            if not isinstance(norm, str) or norm not in NORMS:
                raise ArgumentError(f"steepest-descent: norm: wanted one of {', '.join(NORMS)}, got {norm!r}")
        if not isinstance(self.scales, dict | None):
            raise ArgumentTypeError(f"steepest-descent: scales: wanted a dict or None, got {self.scales!r}")
        for name, scale in (self.scales or {}).items():
            check_number(scale, "(0, inf)", f"steepest-descent: scales[{name!r}]")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        x = check_start(x, "x")
        if isinstance(self.norm, dict):
            missing = sorted(leaves(x).keys() - self.norm.keys())
            if missing:
                raise ArgumentError(f"steepest-descent: norm: names no norm for {', '.join(missing)}")
        return {"t": 0}

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step from the gradient `g`."""
        t = s["t"] + 1
        xs = leaves(x)
        scale = {k: (self.scales or {}).get(k, 1.0) for k in xs}
        maps = {
            k: dual(a, self.norm[k] if isinstance(self.norm, dict) else self.norm)
            for k, a in leaves(g).items()
        }
        eta = self.rate(t)
        if self.dual_scaled:
            eta *= math.fsum(size / scale[k] for k, (_, size) in maps.items())
        return rebuild(x, {k: v - (eta / scale[k]) * maps[k][0] for k, v in xs.items()}), {"t": t}
