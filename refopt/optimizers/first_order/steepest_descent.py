"""Steepest descent under a norm (Bernstein and Newhouse 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.arrays import namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_like, check_start, leaves, rebuild
from refopt.core.registry import Evidence, Source, register
from refopt.optimizers.common.lmo import DIRECTIONS, as_matrix

BERNSTEIN = Source(
    key="bernstein-2024-old",
    authors="J. Bernstein, L. Newhouse",
    year=2024,
    title="Old Optimizer, New Norm: An Anthology",
    arxiv="2409.20325",
)


@register(
    "steepest-descent",
    kind="optimizer",
    source=BERNSTEIN,
    where="Propositions 1 to 5",
    evidence=(
        Evidence(
            "identity",
            "under the maximum norm it is Adam without averages (sign descent), to the bit",
            "tests/identities/test_steepest_descent.py::test_max_norm_is_adam_without_averages",
        ),
        Evidence(
            "identity",
            "under the spectral norm it is Shampoo without accumulation, to 1e-6 (Shampoo's eps is the distance)",
            "tests/identities/test_steepest_descent.py::test_spectral_norm_is_shampoo_without_averages",
        ),
        Evidence(
            "claim",
            "under all six norms the direction has norm one and its product with the gradient is the dual norm, to 1e-13",
            "tests/claims/test_steepest_descent.py::test_direction_attains_the_dual_norm",
        ),
        Evidence(
            "claim",
            "the dual-scaled step with lr = 1 / sharpness lowers f by at least the squared dual norm over twice the sharpness",
            "tests/claims/test_steepest_descent.py::test_guaranteed_descent",
        ),
    ),
    calm_problem=("quadratic", {"n": 12}),
)
@dataclass(frozen=True, kw_only=True)
class SteepestDescent(GradientMethod):
    """Steepest descent: the step that minimises the linear model of f plus a squared norm.

    ``argmin_Δ <G, Δ> + (λ/2) ‖Δ‖² = -(‖G‖_† / λ) D(G)``, with ``D(G) = argmax_{‖T‖=1} <G, T>`` and
    ``‖G‖_†`` that maximum, the dual norm. Over several leaves ``‖Δ‖ = max_l ‖Δ_l‖``, and the step is
    ``Δ_l = -(1/λ) (Σ_k ‖G_k‖_†) D_l(G_l)``.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        1/λ; or with ``dual_scaled=False`` the norm of the step.
    norm : {"max", "frobenius", "spectral", "rms", "column", "row"}
        Of a leaf as a matrix (first axis: outputs; a vector is one column): largest entry (ℓ1 → ℓ∞);
        Euclidean; spectral (ℓ2 → ℓ2); RMS → RMS; ℓ1 → RMS, the largest column's RMS; ℓ2 → ℓ∞, the
        largest row's length.
    dual_scaled : bool
        False: ``Δ_l = -lr D_l(G_l)``, the dual norm left out.
    schedule : callable, optional

    Notes
    -----
    Entries, lines and singular values that are zero stay zero: D then has norm at most one, and attains
    the dual norm all the same.

    References
    ----------
    J. Bernstein, L. Newhouse 2024, arXiv:2409.20325.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("steepest-descent", norm="spectral", lr=0.1, dual_scaled=False)
    >>> x, s = o.update(np.zeros((2, 2)), np.diag([3.0, -0.1]), {"t": 0})
    >>> print(np.diag(x))
    [-0.1  0.1]
    """

    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    norm: str = hyper("max", tuple(DIRECTIONS))
    dual_scaled: bool = hyper(True, (True, False))

    def init(self, x: Params) -> State:
        """Return the state: the count of steps."""
        check_start(x, "x")
        return {"t": 0}

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Make one step."""
        check_like(grad, x, "grad")
        t = s["t"] + 1
        found = {k: DIRECTIONS[self.norm](as_matrix(g)) for k, g in leaves(grad).items()}
        length = self.rate(t) * (sum(float(dual) for _, dual in found.values()) if self.dual_scaled else 1.0)
        new = {
            k: leaf - length * namespace(leaf).reshape(found[k][0], leaf.shape)
            for k, leaf in leaves(x).items()
        }
        return rebuild(x, new), {"t": t}
