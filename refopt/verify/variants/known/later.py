"""Faults of the methods of recent years, as published releases have them."""

from __future__ import annotations

import math
from typing import Any

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.params import Params, leaves, map_leaves
from refopt.optimizers.common.averages import correction, ema
from refopt.optimizers.common.division import nonzero
from refopt.verify.variants.deviation import Around, blended, deviation, fields, innermost, rewritten


@deviation(
    "moment-of-the-new-average", "with its conditional second moment of the average that has the new gradient already", stage="text",
    seen=("pytorch-optimizer 4.1.0 BCOS",), only=("bcos",),
)  # fmt: skip
def _(method: Any) -> Any:
    if fields(method).get("mode") not in ("conditional", "simple"):
        return None
    eps = fields(method)["eps"]

    def rule(self: Any, xp: Any) -> Any:
        divisor = nonzero(xp, eps)

        def conditional(x, g, m, first, beta, k, of_m, of_g, of_both, lr, eps, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            m = ema(m + first * g, g, beta, k)
            v = of_m * (m * m) + of_g * (g * g) + of_both * (m * g)
            return keep * x - lr * m / divisor(xp.sqrt(v) + eps), m

        return conditional

    return rewritten(method, rule=rule)


@deviation(
    "eps-summed-with-the-squares", "with eps added to the sum of squares at every step, and kept", stage="text",
    seen=("pytorch-optimizer 4.1.0 Kate",), only=("kate",),
)  # fmt: skip
def _(method: Any) -> Any:
    if not fields(method)["eps"]:
        return None

    def rule(self: Any, xp: Any) -> Any:
        def kate(x, g, m2, b2, lr, eta, eps, l2, keep):  # type: ignore[no-untyped-def]
            g = g + l2 * x
            b2 = b2 + g * g + eps
            m2 = m2 + eta * (g * g) + g * g / b2
            return keep * x - lr * xp.sqrt(m2) / b2 * g, m2, b2

        return kate

    return rewritten(method, rule=rule)


@deviation(
    "weights-of-the-next-step", "with the bound and the weights of the step after", stage="text",
    seen=("pytorch-optimizer 4.1.0 A2Grad, variants uni and exp",), only=("a2grad",),
)  # fmt: skip
def _(method: Any) -> Any:
    if fields(method)["average"] == "inc":
        return None
    plain = type(method).scalars

    def scalars(self: Any, t: int, carried: Any) -> dict[str, float]:
        ahead = plain(self, t + 1, carried)
        # The running mean is right, and so is the first weight of all.
        return {**ahead, "share": 1.0 / t, "before": ahead["before"] if t > 1 else 1.0}

    return rewritten(method, scalars=scalars)


@deviation(
    "start-lost-where-no-gradient-was", "with zero in the place of a start that no gradient has moved", stage="step",
    seen=("pytorch-optimizer 4.1.0 FTRL",), only=("ftrl",),
)  # fmt: skip
def _(method: Any) -> Any:
    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            new, after = self.method.update(x, grad, s)
            return map_leaves(lambda a, n: namespace(a).where(n > 0.0, a, 0.0 * a), new, after["n"]), after

    return Changed(method)


@deviation(
    "rates-corrected-and-their-norm-a-step-behind",
    "with Adam's corrections, no first step, and rates over the root mean square of the step before's", stage="step",
    seen=("pytorch-optimizer 4.1.0 AvaGrad, and the authors' code",), only=("avagrad",),
)  # fmt: skip
def _(method: Any) -> Any:
    inner = innermost(method)
    beta1, beta2, eps = inner.beta1, inner.beta2, inner.eps

    class Changed(Around):
        def init(self, x: Params) -> Any:
            return {**self.method.init(x), "behind": 0.0}

        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            t = s["t"] + 1
            grad, x = params.axpy(inner.coupled(), x, grad), params.scale(inner.keep(t), x)
            m = blended(s["m"], grad, beta1)
            if t > 1:
                rate = inner.rate(t) * s["behind"] / correction(beta1, t)
                last = correction(beta2, t - 1) ** -0.5

                def move(p: Any, a: Any, v: Any) -> Any:
                    return p - rate * a / (namespace(v).sqrt(v) * last + eps)

                x = map_leaves(move, x, m, s["v"])
            root = correction(beta2, t) ** -0.5
            found = [namespace(v).sqrt(v) * root + eps for v in leaves(s["v"]).values()]
            mean = sum(float(namespace(r).sum(r**-2.0)) for r in found) / sum(
                math.prod(r.shape) for r in found
            )
            squares = map_leaves(lambda g: g * g, grad)
            return x, {**s, "t": t, "m": m, "v": blended(s["v"], squares, beta2), "behind": mean**-0.5}

    return Changed(method)


@deviation(
    "squares-of-squares", "with the average of fourth powers in the place of squares", stage="text",
    seen=("pytorch-optimizer 4.1.0 DAdaptAdan",), only=("d-adapt-adan",),
)  # fmt: skip
def _(method: Any) -> Any:
    return rewritten(method, squares=lambda self, ahead: map_leaves(lambda a: (a * a) * (a * a), ahead))
