"""SARAH, SARAH+ (Nguyen et al. 2017), and AI-SARAH, which finds its own rate (Shi et al. 2021)."""

from __future__ import annotations

from refopt.core import params
from refopt.core.hyper import Rate, hyper
from refopt.core.method import Method, State
from refopt.core.oracle import Oracle
from refopt.core.params import Params, axpy, copied, map_leaves, zeros_like
from refopt.core.registry import Source, register

NGUYEN = Source("nguyen-2017-sarah", "L. M. Nguyen, J. Liu, K. Scheinberg, M. Takáč",
    "SARAH: A Novel Method for Machine Learning Problems Using Stochastic Recursive Gradient",
    arxiv="1703.00102")  # fmt: skip
SHI = Source("shi-2021-aisarah", "Z. Shi, A. Sadiev, N. Loizou, P. Richtárik, M. Takáč",
    "AI-SARAH: Adaptive and Implicit Stochastic Recursive Gradient Methods", arxiv="2102.09700")  # fmt: skip


def recursion(oracle: Oracle, x: Params, before: Params, v: Params) -> Params:
    """Return ``∇f_i(x) - ∇f_i(before) + v`` on the batch."""
    here = copied(oracle.grad(x))
    return map_leaves(lambda a, b, c: a - b + c, here, oracle.grad(before), v)


