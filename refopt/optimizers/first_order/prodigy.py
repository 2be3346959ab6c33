"""Prodigy: Adam that finds its own rate from the distance travelled (Mishchenko and Defazio 2023)."""

from __future__ import annotations

from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import (
    Params,
    check_start,
    copied,
    dot,
    map_leaves,
    subtract,
    zeros_like,
)
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.sums import sum_abs

MISHCHENKO = Source("mishchenko-2023-prodigy", "K. Mishchenko, A. Defazio",
    "Prodigy: An Expeditiously Adaptive Parameter-Free Learner", arxiv="2306.06101")  # fmt: skip


@register(
    "prodigy",
    source=MISHCHENKO,
    where="the Adam version of Prodigy",
    state_copies=4,
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}),
)
class Prodigy(GradientMethod):
    """Prodigy: Adam whose rate is an estimate d of the distance from the start to the solution.

    With ``δ_k = d_k γ_k``, β3 = sqrt(β2) and sums over all parameters,
    ``r_{k+1} = β3 r_k + (d_k / d_0) δ_k <g_k, x_0 - x_k>``,
    ``s_{k+1} = β3 s_k + (d_k / d_0) δ_k g_k``, ``d̂ = r_{k+1} / ‖s_{k+1}‖_1``,
    ``d_{k+1} = max(d_k, d̂)``, ``m_{k+1} = β1 m_k + (1 - β1) d_k g_k``,
    ``v_{k+1} = β2 v_k + (1 - β2) d_k² g_k²``, ``x_{k+1} = x_k - δ_k m_{k+1} / (sqrt(v_{k+1}) + d ε)``.

    Notes
    -----
    While all gradients have been zero nothing but the averages moves. ε is multiplied by the new d.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=10.0)
    >>> refopt.minimize(p, "prodigy", steps=400).fun < 1e-6
    True
    """

    lr: Rate = hyper(1.0, "[0, inf)", "γ, without a unit; leave it at 1, with a schedule.")
    beta1: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.999, "[0, 1)")
    beta3: float | None = hyper(None, "[0, 1)", "None: sqrt(β2).")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    d0: float = hyper(
        1e-6, "(0, inf)", "The first d, in the units of x: well below the distance to be travelled."
    )
    d_coef: float = hyper(1.0, "(0, inf)", "Multiplies d̂.")
    growth_rate: float = hyper(
        float("inf"), "[1, inf]", "d grows by no more than this factor a step (after it has left d0)."
    )
    bias_correction: bool = hyper(
        False, words="True: Adam's corrections ``sqrt(1 - β2^t) / (1 - β1^t)`` multiply δ."
    )
    safeguard_warmup: bool = hyper(False, words="True: δ is replaced by d in s.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ.")
    decay: str = hyper("decoupled", ("decoupled", "coupled"),
        "``x - δ λ x`` beside the step; or g + λ x in the gradient's place.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, which is kept."""
        x = check_start(x, "x")
        zero = zeros_like(x)
        numbers = {"t": 0, "k": 0, "d": self.d0, "d_max": self.d0, "r": 0.0}
        return {**numbers, "m": zero, "v": zero, "s": zero, "x0": copied(x)}

    def distance(self, d: float, d_max: float, estimate: float) -> tuple[float, float]:
        """Return the next d and the largest estimate so far."""
        if d == self.d0:
            d = max(d, estimate)
        d_max = max(d_max, estimate)
        return min(d_max, d * self.growth_rate), d_max

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step."""
        t, k, d = s["t"] + 1, s["k"] + 1, s["d"]
        beta3 = self.beta2**0.5 if self.beta3 is None else self.beta3
        delta = d * self.rate(t)
        if self.bias_correction:
            delta *= correction(self.beta2, k) ** 0.5 / correction(self.beta1, k)
        if self.decay == "coupled":
            g = map_leaves(lambda a, b: a + self.weight_decay * b, g, x)

        weight = d / self.d0 * (d if self.safeguard_warmup else delta)
        total = map_leaves(lambda a, b: beta3 * a + weight * b, s["s"], g)
        m = map_leaves(lambda a, b: ema(a, d * b, self.beta1, 1.0 - self.beta1), s["m"], g)
        v = map_leaves(lambda a, b: ema(a, d * d * (b * b), self.beta2, 1.0 - self.beta2), s["v"], g)
        below = sum_abs(total)
        if below == 0.0:
            return x, {**s, "t": t, "m": m, "v": v}

        r = beta3 * s["r"] + d / self.d0 * delta * dot(g, subtract(s["x0"], x))
        new_d, d_max = self.distance(d, s["d_max"], self.d_coef * r / below)
        keep = 1.0 - delta * self.weight_decay if self.decay == "decoupled" else 1.0

        def move(a: Array, first: Array, second: Array) -> Array:
            xp = namespace(a)
            root = xp.sqrt(second) + new_d * self.eps
            return keep * a - delta * first / xp.where(root > 0.0, root, xp.ones_like(root))

        numbers = {"t": t, "k": k, "d": new_d, "d_max": d_max, "r": r}
        return map_leaves(move, x, m, v), {**numbers, "m": m, "v": v, "s": total, "x0": s["x0"]}


dialect(Prodigy, "official", "konstmish/prodigy 1.1.2", "its branch for beta1 = 0 is faulty and not followed")
dialect(Prodigy, "optax", "optax 0.2.8 contrib.prodigy", bias_correction=True)
