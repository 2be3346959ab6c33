"""Slips of whoever writes a rule out by hand: a sum for an average, a term in the neighbouring place."""

from __future__ import annotations

import math
from typing import Any

from refopt.core import params
from refopt.core.params import Params
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.trust import leaf_norm, trust_ratio
from refopt.verify.variants.deviation import (
    Around,
    altered,
    blended,
    deviation,
    fields,
    innermost,
    refit,
    rewritten,
    with_numbers,
)


@deviation(
    "weight-decay-in-the-quotient", "with the decay added to the corrected first average, and divided with it", stage="step"
)  # fmt: skip
def _(method: Any) -> Any:
    inner = innermost(method)
    have = fields(inner)
    decay, beta = float(have.get("weight_decay") or 0.0), float(have.get("beta1") or 0.0)
    if not decay or not beta or "m" not in getattr(inner, "active_slots", tuple)():
        return None
    share, plain = decay / beta, altered(inner, weight_decay=0.0)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            lifted = params.axpy(share * correction(beta, s["t"] + 1), x, s["m"])
            new, after = self.method.update(x, grad, {**s, "m": lifted})
            return new, {**after, "m": blended(s["m"], grad, beta)}

    return Changed(refit(method, plain))


@deviation(
    "mean-in-place-of-the-sum",
    "with the mean of the squares in place of their sum",
    stage="text",
    only=("adagrad",),
)
def _(method: Any) -> Any:
    def of_the_mean(self: Any, t: int, numbers: dict[str, float]) -> dict[str, float]:
        # g / (sqrt(G / t + a) + b) = sqrt(t) g / (sqrt(G + t a) + sqrt(t) b).
        lr, a, b = numbers["lr"], numbers["inside"], numbers["outside"]
        return {**numbers, "lr": math.sqrt(t) * lr, "inside": t * a, "outside": math.sqrt(t) * b}

    return with_numbers(method, of_the_mean)


@deviation(
    "ratio-of-the-velocity",
    "with the ratio to the velocity's norm, and of the velocity",
    stage="text",
    only=("lars",),
)
def _(method: Any) -> Any:
    have = fields(method)
    if have["nesterov"] or have["rate_inside"]:
        return None

    def rule(self: Any, xp: Any) -> Any:
        def lars(w, g, v, rate, mu, fresh, inside, out):  # type: ignore[no-untyped-def]
            v = mu * v + fresh * (g + self.weight_decay * w)
            return w - out * self._local(w, v, v, rate) * v, v

        return lars

    return rewritten(altered(method, joint=True), rule=rule)


# The rate itself where a norm is zero, with and without decay.
GUARDED = {"rate_without_ratio": True, "ratio_needs": "gradient", "always_adapt": True, "eps": 0.0}


def _on_the_velocity(method: Any, cap: float = math.inf) -> Any:
    """Put LARS's ratio, at most `cap`, on the velocity, which holds gradients without decay."""
    if method is None or fields(method)["nesterov"]:
        return None

    def rule(self: Any, xp: Any) -> Any:
        def lars(w, g, v, rate, mu, fresh, inside, out):  # type: ignore[no-untyped-def]
            v = mu * v + fresh * g
            local = self._local(w, g, g + self.weight_decay * w, rate)
            return w - inside * out * (local if cap == math.inf else xp.clip(local, max=cap)) * v, v

        return lars

    return rewritten(method, rule=rule)


deviation(
    "ratio-beside-the-velocity",
    "with the ratio on the velocity, which holds gradients without decay (the ratio alone has it)",
    stage="text",
    only=("lars",),
)(_on_the_velocity)


@deviation(
    "ratio-beside-the-velocity-or-the-rate",
    "with the ratio (which alone has the decay) on the velocity, and the rate itself where a norm is zero",
    stage="text",
    only=("lars",),
)
def _(method: Any) -> Any:
    return _on_the_velocity(altered(method, **GUARDED))


@deviation(
    "ratio-beside-the-velocity-capped",
    "with the ratio (which alone has the decay) on the velocity, and at most the rate itself",
    stage="text",
    only=("lars",),
)
def _(method: Any) -> Any:
    return _on_the_velocity(altered(method, **GUARDED), cap=1.0)


@deviation(
    "plain-without-ratio",
    "with the gradient alone, without decay, where a norm is zero or there is no decay",
    stage="text",
    only=("lars",),
    seen=("torch-optimizer 0.3.0 LARS, which has it from lightning-bolts",),
)
def _(method: Any) -> Any:
    decayed = fields(method)["weight_decay"] > 0.0

    def rule(self: Any, xp: Any) -> Any:
        def lars(w, g, v, rate, mu, fresh, inside, out):  # type: ignore[no-untyped-def]
            if decayed:
                u = g + self.weight_decay * w
                has = (leaf_norm(w) > 0.0) & (leaf_norm(g) > 0.0)
                g = xp.where(has, self._local(w, g, u, rate) * u, g)
            v = mu * v + fresh * inside * g
            return w - out * (inside * g + mu * v if self.nesterov else v), v

        return lars

    return rewritten(method, rule=rule)


