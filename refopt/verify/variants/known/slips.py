"""Slips of whoever writes a rule out by hand: a sum for an average, a term in the neighbouring place."""

from __future__ import annotations

import math
from typing import Any

from refopt.core import params
from refopt.core.params import Params
from refopt.optimizers.common.averages import correction
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
