"""The subgradient method of robust matrix recovery (Ma and Fattahi 2022)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, check_start
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.recovery.scaled_gd import TONG

MA = Source("ma-2022-robust", "Jianhao Ma, Salar Fattahi",
    "Global Convergence of Sub-gradient Method for Robust Matrix Recovery: Small Initialization, Noisy Measurements,"
    " and Over-parameterization", arxiv="2202.08788")  # fmt: skip
TONG_L1 = Source("tong-2021-low", "Tian Tong, Cong Ma, Yuejie Chi",
    "Low-Rank Matrix Recovery with Scaled Subgradient Methods: Fast and Robust Convergence Without the Condition Number",
    arxiv="2010.13364")  # fmt: skip


@register("subgradient", source=MA, where="SubGM, with its two step sizes", also=(TONG_L1, TONG), needs=("value", "grad"),
    state_copies=0, calm_problem=("quadratic", {"n": 12}))  # fmt: skip
class Subgradient(Method):
    """SubGM: subgradient descent from a small start, with steps that shrink as the paper wants them.

    ``U_{t+1} = U_t - η_t g_t``, g_t a subgradient at U_t. ``geometric``: ``η_t = η_0 ρ^(t-1)``, t = 1, 2, ..., for measurements with
    errors; ``residual``: ``η_t = η_0 f(U_t)``, for an f that the truth makes zero; ``polyak``: ``η_t = (f(U_t) - f*) / ‖g_t‖²``.

    Notes
    -----
    The paper's ``D_t U_t`` is half of the subgradient ``2 D_t U_t`` of `refopt.problem("robust-matrix-sensing")`: its η
    is twice the η here. ρ must not fall faster than the factors escape from the small start. Where g_t is zero, or f is not
    above f*, the point stays.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("robust-matrix-sensing", n=10, rank=1, search_rank=3, outliers=0.1, init_scale=1e-4)
    >>> r = refopt.minimize(p, "subgradient", lr=0.2, decay=0.98, steps=500)
    >>> p.error(r.x) < 1e-3
    True
    """

    lr: Rate = hyper(
        0.1, "[0, inf)", "η_0; multiplies the step of ``polyak`` too, which is the paper's at 1."
    )
    size: str = hyper("geometric", ("geometric", "residual", "polyak"), "The rule for η_t.")
    decay: float = hyper(0.99, "(0, 1]", "ρ.")
    f_star: float = hyper(0.0, "(-inf, inf)", "f*, for ``polyak``.")

    @property
    def needs(self) -> tuple[str, ...]:
        """Subgradients; and values where the step is made from them."""
        return ("grad",) if self.size == "geometric" else ("value", "grad")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the step counter alone."""
        check_start(x, "x")
        return {"t": 0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for a subgradient (and the value), and step."""
        t = s["t"] + 1
        if self.size == "geometric":
            return axpy(-self.rate(t) * self.decay ** (t - 1), oracle.grad(x), x), {"t": t}
        f, g = oracle.value_and_grad(x)
        if self.size == "residual":
            return axpy(-self.rate(t) * f, g, x), {"t": t}
        length, gap = params.norm(g), f - self.f_star
        if length == 0.0 or gap <= 0.0:
            return params.copied(x), {"t": t}
        # In two divisions: the square of a short subgradient would be zero.
        return axpy(-self.rate(t) * (gap / length / length), g, x), {"t": t}


dialect(Subgradient, "official-polyak", "Titan-Tong/ScaledGD matrix_l1/MS_l1.m, its vanilla subgradient method",
    size="polyak", lr=1.0)  # fmt: skip
