"""D-Adaptation of SGD and Adam: rates from a lower bound of the distance to the solution (Defazio and Mishchenko 2023)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.arrays import Array, namespace
from refopt.core.hyper import Rate, hyper
from refopt.core.method import GradientMethod, State
from refopt.core.params import Params, check_start, map_leaves
from refopt.core.registry import Source, dialect, register
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.sums import sum_abs

DEFAZIO = Source("defazio-2023-learning", "A. Defazio, K. Mishchenko", "Learning-Rate-Free Learning by D-Adaptation",
    arxiv="2301.07733")  # fmt: skip


class DAdaptation(GradientMethod):
    """What both share: the estimate d, which never falls."""

    lr: Rate = hyper(1.0, "[0, inf)", "γ, without a unit; leave it at 1, with a schedule.")
    d0: float = hyper(1e-6, "(0, inf)", "The first d, in the units of x: below the distance to be travelled.")
    growth_rate: float = hyper(float("inf"), "[1, inf]", "d grows by no more than this factor a step.")
    weight_decay: float = hyper(0.0, "[0, inf)", "λ. The paper has none.")

    def grown(self, d: float, estimate: float) -> float:
        """Return the next d."""
        return max(d, min(estimate, d * self.growth_rate))


@register("d-adapt-sgd", source=DEFAZIO, where="SGD with D-Adaptation")
class DAdaptSGD(DAdaptation):
    """D-Adapt SGD: SGD whose rate is a lower bound d of the distance from the start to the solution, over ‖g_1‖.

    ``λ_t = d_t γ_t / ‖g_1‖``, ``r_t = r_{t-1} + λ_t <g_t, s_{t-1}>``, ``s_t = s_{t-1} + λ_t g_t``, ``d̂ = 2 r_t / ‖s_t‖``,
    ``d_{t+1} = max(d_t, d̂)``, ``z_t = x_0 - s_t``, ``x_t = μ x_{t-1} + (1 - μ) z_t``. Norms and products are over all parameters.

    Notes
    -----
    While all gradients have been zero nothing moves. For convex f and gradients at z no d is above the distance.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> o = refopt.optimizer("d-adapt-sgd", d0=0.5)
    >>> x, s = o.update(np.array([0.0]), np.array([8.0]), o.init(np.array([0.0])))
    >>> x, s = o.update(x, np.array([8.0]), s)
    >>> print(x, s["d"])  # two steps of d, then d = 2 · 0.25 / 1
    [-1.] 0.5
    """

    momentum: float = hyper(0.0, "[0, 1)", "μ.")
    decays_first: bool = hyper(
        True, words="False: ‖g_1‖ is that of the gradient without λ x (the authors' code)."
    )
    words = {"weight_decay": "λ: g + λ x is taken in the gradient's place. The paper has none."}

    def init(self, x: Params) -> State:
        """Return the state at the start `x`, which is kept."""
        x = check_start(x, "x")
        return {
            "t": 0,
            "d": self.d0,
            "r": 0.0,
            "first": 0.0,
            "s": params.zeros_like(x),
            "x0": params.copied(x),
        }

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("d", "r", "first", "s", "x0")

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step."""
        t, d = s["t"] + 1, s["d"]
        decayed = params.axpy(self.weight_decay, x, g)
        first = s["first"] or params.norm(decayed if self.decays_first else g)
        if first == 0.0:
            return params.copied(x), {**s, "t": t}
        weight = d * self.rate(t) / first
        r = s["r"] + weight * params.dot(decayed, s["s"])
        total = params.axpy(weight, decayed, s["s"])
        length = params.norm(total)
        if length > 0.0 and weight > 0.0:
            d = self.grown(d, 2.0 * r / length)
        mu = self.momentum
        new = map_leaves(lambda a, start, b: mu * a + (1.0 - mu) * (start - b), x, s["x0"], total)
        return new, {"t": t, "d": d, "r": r, "first": first, "s": total, "x0": s["x0"]}


def over_root(a: Params, v: Params, eps: float) -> Params:
    """Return ``a / (sqrt(v) + ε)``."""

    def one(a: Array, v: Array) -> Array:
        xp = namespace(a)
        return a / nonzero(xp)(xp.sqrt(v) + eps)

    return map_leaves(one, a, v)


@register("d-adapt-adam", source=DEFAZIO, where="Adam with D-Adaptation", state_copies=3,
    calm_problem=("matrix-sensing", {"n": 6, "rank": 2}))  # fmt: skip
