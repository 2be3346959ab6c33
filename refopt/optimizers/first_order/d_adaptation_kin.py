"""D-Adaptation of AdaGrad, Adan and Lion: rates from a lower bound of the distance to the solution."""

from __future__ import annotations

import math

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.hyper import hyper
from refopt.core.method import State
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import dialect, register
from refopt.optimizers.common.averages import ema
from refopt.optimizers.common.sums import sum_abs
from refopt.optimizers.first_order.d_adaptation import DEFAZIO, DAdaptation, over_root


@register("d-adapt-adagrad", source=DEFAZIO, where="AdaGrad with D-Adaptation", state_copies=3)
class DAdaptAdaGrad(DAdaptation):
    """D-Adapt AdaGrad: dual averaging by coordinate, at a lower bound d of the distance in the maximum norm.

    With ``λ_t = d_t γ_t``, ``a_t = a_{t-1} + g_t²``, ``s_t = s_{t-1} + λ_t g_t``, sums over all parameters and A = sqrt(a_t) + ε,
    ``r_t = r_{t-1} + Σ s_t² / (sqrt(a_t) + ε) - Σ s_{t-1}² / (sqrt(a_{t-1}) + ε)``, ``G_t = G_{t-1} + λ_t² Σ g_t² / A``,
    ``d̂ = (r_t - G_t) / ‖s_t‖_1``, ``d_{t+1} = max(d_t, d̂)``, ``x_t = μ x_{t-1} + (1 - μ) (x_0 - s_t / A)``.

    Notes
    -----
    While all gradients have been zero nothing moves.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("d-adapt-adagrad", d0=0.5, eps=0.0, initial=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([9.0]), o.init(np.array([0.0])))
    >>> print(x, s["d"])  # 0.5 · 9 / 9
    [-0.5] 0.5
    """

    momentum: float = hyper(0.0, "[0, 1)", "μ.")
    eps: float = hyper(1e-6, "[0, inf)", "ε, in the units of the gradient.")
    initial: float = hyper(1e-6, "[0, inf)", "a_0.")
    words = {"weight_decay": "λ: g + λ x is taken in the gradient's place. The paper has none."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, which is kept."""
        x = check_start(x, "x")
        start = {"s": params.zeros_like(x), "a": params.full_like(x, self.initial), "x0": params.copied(x)}
        return {"t": 0, "d": self.d0, "r": 0.0, "G": 0.0, **start}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("d", "r", "G", "s", "a", "x0")

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step."""
        t, d = s["t"] + 1, s["d"]
        g = params.axpy(self.weight_decay, x, g)
        weight = d * self.rate(t)
        a = map_leaves(lambda old, new: old + new * new, s["a"], g)
        G = s["G"] + weight * weight * params.dot(g, over_root(g, a, self.eps))
        before = params.dot(s["s"], over_root(s["s"], s["a"], self.eps))
        total = params.axpy(weight, g, s["s"])
        z = over_root(total, a, self.eps)
        r = s["r"] + params.dot(total, z) - before
        length = sum_abs(total)
        if length == 0.0:
            return params.copied(x), {**s, "t": t, "a": a}
        if weight > 0.0:
            d = self.grown(d, (r - G) / length)
        mu = self.momentum
        new = map_leaves(lambda old, start, step: mu * old + (1.0 - mu) * (start - step), x, s["x0"], z)
        return new, {"t": t, "d": d, "r": r, "G": G, "s": total, "a": a, "x0": s["x0"]}


@register("d-adapt-adan", source=DEFAZIO, where="the authors' code, dadapt_adan.py", state_copies=5,
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}))  # fmt: skip
class DAdaptAdan(DAdaptation):
    """D-Adapt Adan: Adan whose rate is a lower bound d of the distance from the start to the solution.

    With ``λ_t = d_t γ_t``, ``δ_t = g_t - g_{t-1}`` (0 at the first step), ``m_t = β1 m_{t-1} + (1 - β1) λ_t g_t``,
    ``w_t = β2 w_{t-1} + (1 - β2) λ_t δ_t``, ``n_t = β3 n_{t-1} + (1 - β3) (g_t + β2 δ_t)²``, ``s_t = β3 s_{t-1} + (1 - β3) λ_t g_t``, sums
    over all parameters and N = sqrt(n_t) + ε, ``G_t = β3 G_{t-1} + (1 - β3) λ_t² Σ g_t² / N``,
    ``d̂ = (Σ s_t² / N / (1 - β3) - G_t) / ‖s_t‖_1``, ``d_{t+1} = max(d_t, d̂)``,
    ``x_t = (x_{t-1} - (m_t + β2 w_t) / N) / (1 + λ_t λ)``.

    Notes
    -----
    The rate is inside m and w, and nothing is corrected for bias. While all gradients have been zero nothing moves.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("d-adapt-adan", d0=0.5, eps=0.0, weight_decay=0.0)
    >>> x, s = o.update(np.array([0.0]), np.array([9.0]), o.init(np.array([0.0])))
    >>> print(x.round(6))  # 0.5 times (1 - β1) / sqrt(1 - β3)
    [-0.1]
    """

    beta1: float = hyper(0.98, "[0, 1)", "β1.")
    beta2: float = hyper(0.92, "[0, 1)", "β2.")
    beta3: float = hyper(0.99, "[0, 1)", "β3.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    weight_decay: float = hyper(0.02, "[0, inf)", "λ.")
    decay: str = hyper("proximal", ("proximal", "beside"),
        "As above; or ``(1 - λ_t λ) x_{t-1} - (m_t + β2 w_t) / N`` (the code's no_prox).")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        zero = params.zeros_like(check_start(x, "x"))
        return {
            "t": 0,
            "k": 0,
            "d": self.d0,
            "G": 0.0,
            "m": zero,
            "w": zero,
            "n": zero,
            "s": zero,
            "last": zero,
        }

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("k", "d", "G", "m", "w", "n", "s", "last")

    def squares(self, ahead: Params) -> Params:
        """Return what n is the average of."""
        return map_leaves(lambda a: a * a, ahead)

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step."""
        t, k, d, beta2, beta3 = s["t"] + 1, s["k"], s["d"], self.beta2, self.beta3
        weight = d * self.rate(t)
        change = params.subtract(g, s["last"]) if k else params.zeros_like(g)

        def average(slot: str, new: Params, beta: float) -> Params:
            return map_leaves(lambda a, b: ema(a, b, beta, 1.0 - beta), s[slot], new)

        m, w = (
            average("m", params.scale(weight, g), self.beta1),
            average("w", params.scale(weight, change), beta2),
        )
        ahead = params.axpy(beta2, change, g)
        n, total = (
            average("n", self.squares(ahead), beta3),
            average("s", params.scale(weight, g), beta3),
        )
        G = ema(s["G"], weight * weight * params.dot(g, over_root(g, n, self.eps)), beta3, 1.0 - beta3)
        length = sum_abs(total)
        state = {"t": t, "k": k, "d": d, "G": G, "m": m, "w": w, "n": n, "s": total, "last": params.copied(g)}
        if length == 0.0:
            return params.copied(x), state
        if weight > 0.0:
            estimate = params.dot(total, over_root(total, n, self.eps)) / (1.0 - beta3) - G
            state["d"] = self.grown(d, estimate / length)
        state["k"] = k + 1
        shrink = weight * self.weight_decay
        keep, out = (1.0 - shrink, 1.0) if self.decay == "beside" else (1.0, 1.0 / (1.0 + shrink))
        step = over_root(params.axpy(beta2, w, m), n, self.eps)
        return map_leaves(lambda a, b: (keep * a - b) * out, x, step), state


@register("d-adapt-lion", source=DEFAZIO, where="the authors' code, dadapt_lion.py", state_copies=2)
class DAdaptLion(DAdaptation):
    """D-Adapt Lion: Lion whose rate is a lower bound d of the distance from the start to the solution.

    With ``λ_t = d_t γ_t``, b = sqrt(β2) and sums over all parameters, ``u_t = sign(β1 m_{t-1} + (1 - β1) g_t)``,
    ``x_t = (1 - λ_t λ) x_{t-1} - λ_t u_t``, ``m_t = β2 m_{t-1} + (1 - β2) λ_t g_t``, ``r_t = b r_{t-1} + (1 - b) λ_t <u_t, s_{t-1}>``,
    ``s_t = b s_{t-1} + (1 - b) λ_t u_t``, ``d̂ = r_t / ((1 - b) ‖s_t‖_1)``, ``d_{t+1} = max(d_t, d̂)``.

    Notes
    -----
    m has the rate in it and the new gradient in u has not, as in the code: with a d that is constant it is not Lion's mixture but at
    rate 1.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("d-adapt-lion", d0=0.5)
    >>> x, s = np.array([0.0]), o.init(np.array([0.0]))
    >>> for _ in range(2):
    ...     x, s = o.update(x, np.array([8.0]), s)
    >>> print(x)
    [-1.]
    """

    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.99, "[0, 1)", "β2.")
    decay: str = hyper(
        "decoupled", ("decoupled", "coupled"), "As above; or g + λ x is taken in the gradient's place."
    )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        zero = params.zeros_like(check_start(x, "x"))
        return {"t": 0, "d": self.d0, "r": 0.0, "m": zero, "s": zero}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("d", "r", "m", "s")

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step."""
        t, d, b = s["t"] + 1, s["d"], math.sqrt(self.beta2)
        coupled = self.decay == "coupled"
        g = params.axpy(self.weight_decay, x, g) if coupled else g
        weight = d * self.rate(t)
        mixed = map_leaves(lambda a, new: ema(a, new, self.beta1, 1.0 - self.beta1), s["m"], g)
        u = map_leaves(lambda a: namespace(a).sign(a), mixed)
        m = map_leaves(lambda a, new: ema(a, weight * new, self.beta2, 1.0 - self.beta2), s["m"], g)
        r = ema(s["r"], weight * params.dot(u, s["s"]), b, 1.0 - b)
        total = map_leaves(lambda a, new: ema(a, weight * new, b, 1.0 - b), s["s"], u)
        length = sum_abs(total)
        if length > 0.0 and weight > 0.0:
            d = self.grown(d, r / ((1.0 - b) * length))
        keep = 1.0 if coupled else 1.0 - weight * self.weight_decay
        new = map_leaves(lambda a, step: keep * a - weight * step, x, u)
        return new, {"t": t, "d": d, "r": r if length > 0.0 else s["r"], "m": m, "s": total}


dialect(DAdaptAdaGrad, "official", "facebookresearch/dadaptation dadapt_adagrad.py")
dialect(DAdaptAdan, "official", "facebookresearch/dadaptation dadapt_adan.py")
dialect(DAdaptLion, "official", "facebookresearch/dadaptation dadapt_lion.py")
