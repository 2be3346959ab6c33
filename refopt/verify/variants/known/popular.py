"""Faults of the widespread methods beyond Adam's kin, as published releases have them."""

from __future__ import annotations

from typing import Any

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.params import Params, map_leaves
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.optimizers.common.factored import rms
from refopt.verify.variants.deviation import (
    Around,
    altered,
    deviation,
    fields,
    innermost,
    refit,
    rewritten,
    with_numbers,
    with_shared,
)


@deviation(
    "residual-of-the-old-average", "with the residual about the average of the step before", stage="text",
    seen=("optax 0.2.8 acprop (pull request #1716, open)",), only=("acprop",),
)  # fmt: skip
def _(method: Any) -> Any:
    eps = fields(method)["eps"]

    def rule(self: Any, xp: Any) -> Any:
        divisor = nonzero(xp, eps)

        def acprop(x, g, m, s, beta1, k1, beta2, k2, own, average, plain, root, eps, added, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            away = g - m
            m = ema(m, g, beta1, k1)
            s = s + added
            x = keep * x - (own * g + average * m) / divisor(xp.sqrt(s) * root + eps) - plain * m
            return x, m, ema(s, away * away, beta2, k2)

        return acprop

    return rewritten(method, rule=rule)


@deviation(
    "step-of-the-last-call", "with the step of the call before, and none in the first call", stage="step",
    seen=("optax 0.2.8 rprop (pull request #1725, open)",), only=("rprop",),
)  # fmt: skip
def _(method: Any) -> Any:
    inner = innermost(method)
    plain = altered(inner, turned="none", bounds_always=False) or inner

    class Changed(Around):
        def init(self, x: Params) -> Any:
            return {**plain.init(x), "due": params.zeros_like(x)}

        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            _, after = plain.update(x, grad, s)

            def move(p: Any, delta: Any) -> Any:
                return -namespace(p).sign(p) * delta

            def now(due: Any, p: Any, g: Any) -> Any:
                xp = namespace(g)
                return xp.where((p == 0.0) & (g != 0.0), xp.zeros_like(due), due)

            applied = map_leaves(now, s["due"], after["previous"], grad)
            return params.axpy(1.0, applied, x), {
                **after,
                "due": map_leaves(move, after["previous"], after["delta"]),
            }

    return Changed(plain)


@deviation(
    "decay-divides-the-point-alone", "with x divided by 1 + rate·decay before the step, not behind it", stage="text",
    seen=("optax 0.2.8 momo and momo_adam (pull request #1787, open)",), only=("momo", "momo-adam"),
)  # fmt: skip
def _(method: Any) -> Any:
    if not fields(method)["weight_decay"]:
        return None

    def moved(self: Any, x: Params, direction: Params, tau: float, lr: float) -> Params:
        return params.axpy(-tau, direction, params.scale(1.0 / self.shrinks(lr), x))

    return rewritten(method, moved=moved)


@deviation(
    "average-in-place-of-the-sum", "with an average in place of the sum of gradients, and the correction of the squares divided by twice",
    stage="text", seen=("pytorch-optimizer 4.1.0 SimplifiedAdEMAMix (and 3.9.0 to 4.0.0)",), only=("simplified-ademamix",),
)  # fmt: skip
def _(method: Any) -> Any:
    eps, beta2 = fields(method)["eps"], fields(method)["beta2"]

    def rule(self: Any, xp: Any) -> Any:
        divisor = nonzero(xp, eps)

        def simplified_ademamix(x, g, m, v, beta, beta2, k2, alpha, step, root, eps, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            m, v = ema(m, g, beta, 1.0 - beta), ema(v, g * g, beta2, k2)
            return keep * x - step * (alpha * g + m) / divisor(xp.sqrt(v) * root + eps), m, v

        return simplified_ademamix

    return with_numbers(
        rewritten(method, rule=rule),
        lambda self, t, numbers: {**numbers, "step": numbers["step"] / correction(beta2, t)},
    )


@deviation(
    "warm-up-of-the-last-step", "with the warm-up of the step before in the step, and this step's in the weight of the average", stage="text",
    seen=("optax 0.2.8 contrib.schedule_free (pull request #1744, open)",), only=("schedule-free-sgd", "schedule-free-adamw"),
)  # fmt: skip
def _(method: Any) -> Any:
    warmup = fields(method)["warmup"]
    if not warmup:
        return None

    def late(self: Any, t: int, numbers: dict[str, float]) -> dict[str, float]:
        return {**numbers, "gamma": numbers["gamma"] / min(1.0, t / warmup) * min(1.0, (t - 1) / warmup)}

    return with_numbers(method, late)


@deviation(
    "average-from-the-new-iterate", "with the average rebuilt from the iterate after its step, not before", stage="step",
    seen=("keras 3.15.1 ScheduleFreeAdamW on torch",), only=("schedule-free-sgd", "schedule-free-adamw"),
)  # fmt: skip
def _(method: Any) -> Any:
    inner = innermost(method)
    beta = fields(inner)["beta"]
    if beta == 0.0:
        return None

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            _, after = self.method.update(x, grad, s)
            t = after["t"]
            c = inner.weight(t, after["top"]) / after["total"] if after["total"] > 0.0 else 0.0
            before = map_leaves(lambda y, z: (y - (1.0 - beta) * z) / beta, x, after["z"])
            mean = map_leaves(lambda a, z: a + c * (z - a), before, after["z"])
            return map_leaves(lambda a, z: z + beta * (a - z), mean, after["z"]), {**after, "average": mean}

    return Changed(method)


@deviation(
    "decay-of-the-iterate-alone", "with the iterate decayed before the step and the average rebuilt from it, so that z has no decay", stage="step",
    seen=("keras 3.15.1 ScheduleFreeAdamW",), only=("schedule-free-sgd", "schedule-free-adamw"),
)  # fmt: skip
def _(method: Any) -> Any:
    inner = innermost(method)
    beta, decay = fields(inner)["beta"], fields(inner)["weight_decay"]
    if beta == 0.0 or decay == 0.0:
        return None

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            rate = inner.rate(s["t"] + 1)
            # y is (1 - β) z + β average: what it loses, the average loses over β.
            mean = map_leaves(lambda a, y: a - rate * decay / beta * y, s["average"], x)
            return self.method.update(x, grad, {**s, "average": mean})

    return Changed(refit(method, altered(inner, weight_decay=0.0)))


@deviation(
    "clipped-from-below", "with steps divided by min(1, RMS / d) in place of max", stage="text",
    seen=("pytorch-optimizer 3.11.0 AdaFactor, one tensor at a time (fixed in 4.0.0)",), only=("adafactor", "came"),
)  # fmt: skip
def _(method: Any) -> Any:
    def longer(u: Any, threshold: float) -> Any:
        return u / nonzero(namespace(u))(namespace(u).clip(rms(u) / threshold, max=1.0))

    return with_shared(method, "clipped_rms", lambda m: longer)


@deviation(
    "vectors-average-times-the-rate", "with a vector's average multiplied by the rate where it is kept", stage="step",
    seen=("pytorch-optimizer 3.11.0 CAME (fixed in 4.0.0)",), only=("came",),
)  # fmt: skip
def _(method: Any) -> Any:
    inner = innermost(method)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            x, after = self.method.update(x, grad, s)
            rate = inner.rate(after["t"])
            return x, {**after, "m": map_leaves(lambda a: rate * a if a.ndim < 2 else a, after["m"])}

    return Changed(method)


@deviation(
    "norm-not-kept", "with the average of the norms forgotten after every step, so that no gradient is lengthened", stage="step",
    seen=("pytorch-optimizer 3.10.1 AdaNorm (fixed in 3.11.0)",), only=("adanorm",),
)  # fmt: skip
def _(method: Any) -> Any:
    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            x, after = self.method.update(x, grad, s)
            return x, {**after, "e": params.zeros_like(after["e"])}

    return Changed(method)
