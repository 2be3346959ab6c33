"""MoMo and MoMo-Adam: adaptive rates for momentum from a model of the loss (Schaipp et al. 2023)."""

from __future__ import annotations

import operator

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero

SCHAIPP = Source("schaipp-2023-momo", "F. Schaipp, R. Ohana, M. Eickenberg, A. Defazio, R. M. Gower",
    "MoMo: Momentum Models for Adaptive Learning Rates", arxiv="2305.07583")  # fmt: skip


class Model(Method):
    """A step to the minimum of ``max(average of linear models, f*) + ‖y - x‖²_D / (2 η)``, with decay beside it.

    A subclass gives d, the averaged gradient, D^{-1} d, the norm of d in D^{-1}, and ρ, the sum of the average's weights.
    """

    lower_bound: float = hyper(0.0, "(-inf, inf)", "f*, a lower bound of the loss.")
    adaptive_bound: bool = hyper(
        False, words="True: f* is estimated as the run goes, and is never below the one given."
    )
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")

    def averaged(self, g: Params, s: State, t: int) -> tuple[Params, Params, float, float, State]:
        """Return d, D^{-1} d, the norm, ρ, and what the state keeps of them."""
        raise NotImplementedError

    def first(self, t: int) -> float:
        """Return the weight of what is new in the averages."""
        raise NotImplementedError

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        zero = params.zeros_like(check_start(x, "x"))
        return {"t": 0, "f": 0.0, "gamma": 0.0, "bound": self.lower_bound, "m": zero}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for value and gradient, and minimise the model."""
        f, g = oracle.value_and_grad(x)
        t, new = s["t"] + 1, self.first(s["t"] + 1)
        d, direction, size, rho, kept = self.averaged(g, s, t)
        f = ema(s["f"], f, 1.0 - new, new)
        gamma = ema(s["gamma"], params.dot(g, x), 1.0 - new, new)
        product, lr, bound = params.dot(d, x), self.rate(t), s["bound"]
        k = self.shrinks(lr)
        if self.adaptive_bound and k * (f - gamma) + product < k * rho * bound:
            bound = max((k * (f - gamma) + product) / (2.0 * k * rho), self.lower_bound)
        above = max(k * (f - rho * bound - gamma) + product, 0.0)
        # In two divisions: the square of a small norm would be zero.
        tau = min(lr / rho, above / size / size) if size > 0.0 else 0.0
        if self.adaptive_bound:
            bound = max((f + product - gamma - 0.5 * tau * size * size) / rho, self.lower_bound)
        x = self.moved(x, direction, tau, lr)
        return x, {"t": t, "f": f, "gamma": gamma, "bound": bound, **kept}

    def shrinks(self, lr: float) -> float:
        """Return ``1 + η λ``."""
        return 1.0 + lr * self.weight_decay

    def moved(self, x: Params, direction: Params, tau: float, lr: float) -> Params:
        """Return ``(x - τ D^{-1} d) / (1 + η λ)``."""
        return params.scale(1.0 / self.shrinks(lr), params.axpy(-tau, direction, x))


@register("momo", source=SCHAIPP, where="MoMo, with its decay and its estimate of the lower bound", needs=("value", "grad"),
    state_copies=1)  # fmt: skip
class Momo(Model):
    """MoMo: momentum whose rate is cut where a model of the loss, bounded from below, says so.

    ``d_t = β d_{t-1} + (1 - β) g_t``, and likewise f̄ of the losses and γ of ``<g_t, x_{t-1}>``, from the first of each;
    ``τ_t = min(η, (f̄_t - f* + <d_t, x_{t-1}> - γ_t)_+ / ‖d_t‖²)``, ``x_t = x_{t-1} - τ_t d_t``. With decay, k = 1 + η λ:
    ``(k (f̄_t - f* - γ_t) + <d_t, x_{t-1}>)_+`` above the fraction, and the new point is divided by k.

    Notes
    -----
    Loss and gradient are of the same batch at the same point. An adaptive f*: where the model lies below f* all the way, f* is set to
    half of the model's height; behind the step it is ``f̄ + <d, x> - γ - τ ‖d‖² / 2``.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> p = refopt.from_functions(lambda x: float(x @ x), lambda x: 2.0 * x, x0=np.array([4.0]))
    >>> print(refopt.minimize(p, "momo", steps=1, lr=10.0).x)  # the Polyak step halves it
    [2.]
    """

    lr: Rate = hyper(1.0, "[0, inf)", "η, the largest τ.")
    beta: float = hyper(0.9, "[0, 1)", "β.")
    bias_correction: bool = hyper(False,
        words="True: averages begin at zero, f* is multiplied by ρ = 1 - β^t, and the largest τ is η / ρ.")  # fmt: skip

    def first(self, t: int) -> float:
        """Return the weight of what is new in the averages: at first 1."""
        return 1.0 if t == 1 and not self.bias_correction else 1.0 - self.beta

    def averaged(self, g: Params, s: State, t: int) -> tuple[Params, Params, float, float, State]:
        """Return d twice, its norm, and ρ."""
        new = self.first(t)
        d = map_leaves(lambda a, b: ema(a, b, 1.0 - new, new), s["m"], g)
        return d, d, params.norm(d), correction(self.beta, t) if self.bias_correction else 1.0, {"m": d}


@register("momo-adam", source=SCHAIPP, where="MoMo-Adam", needs=("value", "grad"), state_copies=2,
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}))  # fmt: skip
class MomoAdam(Model):
    """MoMo-Adam: Adam whose rate is cut where a model of the loss, bounded from below, says so.

    Adam's m and v; f̄ and γ averages of the losses and of ``<g_t, x_{t-1}>`` from zero, with β1; ``D = sqrt(v_t / (1 - β2^t)) + ε``,
    ``τ_t = min(η / (1 - β1^t), (k (f̄_t - (1 - β1^t) f* - γ_t) + <m_t, x_{t-1}>)_+ / <m_t, m_t / D>)``,
    ``x_t = (x_{t-1} - τ_t m_t / D) / k``, ``k = 1 + η λ``.

    Notes
    -----
    At the largest τ it is Adam, or AdamW with ``divides=False``.

    Examples
    --------
    >>> import refopt
    >>> r = refopt.minimize(refopt.problem("quadratic", n=4), "momo-adam", lr=1.0, steps=200)
    >>> r.fun < 1e-2
    True
    """

    lr: Rate = hyper(1e-2, "[0, inf)", "η, the largest rate.")
    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    divides: bool = hyper(
        True, words="False: x is multiplied by 1 - η λ before the step, in place of the division behind it."
    )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        return {**super().init(x), "v": params.zeros_like(check_start(x, "x"))}

    def first(self, t: int) -> float:
        """Return the weight of what is new in the averages."""
        return 1.0 - self.beta1

    def averaged(self, g: Params, s: State, t: int) -> tuple[Params, Params, float, float, State]:
        """Return Adam's m, m / D, the norm of m / sqrt(D), and its correction."""
        m = map_leaves(lambda a, b: ema(a, b, self.beta1, 1.0 - self.beta1), s["m"], g)
        v = map_leaves(lambda a, b: ema(a, b * b, self.beta2, 1.0 - self.beta2), s["v"], g)
        c2 = correction(self.beta2, t)

        def below(b: Array) -> Array:
            xp = namespace(b)
            return nonzero(xp)(xp.sqrt(b / c2) + self.eps)

        D = map_leaves(below, v)
        size = params.norm(map_leaves(lambda a, b: a / namespace(b).sqrt(b), m, D))
        return m, map_leaves(operator.truediv, m, D), size, correction(self.beta1, t), {"m": m, "v": v}

    def moved(self, x: Params, direction: Params, tau: float, lr: float) -> Params:
        """Return the new point."""
        if self.divides:
            return super().moved(x, direction, tau, lr)
        return params.axpy(-tau, direction, params.scale(1.0 - lr * self.weight_decay, x))


dialect(Momo, "official", "fabian-sp/MoMo momo/momo.py; optax 0.2.8 contrib.momo without decay alike")
dialect(
    MomoAdam,
    "official",
    "fabian-sp/MoMo momo/momo_adam.py; optax 0.2.8 contrib.momo_adam without decay alike",
)
