"""Slips of clipping: with a constant beside the norm, of the step, of a divisor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.params import Params, map_leaves
from refopt.optimizers.common.averages import correction, ema
from refopt.verify.variants.deviation import (
    Around,
    altered,
    around,
    deviation,
    fields,
    innermost,
    refit,
    rewritten,
)


def _by_norm(g: Params, limit: float) -> Params:
    return params.scale(min(1.0, limit / (params.norm(g) + 1e-6)), g)


def _by_leaf(g: Params, limit: float) -> Params:
    return map_leaves(lambda a: _by_norm(a, limit), g)


def _fed(transform: Callable[[Params], Params]) -> Callable[[Any], Any]:
    return around(lambda method, x, g, s: method.update(x, transform(g), s))


# As torch clips: with 1e-6 beside the norm.
for _limit in (1.0, 0.5, 5.0):
    for _tail, _by, _words in (("norm", _by_norm, "over all leaves"), ("leaf", _by_leaf, "leaf by leaf")):
        deviation(
            f"gradient-clipped-by-{_tail}-plus-1e-6" + ("" if _limit == 1.0 else f"-at-{_limit:g}"),
            f"on gradients clipped to norm {_limit:g} {_words}, with 1e-6 beside the norm",
            stage="step",
        )(_fed(functools.partial(_by, limit=_limit)))


@deviation("step-clipped", "with every entry of the step at most the rate", stage="step")
def _(method: Any) -> Any:
    inner = innermost(method)
    if not hasattr(inner, "rate") or "lr" not in fields(inner):
        return None
    strength = fields(inner).get("weight_decay") or 0.0
    # The decay stands beside the step that is clipped.
    plain = altered(inner, weight_decay=0.0) if strength else inner

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(x, grad, s)
            rate = inner.rate(after["t"])

            def short(a: Any, b: Any) -> Any:
                return a - rate * strength * a + namespace(a).clip(b - a, -rate, rate)

            return map_leaves(short, x, new), after

    return Changed(refit(method, plain))


@deviation(
    "divisor-clipped",
    "with the divisor clipped in place of the quotient",
    stage="text",
    only=("sophia",),
    seen=("kyegomez/Sophia (issue #19)",),
)
def _(method: Any) -> Any:
    def rule(self: Any, xp: Any) -> Any:
        def sophia(x, g, d, m, h, lr, beta1, k1, beta2, k2, gain, gamma, eps, limit, l2, keep):  # type: ignore[no-untyped-def]
            m = ema(m, g + l2 * x, beta1, k1)
            new = ema(h, d, beta2, k2)
            curvature = gamma * (h if self.stale else new)
            below = curvature + eps if self.eps_added else xp.where(curvature > eps, curvature, eps)
            below = xp.where(below > limit, limit, below)
            return keep * x - lr * gain * m / below, m, new

        return sophia

    return rewritten(method, rule=rule)


@deviation(
    "corrected-averages-stored",
    "with its corrected averages stored in the averages' place, the second where the step is rectified",
    stage="step",
    only=("radam",),
    seen=("holocron RAdam (issue #1 of August 2019)",),
)
def _(method: Any) -> Any:
    inner = innermost(method)

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(x, grad, s)
            t = after["t"]
            stored = {"m": params.scale(1.0 / correction(inner.beta1, t), after["m"])}
            if inner.scalars(t, None)["adaptive"] > 0.0:
                stored["v"] = params.scale(1.0 / correction(inner.beta2, t), after["v"])
            return new, {**after, **stored}

    return Changed(method)
