"""LookSAM: SAM's second gradient every k-th step, and its direction in between (Liu et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable

from refopt.core import params
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper
from refopt.wrappers.sam import across, ascent

LIU = Source("liu-2022-towards", "Y. Liu, S. Mai, X. Chen, C.-J. Hsieh, Y. You",
    "Towards Efficient and Scalable Sharpness-Aware Minimization", arxiv="2203.02714")  # fmt: skip


@register("looksam", source=LIU, where="LookSAM")
class LookSAM(Wrapper):
    """LookSAM: SAM in every k-th step, whose gradient's part across the plain gradient is used again in the others.

    In steps 1, k + 1, 2k + 1, ...: ``g_s = ∇L(w + ρ g / ‖g‖)``, ``g_v = g_s - ‖g_s‖ cos θ · g / ‖g‖`` with θ the angle between both, and the
    base steps with g_s. In the others with ``g + α (‖g‖ / ‖g_v‖) g_v``, from one gradient.

    Notes
    -----
    No code of the authors is published. Where g_v is zero the step between is the base's own.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "looksam", base="momentum", lr=0.1, steps=50)
    >>> dict(r.calls)
    {'grad': 60}
    """

    rho: float = hyper(0.05, "[0, inf)", "ρ, in the units of w.")
    every: int = hyper(5, "int [1, inf)", "k; 1 is SAM.")
    alpha: float = hyper(0.7, "[0, inf)", "α.")
    by: str = hyper(
        "all",
        ("all", "leaf"),
        "Norms and angles but for ρ's: of all parameters, or leaf by leaf (pytorch_optimizer).",
    )
    eps: float = hyper(0.0, "[0, inf)", "Added to the norm beside ρ; the paper has none.")
    eps_kept: float = hyper(0.0, "[0, inf)", "Added to ``‖g_v‖``; the paper has none.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: the base's, and no direction yet."""
        return {**super().init(x), "v": params.zeros_like(check_start(x, "x"))}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base with gradients from the perturbed point, or with the direction that is kept."""
        t = s["t"] + 1
        kept = s["v"]

        def combined(oracle: Oracle, w: Params) -> Params:
            nonlocal kept
            g = oracle.grad(w)
            if (t - 1) % self.every:
                return self._parts(self.pulled, g, kept)
            sharp = oracle.grad(params.axpy(1.0, ascent(g, self.rho, self.eps), w))
            kept = self._parts(across, sharp, g)
            return sharp

        x, base = self.base.step(x, s["base"], GradientsAt(oracle, combined))
        return x, {"t": t, "base": base, "v": kept}

    def pulled(self, g: Params, v: Params) -> Params:
        """Return ``g + α ‖g‖ / (‖v‖ + ε) v``."""
        length = params.norm(v) + self.eps_kept
        return params.axpy(self.alpha * params.norm(g) / length if length > 0.0 else 0.0, v, g)

    def _parts(self, function: Callable[[Params, Params], Params], a: Params, b: Params) -> Params:
        return function(a, b) if self.by == "all" else map_leaves(function, a, b)


dialect(
    LookSAM,
    "kozistr",
    "pytorch_optimizer 4.1 LookSAM",
    rho=0.1,
    every=10,
    by="leaf",
    eps=1e-12,
    eps_kept=1e-8,
)