@deviation(
    "ratio-before-the-decay",
    "with the ratio to the direction before decay is added to it",
    stage="text",
    only=("lamb",),
)
def _(method: Any) -> Any:
    have = fields(method)
    if not have["decay_in_ratio"] or have["eps_in_ratio"]:
        return None

    def rule(self: Any, xp: Any) -> Any:
        adapts = self.always_adapt or self.weight_decay > 0.0

        def lamb(x, g, m, v, lr, step, c1, c2):  # type: ignore[no-untyped-def]
            m = ema(m, g, self.beta1, 1.0 - self.beta1)
            v = ema(v, g * g, self.beta2, 1.0 - self.beta2)
            below = xp.sqrt(v / c2) + self.eps
            r = (m / c1) / xp.where(below > 0.0, below, xp.ones_like(below))
            size = xp.clip(leaf_norm(x), min=self.smallest_size, max=self.largest_size)
            ratio = trust_ratio(size, leaf_norm(r)) if adapts else 1.0
            return x - step * ratio * (r + self.weight_decay * x), m, v

        return lamb

    return rewritten(method, rule=rule)


@deviation(
    "eps-subtracted-in-the-variance",
    "with eps taken from the variance, which has no root where it is smaller",
    stage="text",
    only=("rmsprop",),
    seen=("tensorflow/tfjs RMSPropOptimizer(centered=true) (tfjs-core at 2e55c335)",),
)
def _(method: Any) -> Any:
    have = fields(method)
    if have["momentum"] or have["nesterov"]:
        return None

    def rule(self: Any, xp: Any) -> Any:
        def centered(x, g, v, m, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            v, m = ema(v, g * g, beta, fresh), ema(m, g, beta, fresh)
            return keep * x - out * gain * g / xp.sqrt(v - (m * m + (eps_in + eps_out))), v, m

        return centered

    return rewritten(altered(method, centered=True), rule=rule)


@deviation(
    "velocity-before-the-root",
    "with the velocity of the gradients as they come, divided by the root each time",
    stage="text",
    only=("rmsprop",),
)
def _(method: Any) -> Any:
    have = fields(method)
    if not have["momentum"] or have["nesterov"] or have["centered"]:
        return None

    def rule(self: Any, xp: Any) -> Any:
        divisor = nonzero(xp)

        def heavy(x, g, v, b, beta, fresh, weight, eps_in, eps_out, mu, gain, out, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            v, b = ema(v, g * g, beta, fresh), mu * b + gain * g
            return keep * x - out * b / divisor(xp.sqrt(v / weight + eps_in) + eps_out), v, b

        return heavy

    return rewritten(method, rule=rule)


@deviation(
    "norm-in-place-of-its-square",
    "with the average of norms, not of their squares, and no root of it",
    stage="text",
    only=("novograd",),
)
def _(method: Any) -> Any:
    def rule(self: Any, xp: Any) -> Any:
        divisor = nonzero(xp)

        def novograd(x, g, m, v, lr, beta1, gain, beta2, eps, d, keep):  # type: ignore[no-untyped-def]
            v = ema(v, leaf_norm(g), beta2, 1.0 - beta2)
            m = beta1 * m + gain * (g / divisor(v + eps) + d * x)
            return keep * x - lr * m, m, v

        return novograd

    return rewritten(method, rule=rule)


@deviation(
    "divided-by-the-renewed-average",
    "with the gradient divided by the root of the average that already holds it",
    stage="text",
    only=("adopt",),
)
def _(method: Any) -> Any:
    def rule(self: Any, xp: Any) -> Any:
        divisor = nonzero(xp, self.eps)

        def adopt(x, g, m, v, beta1, k1, beta2, k2, step, eps, bound, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            v = ema(v, g * g, beta2, k2)
            n = g / divisor(xp.maximum(xp.sqrt(v), eps))
            m = ema(m, xp.maximum(xp.minimum(n, bound), -bound), beta1, k1)
            return keep * x - step * m, m, v

        return adopt

    return rewritten(method, rule=rule)


@deviation("norm-corrected-too", "with bias correction of its norm too", stage="text", only=("adamax",))
def _(method: Any) -> Any:
    def corrected(self: Any, t: int, numbers: dict[str, float]) -> dict[str, float]:
        c = correction(self.beta2, t)
        return {**numbers, "step": c * numbers["step"], "outside": c * numbers["outside"]}

    return with_numbers(method, corrected)


@deviation(
    "slow-average-corrected", "with bias correction of its slow average too", stage="text", only=("ademamix",)
)
def _(method: Any) -> Any:
    def corrected(self: Any, t: int, numbers: dict[str, float]) -> dict[str, float]:
        # Of a beta3 that warms up there is no power; its present value's is what people write.
        return {**numbers, "slow": numbers["slow"] / correction(numbers["beta3"], t)}

    return with_numbers(method, corrected)


@deviation("alpha-on-the-fast-average", "with α on the fast average", stage="text", only=("ademamix",))
def _(method: Any) -> Any:
    def exchanged(self: Any, t: int, numbers: dict[str, float]) -> dict[str, float]:
        alpha, _ = self.warm(t)
        return {**numbers, "step": alpha * numbers["step"], "slow": self.rate(t)}

    return with_numbers(method, exchanged)
