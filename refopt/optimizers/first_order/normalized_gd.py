"""Normalised gradient descent for generalized-smooth functions (Chen et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, axpy, check_like, check_start, norm
from refopt.core.registry import Dialect, Evidence, Source, register

CHEN_GENERALIZED = Source(
    key="chen-2023-generalized",
    authors="Z. Chen, Y. Zhou, Y. Liang, Z. Lu",
    year=2023,
    title="Generalized-Smooth Nonconvex Optimization is As Efficient As Smooth Nonconvex Optimization",
    arxiv="2303.02854",
)


@register(
    "normalized-gd",
    kind="optimizer",
    source=CHEN_GENERALIZED,
    where="Algorithm 1 (beta-normalised gradient descent)",
    dialects={
        "clipped": Dialect({"least": 1.0}, "ynyang94/Gensmooth-IAN-SGD", "its clipped form, with c_max = 1")
    },
    evidence=(
        Evidence(
            "claim",
            "on w^4 from w = 10 with rate 0.1 gradient descent diverges; beta = 2/3 contracts by exactly 1 - 4^(1/3) lr a step",
            "tests/claims/test_normalized_gd.py::test_quartic",
        ),
        Evidence(
            "claim",
            "rescaling f by c scales the step by c^(1 - beta), to 1e-13",
            "tests/claims/test_normalized_gd.py::test_scaling",
        ),
        Evidence(
            "identity",
            "beta = 0 is gradient descent, to the bit; beta = 1 with one leaf is steepest descent under the Euclidean norm",
            "tests/identities/test_normalized_gd.py::test_ends",
        ),
    ),
)
@dataclass(frozen=True, kw_only=True)
class NormalizedGD(GradientMethod):
    """Normalised gradient descent: the gradient over a power of its norm.

    ``w_{t+1} = w_t - γ ∇f(w_t) / ‖∇f(w_t)‖^β``, the norm over all parameters; a zero gradient stays.

    Parameters
    ----------
    lr : float or callable, range [0, inf)
        γ; with β = 1 the length of every step.
    beta : float, range [0, 1]
        β; at least α for an α-symmetric generalized-smooth function.
    added : float, range [0, inf)
        Added to the norm; the paper has none.
    least : float, range [0, inf)
        The norm is taken as this at least (clipping where β = 1); the paper has none.
    schedule : callable, optional

    Notes
    -----
    With β = 1 and a constant rate the last points circle a minimum at distance γ: the guarantee is for
    the best of all points.

    References
    ----------
    Z. Chen, Y. Zhou, Y. Liang, Z. Lu 2023, arXiv:2303.02854, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("normalized-gd", lr=0.5)
    >>> x, s = o.update(np.zeros(2), np.array([30.0, 40.0]), {"t": 0})
    >>> print(x)
    [-0.3 -0.4]
    """

    lr: Rate = hyper(0.01, "[0, inf)", rate=True)
    beta: float = hyper(1.0, "[0, 1]")
    added: float = hyper(0.0, "[0, inf)")
    least: float = hyper(0.0, "[0, inf)")

    def init(self, x: Params) -> State:
        """Return the state: the count of steps."""
        check_start(x, "x")
        return {"t": 0}

    def update(self, x: Params, grad: Params, s: State, *, donate: bool = False) -> tuple[Params, State]:
        """Make one step."""
        check_like(grad, x, "grad")
        t = s["t"] + 1
        size = max(norm(grad) + self.added, self.least)
        return (axpy(-self.rate(t) / size**self.beta, grad, x) if size > 0.0 else x), {"t": t}
