"""Faults of what a step is given: its gradient, its decay."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from refopt.core import params
from refopt.core.arrays import namespace
from refopt.core.params import Params, map_leaves
from refopt.optimizers.common import averages
from refopt.verify.variants.deviation import Around, altered, around, deviation, fields, innermost, refit

# --- the gradient ----------------------------------------------------------------------------------


def _fed(transform: Callable[[Params], Params]) -> Callable[[Any], Any]:
    return around(lambda method, x, g, s: method.update(x, transform(g), s))


def _by_norm(g: Params, limit: float) -> Params:
    n = params.norm(g)
    return map_leaves(lambda a: a * (limit / n), g) if n > limit else g


def _leaf_norm(g: Params, limit: float) -> Params:
    return map_leaves(lambda a: _by_norm(a, limit), g)


def _clipped(g: Params, limit: float) -> Params:
    return map_leaves(lambda a: a.clip(-limit, limit), g)


def _centralised(a: Any) -> Any:
    return a - a.mean(axis=tuple(range(1, a.ndim)), keepdims=True) if a.ndim > 1 else a


deviation("gradient-negated", "with the gradient's sign turned", stage="step")(
    _fed(lambda g: map_leaves(lambda a: -a, g))
)


# The first keeps the name without a number.
for _limit in (1.0, 0.1, 0.5, 5.0, 10.0):
    for _tail, _by, _words in (
        ("norm", _by_norm, "norm {:g} over all leaves"),
        ("leaf", _leaf_norm, "norm {:g} leaf by leaf"),
        ("entry", _clipped, "[-{0:g}, {0:g}] entry by entry"),
    ):
        deviation(
            f"gradient-clipped-by-{_tail}" + ("" if _limit == 1.0 else f"-at-{_limit:g}"),
            f"on gradients clipped to {_words.format(_limit)}", stage="step",
        )(_fed(functools.partial(_by, limit=_limit)))  # fmt: skip


deviation(
    "gradient-centralised", "on gradients of matrices and kernels less their mean over all axes but the first", stage="step"
)(_fed(lambda g: map_leaves(_centralised, g)))  # fmt: skip


deviation("gradient-normalised", "on gradients divided by their norm over all leaves", stage="step")(
    _fed(lambda g: params.scale(1.0 / (params.norm(g) or 1.0), g))
)


deviation("gradient-doubled", "on doubled gradients", stage="step")(_fed(lambda g: params.scale(2.0, g)))


deviation("gradient-halved", "on halved gradients", stage="step")(_fed(lambda g: params.scale(0.5, g)))


@deviation("gradients-accumulate", "on the sum of all gradients so far (never cleared)", stage="step")
class Accumulating(Around):
    """Feed the running sum of the gradients."""

    def init(self, x: Params) -> Any:
        """Return the method's state beside the sum."""
        return {**self.method.init(x), "total": params.zeros_like(x)}

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Add the gradient and update with the sum."""
        total = params.axpy(1.0, grad, s["total"])
        x, after = self.method.update(x, total, {k: v for k, v in s.items() if k != "total"})
        return x, {**after, "total": total}


@deviation("gradient-of-the-step-before", "on the gradient of the step before", stage="step")
class Delayed(Around):
    """Feed the last gradient, zero at first."""

    def init(self, x: Params) -> Any:
        """Return the method's state beside the gradient kept."""
        return {**self.method.init(x), "kept": params.zeros_like(x)}

    def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
        """Update with the kept gradient."""
        x, after = self.method.update(x, s["kept"], {k: v for k, v in s.items() if k != "kept"})
        return x, {**after, "kept": grad}


# --- weight decay ----------------------------------------------------------------------------------


def _decay_apart(apply: Callable[[Any, Params, Params, int], Params]) -> Callable[[Any], Any]:
    """Run without decay, then ``apply(method, old x, new x, t)`` it."""

    def change(method: Any) -> Any:
        inner = innermost(method)
        if not fields(inner).get("weight_decay") or not hasattr(inner, "rate"):
            return None
        plain = altered(inner, weight_decay=0.0)

        class Changed(Around):
            def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
                new, after = self.method.update(x, grad, s)
                return apply(inner, x, new, after["t"]), after

        return Changed(refit(method, plain))

    return change


def _constant(method: Any, x: Params, new: Params, t: int) -> Params:
    return map_leaves(lambda a: a - method.rate(t) * method.weight_decay, new)


def _after(method: Any, x: Params, new: Params, t: int) -> Params:
    return params.scale(1.0 - method.rate(t) * method.weight_decay, new)