@register("sarah", source=NGUYEN, where="Algorithm 1, and Algorithm 2 (SARAH+)")
class SARAH(Method):
    """SARAH: a stochastic gradient made by adding, step by step, what the batch's gradient has changed.

    Outer loop: ``w_0 = w̃``, ``v_0 = ∇P(w_0)``, ``w_1 = w_0 - η v_0``; for t = 1 … m-1
    ``v_t = ∇f_i(w_t) - ∇f_i(w_{t-1}) + v_{t-1}``, ``w_{t+1} = w_t - η v_t``. The next w̃ is one of w_0 … w_m, drawn
    uniformly. SARAH+ ends a loop as soon as ``‖v_t‖² ≤ γ ‖v_0‖²``, and goes on from the last iterate.

    Notes
    -----
    Batches are the driver's: ``minimize(..., batch_size=1, sampling="replacement")`` is the paper's setting. The
    first step of a loop asks for the full gradient and is one of the m.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "sarah", lr=0.05, inner_steps=569, steps=569, batch_size=1, sampling="replacement")
    >>> r.calls["grad"]  # the full one, and two a step
    1137
    """

    lr: Rate = hyper(0.01, "[0, inf)", "η.")
    inner_steps: int | None = hyper(None, "int [1, inf)", "m. None: twice the number of batches in the data.")
    option: str = hyper("uniform", ("uniform", "last"),
        "The next w̃: drawn from w_0 … w_m (the theorems), or w_m (the authors' practice).")  # fmt: skip
    gamma: float | None = hyper(None, "[0, 1)",
        "γ of SARAH+, whose option is the last; the paper takes 1/8. None: SARAH.")  # fmt: skip

    def init(self, x: Params) -> State:
        """Return the state at the start `x`."""
        x = copied(x)
        return {"t": 0, "k": 0, "v": zeros_like(x), "previous": x, "chosen": x, "choice": 0, "norm": 0.0}

    def inner_loop(self, oracle: Oracle) -> int:
        """Return m."""
        if self.inner_steps is not None:
            return self.inner_steps
        batch = oracle.n_examples if oracle.batch is None else oracle.batch.size
        return max(1, 2 * oracle.n_examples // batch)

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Ask for the full gradient where a loop begins, else correct; and step."""
        k, m, choice, chosen, norm = s["k"], self.inner_loop(oracle), s["choice"], s["chosen"], s["norm"]
        draws = self.option == "uniform" and self.gamma is None
        if k == 0:
            if draws:
                # w_m is the point that the last loop left; the others were set aside as they were passed.
                x = chosen if choice < m and s["t"] > 0 else x
                choice = int(oracle.rng.integers(0, m + 1))
            v = copied(oracle.full.grad(x))
            norm = params.norm(v)
        else:
            v = recursion(oracle, x, s["previous"], s["v"])
        chosen = x if k == choice else chosen
        t, k = s["t"] + 1, (k + 1) % m
        if self.gamma is not None and params.norm(v) <= self.gamma**0.5 * norm:
            k = 0
        new = {"t": t, "k": k, "v": v, "previous": x, "chosen": chosen, "choice": choice, "norm": norm}
        return axpy(-self.rate(t), v, x), new


@register("ai-sarah", source=SHI, where="Algorithm 1, with one Newton step a rate", needs=("grad", "hvp", "third"),
    also=(NGUYEN,))  # fmt: skip
class AISARAH(Method):
    """AI-SARAH: SARAH whose rate makes the next direction short, to a bound that follows the local smoothness.

    With ``ξ(α) = ‖∇f_S(w - α v) - ∇f_S(w) + v‖²``, ``α̃ = -ξ'(0)/|ξ''(0)|``, where
    ``ξ'(0) = -2 vᵀHv`` and ``ξ''(0) = 2 ‖Hv‖² + 2 D³f_S[v, v, v]``; ``α = min(α̃, α_max)``, ``w⁺ = w - α v``,
    ``v⁺ = ∇f_S(w⁺) - ∇f_S(w) + v``. Then ``δ ← β δ + (1 - β)/α̃`` (at first δ = 1/α̃) and ``α_max = 1/δ``. A loop
    begins with ``v = ∇P(w)`` and ends when ``‖v‖² < γ ‖v_0‖²``. There is no rate to set.

    Examples
    --------
    >>> import refopt
    >>> p = refopt.problem("logistic", l2=0.1)
    >>> r = refopt.minimize(p, "ai-sarah", batch_size=64, steps=60, record="full")
    >>> bool(r.history["grad_norm"][-1] < 1e-2 * r.history["grad_norm"][0])
    True
    """

    beta: float = hyper(0.999, "[0, 1]", "β.")
    gamma: float = hyper(1 / 32, "(0, 1)", "γ.")

    def init(self, x: Params) -> State:
        """Return the state at the start `x`: no direction, and no bound (δ = 0)."""
        return {"t": 0, "k": 0, "v": zeros_like(x), "norm": 0.0, "delta": 0.0}

    def step(self, x: Params, s: State, oracle: Oracle) -> tuple[Params, State]:
        """Begin a loop where the last one ended; find the rate, step and correct."""
        k, v, norm, delta = s["k"], s["v"], s["norm"], s["delta"]
        if k == 0:
            v = copied(oracle.full.grad(x))
            norm = params.norm(v)
        rate = newton_rate(oracle, x, v)
        alpha = min(rate, 1.0 / delta) if delta > 0.0 else rate
        if rate > 0.0:
            delta = self.beta * delta + (1.0 - self.beta) / rate if delta > 0.0 else 1.0 / rate
        new = axpy(-alpha * self.multiplier(s["t"] + 1), v, x)
        v = recursion(oracle, new, x, v)
        k = 0 if params.norm(v) < self.gamma**0.5 * norm else k + 1
        return new, {"t": s["t"] + 1, "k": k, "v": v, "norm": norm, "delta": delta}


def newton_rate(oracle: Oracle, x: Params, v: Params) -> float:
    """Return α̃ on the batch; 0 where ξ'' is 0."""
    size = params.norm(v)
    if size == 0.0:
        return 0.0
    # Along a unit vector u = v/s: α̃ = uᵀHu / |‖Hu‖² + s D³[u, u, u]|; squares of a small v would be zero.
    u = params.scale(1.0 / size, v)
    hu = oracle.hvp(x, u)
    length = params.norm(hu)
    below = abs(length * length + size * oracle.third(x, u))
    return params.dot(u, hu) / below if below > 0.0 else 0.0
