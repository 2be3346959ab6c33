"""WSAM: sharpness with a weight of its own (Yue et al. 2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.errors import ArgumentError
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.oracle import GradientsAt, Oracle
from refopt.core.params import Params
from refopt.core.registry import Source, dialect, register
from refopt.wrappers.base import Wrapper
from refopt.wrappers.sam import ascent, sizes

YUE = Source("yue-2023-sharpness", "Y. Yue, J. Jiang, Z. Ye, N. Gao, Y. Liu, K. Zhang",
    "Sharpness-Aware Minimization Revisited: Weighted Sharpness as a Regularization Term", arxiv="2305.15817")  # fmt: skip


@register("wsam", source=YUE, where="WSAM, with the weighted sharpness decoupled")
class WSAM(Wrapper):
    """WSAM: the loss plus γ / (1 - γ) times its sharpness, whose gradient does not go through the base's averages.

    ``g_s = ∇L(w + ρ g / ‖g‖)``; the base steps from w with g, and ``w ← w - η γ / (1 - γ) (g_s - g)`` behind it, with η the base's rate.
    Coupled, the base steps with ``g + γ / (1 - γ) (g_s - g)``.

    Notes
    -----
    γ = 0 is the base, and coupled with γ = 1/2 it is SAM. Over SGD without momentum both forms are the same step.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "wsam", base="momentum", lr=0.1, steps=50)
    >>> dict(r.calls)
    {'grad': 100}
    """

    rho: float = hyper(0.05, "[0, inf)", "ρ, in the units of w.")
    gamma: float = hyper(0.9, "[0, 1)", "γ.")
    decoupled: bool = hyper(
        True, words="False: coupled. True wants a base with a rate and one gradient a step."
    )
    adaptive: bool = hyper(False, words="The perturbation is ASAM's: ``ρ w² ⊙ g / ‖ |w| ⊙ g ‖``.")
    eps: float = hyper(0.0, "[0, inf)", "Added to the norm; the paper has none.")
    words = {"schedule": "Of the base's rate: handed on to a base that is given by name."}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoupled and not (self.base.has_rate and hasattr(self.base, "lr")):
            raise ArgumentError(
                f"wsam: decoupled: wanted a base with a rate (lr), got {self.base.registered_name}; or give decoupled=False"
            )

    def sharp(self, oracle: Oracle, w: Params, g: Params) -> Params:
        """Return the gradient at the perturbed point."""
        return oracle.grad(
            params.axpy(1.0, ascent(g, self.rho, self.eps, sizes(w) if self.adaptive else None), w)
        )

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Step the base, with the sharpness in its gradient or behind it."""
        t, weight = s["t"] + 1, self.gamma / (1.0 - self.gamma)
        if not self.decoupled:

            def weighted(oracle: Oracle, w: Params) -> Params:
                g = oracle.grad(w)
                return params.axpy(weight, self.sharp(oracle, w, g), params.scale(1.0 - weight, g))

            x, base = self.base.step(x, s["base"], GradientsAt(oracle, weighted))
            return x, {"t": t, "base": base}
        g = params.copied(oracle.grad(x))
        sharpness = params.subtract(self.sharp(oracle, x, g), g)
        new, base = self.base.step(
            x, s["base"], GradientsAt(oracle, lambda oracle, w: g if w is x else oracle.grad(w))
        )
        return params.axpy(-self.base.rate(t) * weight, sharpness, new), {"t": t, "base": base}


dialect(
    WSAM,
    "official",
    "intelligent-machine-learning/atorch atorch/optimizers/wsam.py; pytorch_optimizer 4.1 WSAM alike",
    eps=1e-12,
)