def _unscheduled(method: Any, x: Params, new: Params, t: int) -> Params:
    lr = method.lr(t) if callable(method.lr) else method.lr
    return params.axpy(-lr * method.weight_decay, x, new)


def _without_rate(method: Any, x: Params, new: Params, t: int) -> Params:
    return params.axpy(-method.weight_decay, x, new)


def _matrices(method: Any, x: Params, new: Params, t: int) -> Params:
    rate = method.rate(t) * method.weight_decay
    return map_leaves(lambda a, b: b - rate * a if a.ndim > 1 else b, x, new)


def _vectors(method: Any, x: Params, new: Params, t: int) -> Params:
    rate = method.rate(t) * method.weight_decay
    return map_leaves(lambda a, b: b if a.ndim > 1 else b - rate * a, x, new)


def _corrected(method: Any, x: Params, new: Params, t: int) -> Params:
    beta = fields(method).get("beta1", 0.0)
    return params.axpy(-method.rate(t) / averages.correction(beta, t) * method.weight_decay, x, new)


def _cautious(method: Any, x: Params, new: Params, t: int) -> Params:
    rate = method.rate(t) * method.weight_decay
    return map_leaves(lambda a, b: b - rate * a * namespace(a).where((b - a) * a <= 0.0, 1.0, 0.0), x, new)


def _signs(method: Any, x: Params, new: Params, t: int) -> Params:
    rate = method.rate(t) * method.weight_decay
    return map_leaves(lambda a, b: b - rate * namespace(a).sign(a), x, new)


deviation(
    "weight-decay-constant", "with the decay subtracted as a constant, not times the parameter", stage="step",
    seen=("torch-optimizer 0.3.0 SGDW (never fixed)",),
)(_decay_apart(_constant))  # fmt: skip


deviation("weight-decay-after-step", "with the decay applied to the point after the step", stage="step")(
    _decay_apart(_after)
)


deviation("weight-decay-unscheduled", "with the decay times the rate before the schedule", stage="step")(
    _decay_apart(_unscheduled)
)


deviation("weight-decay-without-rate", "with the decay not multiplied by the rate", stage="step")(
    _decay_apart(_without_rate)
)


deviation(
    "weight-decay-cautious",
    "with the decay, times the rate, where the step goes towards zero besides (cautious weight decay, arXiv:2510.12402)",
    stage="step",
)(_decay_apart(_cautious))


deviation("weight-decay-of-signs", "with the decay of the parameters' signs (an l1 penalty)", stage="step")(
    _decay_apart(_signs)
)


deviation(
    "weight-decay-of-matrices", "with the decay of matrices and kernels alone, not of vectors", stage="step"
)(_decay_apart(_matrices))


deviation(
    "weight-decay-of-vectors", "with the decay of scalars and vectors alone, not of matrices", stage="step"
)(_decay_apart(_vectors))


deviation(
    "weight-decay-times-corrected-rate", "with the decay times the rate over the first bias correction", stage="step"
)(_decay_apart(_corrected))  # fmt: skip


deviation("weight-decay-decoupled", "with decay beside the step, times the rate", stage="step")(
    _decay_apart(lambda method, x, new, t: params.axpy(-method.rate(t) * method.weight_decay, x, new))
)


@deviation("weight-decay-times-rate-twice", "with the decay multiplied by the rate once more", stage="step")
def _(method: Any) -> Any:
    inner = innermost(method)
    strength = fields(inner).get("weight_decay")
    if not strength or not hasattr(inner, "rate"):
        return None

    class Changed(Around):
        def update(self, x: Params, grad: Params, s: Any) -> tuple[Params, Any]:
            now = altered(inner, weight_decay=strength * inner.rate(s["t"] + 1))
            return refit(self.method, now or inner).update(x, grad, s)

    return Changed(method)


@deviation("weight-decay-coupled", "with the decay added to the gradient", stage="step")
def _(method: Any) -> Any:
    inner = innermost(method)
    strength = fields(inner).get("weight_decay")
    if not strength:
        return None
    return around(lambda m, x, g, s: m.update(x, params.axpy(strength, x, g), s))(
        altered(inner, weight_decay=0.0)
    )


@deviation("weight-decay-both-ways", "with the decay added to the gradient besides", stage="step")
def _(method: Any) -> Any:
    strength = fields(innermost(method)).get("weight_decay")
    if not strength:
        return None
    return around(lambda m, x, g, s: m.update(x, params.axpy(strength, x, g), s))(method)