class DAdaptAdam(DAdaptation):
    """D-Adapt Adam: Adam whose rate is a lower bound d of the distance from the start to the solution.

    With ``b = sqrt(β2)`` and sums over all parameters, ``λ_t = d_t γ_t``,
    ``r_t = b r_{t-1} + (1 - b) λ_t <g_t, s_{t-1} / (sqrt(v_{t-1}) + ε)>``, ``m_t = β1 m_{t-1} + (1 - β1) λ_t g_t``,
    ``v_t = β2 v_{t-1} + (1 - β2) g_t²``, ``s_t = b s_{t-1} + (1 - b) λ_t g_t``, ``d̂ = r_t / ((1 - b) ‖s_t‖_1)``,
    ``d_{t+1} = max(d_t, d̂)``, ``x_t = x_{t-1} - m_t / (sqrt(v_t) + ε)``.

    Notes
    -----
    The rate is inside m. While all gradients have been zero nothing moves and no step is counted in the corrections.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("quadratic", n=4, condition_number=10.0)
    >>> refopt.minimize(p, "d-adapt-adam", steps=400).fun < 1e-3
    True
    """

    beta1: float = hyper(0.9, "[0, 1)", "β1.")
    beta2: float = hyper(0.999, "[0, 1)", "β2.")
    eps: float = hyper(1e-8, "[0, inf)", "ε, in the units of the gradient.")
    bias_correction: bool = hyper(False, words="True: ``sqrt(1 - β2^t) / (1 - β1^t)`` multiplies λ_t.")
    decay: str = hyper(
        "coupled",
        ("coupled", "decoupled"),
        "g + λ x in the gradient's place, or ``x - λ_t λ x`` beside the step.",
    )

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        zero = params.zeros_like(check_start(x, "x"))
        return {"t": 0, "k": 0, "d": self.d0, "r": 0.0, "m": zero, "v": zero, "s": zero}

    def active_slots(self) -> tuple[str, ...]:
        """Return the names that a state must have."""
        return ("k", "d", "r", "m", "v", "s")

    def _update(self, x: Params, g: Params, s: State, donate: bool) -> tuple[Params, State]:
        """Make one step."""
        t, k, d, beta = s["t"] + 1, s["k"] + 1, s["d"], self.beta2**0.5
        if self.decay == "coupled":
            g = params.axpy(self.weight_decay, x, g)
        weight = d * self.rate(t)
        if self.bias_correction:
            weight *= correction(self.beta2, k) ** 0.5 / correction(self.beta1, k)
        product = weight * params.dot(g, over_root(s["s"], s["v"], self.eps))
        m = map_leaves(lambda a, b: ema(a, weight * b, self.beta1, 1.0 - self.beta1), s["m"], g)
        v = map_leaves(lambda a, b: ema(a, b * b, self.beta2, 1.0 - self.beta2), s["v"], g)
        total = map_leaves(lambda a, b: ema(a, weight * b, beta, 1.0 - beta), s["s"], g)
        length = sum_abs(total)
        if length == 0.0:
            return params.copied(x), {**s, "t": t, "m": m, "v": v, "s": total}
        r = ema(s["r"], product, beta, 1.0 - beta)
        if weight > 0.0:
            d = self.grown(d, r / ((1.0 - beta) * length))
        keep = 1.0 - weight * self.weight_decay if self.decay == "decoupled" else 1.0
        new = map_leaves(lambda a, b: keep * a - b, x, over_root(m, v, self.eps))
        return new, {"t": t, "k": k, "d": d, "r": r, "m": m, "v": v, "s": total}


dialect(DAdaptSGD, "official", "facebookresearch/dadaptation dadapt_sgd.py", decays_first=False)
dialect(
    DAdaptSGD, "kozistr", "pytorch_optimizer 4.1 DAdaptSGD, without decay", momentum=0.9, decays_first=False
)
dialect(
    DAdaptAdam,
    "official",
    "facebookresearch/dadaptation dadapt_adam.py; pytorch_optimizer 4.1 DAdaptAdam alike",
)
dialect(DAdaptAdam, "optax", "optax 0.2.8 contrib.dadapt_adamw", "NaN for ever after a first gradient of zero, which is a fault (the deviation nan-after-a-zero-gradient)",
    bias_correction=True, decay="decoupled")  # fmt: skip
